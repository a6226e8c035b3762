//! Events on the objects that users edit. Each finding is told once.

mod long_name;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event as CoreEvent, ObjectReference};
use k8s_openapi::api::events::v1::Event as ApiEvent;
use k8s_openapi::jiff::Timestamp;
use kube::api::{ListParams, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client};
use parking_lot::Mutex;
use smilax_compiler::Diagnostic;
use smilax_core::ObjectRef;
use tokio::time::timeout;

use super::findings::Finding;
use super::report::PodFinding;

/// Longest note that the API accepts, in bytes (events.k8s.io/v1).
const LONGEST_NOTE: usize = 1024;
/// Who writes the Events.
const CONTROLLER: &str = "smilax-operator";
const CALL: Duration = Duration::from_secs(5);
/// How often an Event is tried; what it tells is remembered elsewhere and not told again.
const TRIES: usize = 4;
/// Before the second try; doubles.
const AGAIN: Duration = Duration::from_millis(100);

/// Where Events go.
#[derive(Clone)]
pub struct Events {
    client: Client,
    recorder: Recorder,
    pod_name: Arc<str>,
    told: Arc<Mutex<BTreeSet<String>>>,
    /// Findings about objects whose status does not say them yet, by UID.
    unremembered: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Events in the name of this pod.
    pub fn new(client: Client, pod_name: &str) -> Self {
        let reporter = Reporter {
            controller: CONTROLLER.to_owned(),
            instance: Some(pod_name.to_owned()),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            pod_name: pod_name.into(),
            told: Arc::default(),
            unremembered: Arc::default(),
        }
    }

    /// Tells findings about an SMI object, one Event for each reason. How many writes that took.
    ///
    /// They are told before the status is written that remembers them: whoever is killed in between has told them, and
    /// whoever comes next sees that they are not remembered, and tells them once more. The other way round they would
    /// never be told. Until [`Self::remembered`], this process does not tell them twice.
    pub async fn about_object(
        &self,
        object: &ObjectRef,
        uid: &str,
        api_version: &str,
        findings: &[&Diagnostic],
    ) -> usize {
        if findings.is_empty() {
            return 0;
        }
        let mut writes = 0;
        let known = self.unremembered.lock().get(uid).cloned().unwrap_or_default();
        let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for finding in findings {
            if !known.contains(&told_of(finding.reason.as_str(), &finding.message)) {
                by_reason
                    .entry(finding.reason.as_str())
                    .or_default()
                    .push(&finding.message);
            }
        }
        let reference = reference(api_version, &object.kind, &object.namespace, &object.name, uid);
        for (reason, messages) in by_reason {
            let telling = self.publish(&reference, reason, &messages.join("; ")).await;
            writes += telling.writes;
            if telling.outcome == Outcome::Told {
                let mut unremembered = self.unremembered.lock();
                let told = unremembered.entry(uid.to_owned()).or_default();
                told.extend(messages.iter().map(|message| told_of(reason, message)));
            }
        }
        writes
    }

    /// The object's status says now what was told, or the object is gone.
    pub fn remembered(&self, uid: &str) {
        self.unremembered.lock().remove(uid);
    }

    /// Whether this process has told it.
    pub fn is_told(&self, finding: &Finding) -> bool {
        self.told.lock().contains(&finding.identity())
    }

    /// Tells a finding about an object without a status to remember it: once in the life of this process.
    pub async fn about(&self, finding: &Finding) -> Telling {
        if self.is_told(finding) {
            return Telling::of(Outcome::Told, 0);
        }
        let telling = match finding {
            Finding::Object(found) => {
                let object = &found.object;
                let reference = reference("v1", &object.kind, &object.namespace, &object.name, "");
                self.publish(&reference, found.reason.as_str(), &found.message)
                    .await
            }
            Finding::Pod(found) => self.about_pod(found).await,
        };
        // Not before: what was only tried is still to be told.
        if telling.outcome == Outcome::Told {
            self.told.lock().insert(finding.identity());
        }
        telling
    }

    async fn about_pod(&self, pod: &PodFinding) -> Telling {
        // After a restart the memory above is empty, but the Event is still there.
        let api = Api::<CoreEvent>::namespaced(self.client.clone(), &pod.namespace);
        let known = ListParams::default()
            .fields(&format!("involvedObject.uid={},reason={}", pod.uid, pod.reason))
            .limit(1);
        match timeout(CALL, api.list(&known)).await {
            Ok(Ok(list)) if !list.items.is_empty() => return Telling::of(Outcome::Told, 0),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!(%error, "looking for an earlier Event failed"),
            Err(_) => tracing::debug!("looking for an earlier Event timed out"),
        }
        tracing::warn!(
            namespace = pod.namespace,
            pod = pod.name,
            reason = pod.reason,
            "{}",
            pod.message
        );
        let reference = reference("v1", "Pod", &pod.namespace, &pod.name, &pod.uid);
        self.publish(&reference, pod.reason, &pod.message).await
    }

