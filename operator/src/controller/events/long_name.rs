//! Events about objects whose names are too long to be the first part of an Event's.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event as ApiEvent;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::events::Event;

/// Longest name of an Event (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;
/// What the recorder writes behind the name of the object: a dot and the time in nanoseconds, in hexadecimal.
const SUFFIX: usize = 17;

/// Whether the recorder would name the Event so that the API server refuses it.
pub(super) fn is_too_long(object: &str) -> bool {
    object.len() + SUFFIX > LONGEST_NAME
}

/// The Event as the recorder would write it, under a name that is cut. `regarding` says in full what it is about.
pub(super) fn event(
    event: &Event,
    about: &ObjectReference,
    reporter: (&str, &str),
    now: Timestamp,
) -> ApiEvent {
    let object = about.name.as_deref().unwrap_or_default();
    let kept = object
        .get(..LONGEST_NAME - SUFFIX)
        .unwrap_or(object)
        .trim_end_matches(['.', '-']);
    ApiEvent {
        metadata: ObjectMeta {
            namespace: about.namespace.clone(),
            name: Some(format!("{kept}.{:x}", now.as_nanosecond())),
            ..ObjectMeta::default()
        },
        action: Some(event.action.clone()),
        reason: Some(event.reason.clone()),
        note: event.note.clone(),
        type_: Some("Warning".to_owned()),
        event_time: Some(MicroTime(now)),
        regarding: Some(about.clone()),
        reporting_controller: Some(reporter.0.to_owned()),
        reporting_instance: Some(reporter.1.to_owned()),
        ..ApiEvent::default()
    }
}
