//! Writes the status of SMI objects.

use futures::StreamExt;
use kube::api::{Patch, PatchParams};
use kube::core::DynamicObject;
use kube::{Api, Client};
use serde_json::json;
use smilax_compiler::status::{self, DesiredStatus, Stored};
use smilax_core::ObjectRef;
use tokio::time::Instant;

use super::outcome::{Outcome, WriteError, call, is_conflict};
use super::retry::Failed;
use super::{CONCURRENCY, FIELD_MANAGER, Term, Writer};
use crate::controller::kinds::SmiKind;
use crate::controller::statuses::key_of;
use crate::controller::watch::{excerpts, stored_object};
use crate::excerpt;

impl Writer {
    /// Writes as many of those that are due. How many writes that were.
    pub(super) async fn write_statuses(&self, term: &Term, most: usize, failed: &mut Failed) -> usize {
        let due = self.state.read(|inner| {
            let mut statuses = term.statuses.lock();
            statuses.take_due(&inner.objects, Instant::now(), most)
        });
        let mut all = 0;
        let writes = due.into_iter().map(|desired| async move {
            let result = self.write_status(&desired).await;
            if is_conflict(&result) {
                self.look_at_object(&desired.object).await;
            }
            (desired, result)
        });
        let mut writes = futures::stream::iter(writes).buffer_unordered(CONCURRENCY);
        while let Some((desired, result)) = writes.next().await {
            all += usize::from(!matches!(result, Ok(Outcome::Unchanged)));
            if let Ok(Outcome::Written) = &result {
                term.statuses.lock().wrote(&desired, Instant::now());
            }
            let object = &desired.object;
            self.account(&object.kind, &object.namespace, &object.name, result, failed);
        }
        all
    }

    /// Takes the status of an object as it is now, for the same reason.
    async fn look_at_object(&self, object: &ObjectRef) {
        let Some(kind) = SmiKind::from_kind(&object.kind) else {
            return;
        };
        let api = statuses_of(&self.client, kind, &object.namespace);
        if let Ok(found) = call(api.get_opt(&object.name)).await {
            let key = (kind, object.namespace.clone(), object.name.clone());
            self.state.read(|inner| match found {
                Some(found) => inner.objects.insert(key, stored_object(&found)),
                None => inner.objects.remove(&key),
            });
        }
    }

    /// Writes a status when it differs from what is stored.
    async fn write_status(&self, desired: &DesiredStatus) -> Result<Outcome, WriteError> {
        let Some(key) = key_of(desired) else {
            return Ok(Outcome::Unchanged);
        };
        let Some(stored) = self.state.read(|inner| inner.objects.get(&key).cloned()) else {
            return Ok(Outcome::Unchanged);
        };
        let now = k8s_openapi::jiff::Timestamp::now()
            .strftime("%Y-%m-%dT%H:%M:%SZ")
            .to_string();
        let merged = status::merge(&stored.conditions, &desired.conditions, &now);
        if merged.is_none() && stored.is_in_keeping(desired) {
            return Ok(Outcome::Unchanged);
        }
        let conditions = merged.unwrap_or_else(|| stored.conditions.clone());
        let resource = key.0.resource();
        let object = json!({
            "apiVersion": resource.api_version, "kind": resource.kind,
            "metadata": {
                "name": &*desired.object.name, "namespace": &*desired.object.namespace,
                "uid": stored.uid, "resourceVersion": stored.resource_version,
            },
            "status": content(desired, &conditions),
        });
        let api = statuses_of(&self.client, key.0, &desired.object.namespace);
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let written = call(api.patch_status(&desired.object.name, &params, &Patch::Apply(object))).await;
        written.map(|written| {
            self.state.read(|inner| {
                // It may be gone by now, or another of its name.
                if let Some(known) = inner.objects.get_mut(&key)
                    && known.uid == stored.uid
                {
                    *known = stored_object(&written);
                }
            });
            Outcome::Written
        })
    }
}

/// SMI objects of a namespace, of which only metadata and status are read: the rest may be of any size and depth.
pub(super) fn statuses_of(client: &Client, kind: SmiKind, namespace: &str) -> Api<DynamicObject> {
    let client = excerpt::of_objects(client, excerpts::status_of(kind));
    Api::namespaced_with(client, namespace, &kind.resource())
}

/// The status as it is to be stored.
fn content(desired: &DesiredStatus, conditions: &[Stored]) -> serde_json::Value {
    let ours = conditions
        .iter()
        .filter(|one| desired.conditions.iter().any(|own| own.kind == one.kind));
    let mut content = json!({
        "observedGeneration": desired.object.generation,
        "conditions": ours.map(condition_json).collect::<Vec<_>>(),
    });
    for (name, text) in desired.texts() {
        content[name] = json!(text);
    }
    content
}

/// A condition as the API writes it.
pub(crate) fn condition_json(condition: &Stored) -> serde_json::Value {
    json!({
        "type": condition.kind, "status": condition.status, "reason": condition.reason, "message": condition.message,
        "observedGeneration": condition.observed_generation, "lastTransitionTime": condition.last_transition,
    })
}

#[cfg(test)]
mod health;
