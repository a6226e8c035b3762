//! Events on the objects that users edit. Each finding is an Event of its own, and is told once.

mod event;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;
use smilax_core::ObjectRef;
use tokio::time::timeout;

use super::findings::{self, Finding, Identity};

const CALL: Duration = Duration::from_secs(5);
/// How often an Event is tried; what it tells is remembered elsewhere and not told again.
const TRIES: usize = 4;
/// Before the second try; doubles.
const AGAIN: Duration = Duration::from_millis(100);

/// Where Events go.
#[derive(Clone)]
pub struct Events {
    client: Client,
    pod_name: Arc<str>,
    /// Findings that hold and were told of objects without a status to remember it, by namespace.
    told: Arc<Mutex<BTreeMap<Arc<str>, BTreeSet<Identity>>>>,
}

/// What is done about an Event that is there already: somebody said the same of the same object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Repetition {
    /// It happened again, which counts.
    Counts,
    /// It was told before a restart.
    Known,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Events in the name of this pod.
    pub fn new(client: Client, pod_name: &str) -> Self {
        Self {
            client,
            pod_name: pod_name.into(),
            told: Arc::default(),
        }
    }

    /// Of the findings that hold in a namespace, those that this process has not told. What no longer holds is forgotten, so
    /// that it is told when it holds again.
    pub fn untold(&self, namespace: &Arc<str>, findings: Vec<Finding>) -> Vec<Finding> {
        let mut hold: BTreeMap<Identity, Finding> = findings::bounded(findings)
            .into_iter()
            .map(|finding| (finding.identity(), finding))
            .collect();
        let mut all = self.told.lock();
        if let Some(told) = all.get_mut(namespace) {
            told.retain(|one| hold.contains_key(one));
            hold.retain(|one, _| !told.contains(one));
            if told.is_empty() {
                all.remove(namespace);
            }
        }
        hold.into_values().collect()
    }

    /// Tells a finding. Of an object without a status to remember it, the memory of this process is empty after a restart,
    /// but the Event is still there.
    pub async fn about(&self, namespace: &Arc<str>, finding: &Finding) -> Told {
        let (object, reason, message) = (finding.object(), finding.reason(), finding.message());
        let repetition = match finding {
            Finding::Object { .. } | Finding::Pod(_) => Repetition::Known,
            Finding::Smi { .. } => Repetition::Counts,
        };
        let reference = reference(&finding.api_version(), &object, finding.uid());
        let told = self.publish(&reference, reason, message, repetition).await;
        // Not before: what was only tried is still to be told.
        if told.outcome == Outcome::Told && repetition == Repetition::Known {
            tracing::warn!(%object, reason, "{message}");
            let mut all = self.told.lock();
            all.entry(namespace.clone())
                .or_default()
                .insert(finding.identity());
        }
        told
    }

    /// Writes an Event, and tries again what may pass.
    async fn publish(
        &self,
        reference: &ObjectReference,
        reason: &str,
        message: &str,
        repetition: Repetition,
    ) -> Told {
        let event = event::event(reference, reason, message, (&self.pod_name, Timestamp::now()));
        let object = reference.name.as_deref().unwrap_or_default();
        let (mut writes, mut wait) = (0, AGAIN);
        loop {
            writes += 1;
            let (error, outcome) = match timeout(CALL, self.write(&event, repetition)).await {
                Ok(Ok(())) => return Told::of(Outcome::Told, writes),
                Ok(Err(error)) => (error.to_string(), failure(&error)),
                Err(_) => ("the API server did not answer".to_owned(), Outcome::Silence),
            };
            // Silence was a long wait already, and other namespaces wait behind it.
            if writes == TRIES || outcome != Outcome::Failed {
                tracing::warn!(object, reason, error, "Event not written");
                return Told::of(outcome, writes);
            }
            tracing::debug!(object, reason, error, "Event not written; it is tried again");
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
    }

    async fn write(&self, event: &Event, repetition: Repetition) -> kube::Result<()> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
        let api = Api::<Event>::namespaced(self.client.clone(), namespace);
        match api.create(&PostParams::default(), event).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            other => return other.map(drop),
        }
        if repetition == Repetition::Known {
            return Ok(());
        }
        let name = event.metadata.name.as_deref().unwrap_or_default();
        let series = event::series(&api.get(name).await?, Timestamp::now());
        let change = Patch::Merge(json!({"series": series}));
        api.patch(name, &PatchParams::default(), &change).await.map(drop)
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
pub struct Told {
    /// What became of it.
    pub outcome: Outcome,
    /// How many writes were tried.
    pub writes: usize,
}

impl Told {
    fn of(outcome: Outcome, writes: usize) -> Self {
        Self { outcome, writes }
    }
}

fn reference(api_version: &str, object: &ObjectRef, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(object.kind.to_string()),
        namespace: Some(object.namespace.to_string()),
        name: Some(object.name.to_string()),
        // Without it, kubectl describe does not find the Event.
        uid: (!uid.is_empty()).then(|| uid.to_owned()),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests;
