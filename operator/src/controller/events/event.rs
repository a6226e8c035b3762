//! An Event as it is written. Pure: the time comes in.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use smilax_compiler::Reason;
use smilax_core::hex::hex;

/// Longest name of an Event (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;
/// Longest note that the API accepts, in bytes (events.k8s.io/v1).
pub(super) const LONGEST_NOTE: usize = 1024;
/// Who writes the Events.
pub(super) const CONTROLLER: &str = "smilax-operator";
/// Bytes of the digest in the name.
const DIGEST: usize = 8;
/// What stands behind the name of the object: a dot and the digest in hexadecimal.
const SUFFIX: usize = 1 + 2 * DIGEST;

/// An Event about an object. Its name follows from what it says: the same said twice is the same Event, whoever says it,
/// and anything else is another.
pub(super) fn event(
    about: &ObjectReference,
    reason: &str,
    message: &str,
    (instance, now): (&str, Timestamp),
) -> Event {
    Event {
        metadata: ObjectMeta {
            namespace: about.namespace.clone(),
            name: Some(name(about, reason, message)),
            ..ObjectMeta::default()
        },
        action: Some("Compile".to_owned()),
        reason: Some(reason.to_owned()),
        note: Some(shortened(message)),
        type_: Some(type_of(reason).to_owned()),
        event_time: Some(MicroTime(now)),
        regarding: Some(about.clone()),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: Some(instance.to_owned()),
        ..Event::default()
    }
}

/// `Normal` for what every object goes through that is applied before its pods: nobody has to do anything about it, and an Event
/// cannot be withdrawn.
fn type_of(reason: &str) -> &'static str {
    let passes = [Reason::NoReadyEndpoints, Reason::NoPods];
    if passes.iter().any(|one| one.as_str() == reason) {
        "Normal"
    } else {
        "Warning"
    }
}

/// The series of an Event that is there already, once it happens again.
pub(super) fn series(known: &Event, now: Timestamp) -> EventSeries {
    let before = known.series.as_ref().map_or(1, |series| series.count);
    EventSeries {
        count: before.saturating_add(1),
        last_observed_time: MicroTime(now),
    }
}

/// The name of the object, cut so that the API server takes it, and a digest. `regarding` says in full what it is about.
fn name(about: &ObjectReference, reason: &str, message: &str) -> String {
    let object = about.name.as_deref().unwrap_or_default();
    let kept = object
        .get(..LONGEST_NAME - SUFFIX)
        .unwrap_or(object)
        .trim_end_matches(['.', '-']);
    let kind = about.kind.as_deref().unwrap_or_default();
    let uid = about.uid.as_deref().unwrap_or_default();
    let mut hasher = Sha256::new();
    for part in [kind, object, uid, reason, message] {
        hasher.update(part.len().to_le_bytes());
        hasher.update(part);
    }
    let digest = hasher.finalize();
    format!("{kept}.{}", hex(digest.get(..DIGEST).unwrap_or(&digest)))
}

fn shortened(message: &str) -> String {
    if message.len() <= LONGEST_NOTE {
        return message.to_owned();
    }
    let end = (0..LONGEST_NOTE - 3)
        .rev()
        .find(|&end| message.is_char_boundary(end))
        .unwrap_or(0);
    format!("{}...", message.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_once_pods_are_ready_is_no_warning() {
        assert_eq!(type_of("NoReadyEndpoints"), "Normal");
        assert_eq!(type_of("NoPods"), "Normal");
        assert_eq!(type_of("BackendNotFound"), "Warning");
    }

    fn web(uid: &str) -> ObjectReference {
        ObjectReference {
            kind: Some("TrafficSplit".to_owned()),
            name: Some("web".to_owned()),
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        }
    }

    fn named(about: &ObjectReference, reason: &str, message: &str) -> String {
        let event = event(about, reason, message, ("operator", Timestamp::UNIX_EPOCH));
        event.metadata.name.unwrap()
    }

    #[test]
    fn every_finding_has_an_event_of_its_own() {
        let first = named(&web("1"), "BackendNotFound", "web-v3 does not exist");
        assert_eq!(
            first,
            named(&web("1"), "BackendNotFound", "web-v3 does not exist")
        );
        for other in [
            named(&web("1"), "BackendNotFound", "web-v4 does not exist"),
            named(&web("1"), "RootNotFound", "web-v3 does not exist"),
            named(&web("2"), "BackendNotFound", "web-v3 does not exist"),
        ] {
            assert_ne!(first, other);
        }
    }

    #[test]
    fn an_event_that_happens_again_counts_on() {
        let mut known = Event::default();
        assert_eq!(series(&known, Timestamp::UNIX_EPOCH).count, 2);
        known.series = Some(series(&known, Timestamp::UNIX_EPOCH));
        assert_eq!(series(&known, Timestamp::UNIX_EPOCH).count, 3);
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let cut = shortened(&"é".repeat(2000));
        assert!(cut.len() <= LONGEST_NOTE && cut.ends_with("é..."));
        assert_eq!(shortened("short"), "short");
    }
}