    /// Writes an Event, and tries again what may pass.
    async fn publish(&self, reference: &ObjectReference, reason: &str, message: &str) -> Telling {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(shortened(message)),
            action: "Compile".to_owned(),
            secondary: None,
        };
        let object = reference.name.as_deref().unwrap_or_default();
        let (mut writes, mut wait) = (0, AGAIN);
        loop {
            writes += 1;
            let (error, outcome) = match timeout(CALL, self.write(&event, reference)).await {
                Ok(Ok(())) => return Telling::of(Outcome::Told, writes),
                Ok(Err(error)) => (error.to_string(), failure(&error)),
                Err(_) => ("the API server did not answer".to_owned(), Outcome::Silence),
            };
            // Silence was a long wait already, and a status waits behind it.
            if writes == TRIES || outcome != Outcome::Failed {
                tracing::warn!(object, reason, error, "Event not written");
                return Telling::of(outcome, writes);
            }
            tracing::debug!(object, reason, error, "Event not written; it is tried again");
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    async fn write(&self, event: &Event, reference: &ObjectReference) -> kube::Result<()> {
        if !long_name::is_too_long(reference.name.as_deref().unwrap_or_default()) {
            return self.recorder.publish(event, reference).await;
        }
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        let event = long_name::event(event, reference, (CONTROLLER, &self.pod_name), Timestamp::now());
        Api::<ApiEvent>::namespaced(self.client.clone(), namespace)
            .create(&PostParams::default(), &event)
            .await
            .map(drop)
    }
}

/// What a write that failed says of the next.
fn failure(error: &kube::Error) -> Outcome {
    match error {
        kube::Error::Api(status) if !matches!(status.code, 409 | 429 | 500..) => Outcome::Refused,
        _ => Outcome::Failed,
    }
}

/// What became of telling something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is told.
    Told,
    /// Another try may go well.
    Failed,
    /// Nobody answered.
    Silence,
    /// It may not be told: by rights, or as the namespace ends.
    Refused,
}

/// What became of telling something, and how many writes were tried for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Telling {
    /// What became of it.
    pub outcome: Outcome,
    /// How many writes were tried.
    pub writes: usize,
}

impl Telling {
    fn of(outcome: Outcome, writes: usize) -> Self {
        Self { outcome, writes }
    }
}

fn told_of(reason: &str, message: &str) -> String {
    format!("{reason} {message}")
}

fn reference(api_version: &str, kind: &str, namespace: &str, name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: (!uid.is_empty()).then(|| uid.to_owned()),
        ..ObjectReference::default()
    }
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
    use smilax_compiler::Reason;

    use super::*;
    use crate::testing::Api as Memory;

    #[tokio::test]
    async fn a_finding_is_told_once_though_the_status_that_remembers_it_is_written_in_vain_at_first() {
        let memory = Memory::default();
        let events = Events::new(memory.client(), "operator");
        let object = ObjectRef {
            kind: "TrafficSplit".into(),
            namespace: "shop".into(),
            name: "web".into(),
            generation: 1,
        };
        let missing = Diagnostic {
            object: object.clone(),
            reason: Reason::NamespaceMismatch,
            message: "it is missing".to_owned(),
        };
        for _ in 0..2 {
            events.about_object(&object, "1", "v1", &[&missing]).await;
        }
        assert_eq!(memory.writes().len(), 1);
        events.remembered("1");
        assert!(events.unremembered.lock().is_empty());
    }

    #[tokio::test]
    async fn an_event_that_the_api_server_refuses_for_a_moment_is_told_all_the_same() {
        let memory = Memory::default();
        let events = Events::new(memory.client(), "operator");
        memory.refuse(2);
        let web = reference("v1", "TrafficSplit", "shop", "web", "1");
        assert_eq!(
            events.publish(&web, "Missing", "it is missing").await,
            Telling::of(Outcome::Told, 3)
        );
        memory.refuse(9);
        let api = reference("v1", "TrafficSplit", "shop", "api", "2");
        assert_eq!(
            events.publish(&api, "Missing", "it is missing").await,
            Telling::of(Outcome::Failed, 4)
        );
    }

    #[tokio::test]
    async fn a_finding_that_could_not_be_told_is_not_taken_for_told() {
        let memory = Memory::default();
        let events = Events::new(memory.client(), "operator");
        let finding = Finding::Pod(PodFinding {
            namespace: "shop".to_owned(),
            name: "web-1".to_owned(),
            uid: "1".to_owned(),
            reason: "NotInjected",
            message: "it has no proxy".to_owned(),
        });
        memory.refuse(4);
        assert_eq!(events.about(&finding).await.outcome, Outcome::Failed);
        assert!(!events.is_told(&finding));
        assert_eq!(events.about(&finding).await, Telling::of(Outcome::Told, 1));
        assert!(events.is_told(&finding));
        assert_eq!(events.about(&finding).await, Telling::of(Outcome::Told, 0));
    }

    #[tokio::test]
    async fn an_event_about_an_object_of_any_name_has_a_name_that_the_api_server_takes() {
        for length in [1, 236, 237, 253] {
            let memory = Memory::default();
            let events = Events::new(memory.client(), "operator");
            let name = "a".repeat(length);
            let object = reference("v1", "ServiceAccount", "shop", &name, "1");
            let told = events.publish(&object, "Invalid", "it is wrong").await;
            assert_eq!(told, Telling::of(Outcome::Told, 1), "{length}");
            let written = memory.created("/apis/events.k8s.io/v1/namespaces/shop/events");
            let [event] = written.as_slice() else {
                panic!("{written:?}");
            };
            let event_name = event["metadata"]["name"].as_str().unwrap();
            assert!(event_name.len() <= 253, "{length}: {event_name}");
            assert_eq!(event["regarding"]["name"], name.as_str());
            assert_eq!(event["reportingController"], CONTROLLER);
        }
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let cut = shortened(&"é".repeat(2000));
        assert!(cut.len() <= LONGEST_NOTE && cut.ends_with("é..."));
        assert_eq!(shortened("short"), "short");
    }
}
