//! Writes ConfigMaps.

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client};
use serde_json::{Value, json};
use smilax_core::Workload;
use smilax_core::convention::{PACKED_POLICY_KEY, POLICY_KEY, SIGNATURE_KEY, TRUST_BUNDLE_KEY};
use smilax_core::packed::Form;

use super::outcome::{Outcome, WriteError, call, is_conflict};
use super::retry::Failed;
use super::{CONCURRENCY, FIELD_MANAGER, Term, Writer};
use crate::controller::change::MapChange;
use crate::controller::integrity::{Integrity, SignError};
use crate::controller::kinds::Watched;
use crate::controller::watch::{ACCOUNT, MANAGED_BY, excerpts, stored_map};
use crate::excerpt;

impl Writer {
    /// Writes ConfigMaps, signed by whoever judged what was stored before; `None` writes them without a signature.
    pub(super) async fn write_maps(
        &self,
        maps: Vec<(String, MapChange)>,
        integrity: Option<&Integrity>,
        term: &Term,
        failed: &mut Failed,
    ) {
        let maps = maps.into_iter().map(|(namespace, change)| async move {
            let result = self.write_map(&namespace, &change, integrity).await;
            if is_conflict(&result) {
                self.look_at_map(&namespace, change.name()).await;
            }
            (namespace, change, result)
        });
        let mut maps = futures::stream::iter(maps).buffer_unordered(CONCURRENCY);
        while let Some((namespace, change, result)) = maps.next().await {
            if let (
                Ok(_),
                MapChange::Apply {
                    workload,
                    revision: Some(revision),
                    ..
                },
            ) = (&result, &change)
            {
                term.statuses.lock().known.is_stored(workload, *revision);
            }
            self.account("ConfigMap", &namespace, change.name(), result, failed);
        }
    }

    async fn write_map(
        &self,
        namespace: &str,
        change: &MapChange,
        integrity: Option<&Integrity>,
    ) -> Result<Outcome, WriteError> {
        let api = maps_of(&self.client, namespace);
        match change {
            MapChange::Apply {
                name,
                workload,
                policy,
                bundle,
                form,
                resource_version,
                revision,
            } => {
                if let Some(revision) = revision {
                    self.fleet.is_written(*revision);
                }
                let signature = sign(integrity, workload, (policy, form), bundle)?;
                let signed = (bundle.as_str(), signature.as_deref());
                let object = map_object(name, workload, (policy, form), signed);
                let written = store(&api, name, resource_version.as_deref(), object).await?;
                let stored = stored_map(&written);
                tracing::info!(namespace, name, workload = %workload, "configuration written");
                // Proxies need not wait until the watch tells it.
                self.state
                    .tell(|inner| inner.set_map(namespace, name, Some(stored)));
            }
            MapChange::Delete {
                name,
                resource_version,
            } => {
                call(api.delete(name, &only(resource_version))).await?;
                tracing::info!(namespace, name, "configuration removed: no workload needs it");
                self.state.tell(|inner| inner.set_map(namespace, name, None));
            }
        }
        Ok(Outcome::Written)
    }

    /// Takes a ConfigMap as it is now. The answer to a write may be remembered after the watch has told of a later
    /// change; the watch does not tell again, so what is remembered would be out of date for ever.
    async fn look_at_map(&self, namespace: &str, name: &str) {
        let api = maps_of(&self.client, namespace);
        if let Ok(found) = call(api.get_opt(name)).await {
            self.state
                .tell(|inner| inner.set_map(namespace, name, found.as_ref().map(stored_map)));
        }
    }
}

/// ConfigMaps of a namespace, as their excerpts: an editor decides how much else is in them.
pub(super) fn maps_of(client: &Client, namespace: &str) -> Api<ConfigMap> {
    let client = excerpt::of_objects(client, excerpts::excerpt(Watched::ConfigMap));
    Api::namespaced(client, namespace)
}

/// Stores a ConfigMap over the version that was compared, and takes away what is not ours.
///
/// `immutable: true` and keys of others can only be taken away together with the object: naming each key in a patch would
/// cost what somebody else chose. The same goes for whatever leaves no room for ours.
pub(super) async fn store(
    api: &Api<ConfigMap>,
    name: &str,
    version: Option<&str>,
    object: Value,
) -> Result<ConfigMap, WriteError> {
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let apply = async |object| call(api.patch(name, &params, &Patch::Apply(object))).await;
    let mut over = object.clone();
    if let Some(version) = version {
        over["metadata"]["resourceVersion"] = json!(version);
    }
    let there = match apply(over).await {
        Ok(written) if !stored_map(&written).foreign => return Ok(written),
        Ok(written) => written,
        Err(error) => {
            let Some(refusal) = Refusal::of(&error) else {
                return Err(error);
            };
            match call(api.get_opt(name)).await? {
                Some(found) if refusal.is_due_to(&found) => found,
                _ => return Err(error),
            }
        }
    };
    remove(api, name, &there).await?;
    apply(object).await
}

/// Removes this version of a ConfigMap of ours, whatever metadata somebody else gave it.
///
/// Without our label the chart's admission policy refuses to delete it, and a finalizer would keep it. Metadata can be changed
/// even where `immutable: true` protects the content.
async fn remove(api: &Api<ConfigMap>, name: &str, map: &ConfigMap) -> Result<(), WriteError> {
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(released(map));
    let Some(released) = unless_gone(call(api.patch(name, &params, &patch)).await)? else {
        return Ok(());
    };
    // One that was being deleted went with its last finalizer.
    unless_gone(call(api.delete(name, &exactly(&released))).await)?;
    Ok(())
}

/// A merge patch of exactly this version that leaves nothing which keeps us from deleting it.
fn released(map: &ConfigMap) -> Value {
    json!({ "metadata": {
        "resourceVersion": map.metadata.resource_version,
        "finalizers": null,
        "annotations": null,
        "ownerReferences": null,
        "labels": labels(),
    } })
}

/// What has already gone needs no removal.
fn unless_gone<T>(result: Result<T, WriteError>) -> Result<Option<T>, WriteError> {
    match result {
        Err(WriteError::Api(kube::Error::Api(status))) if status.code == 404 => Ok(None),
        result => result.map(Some),
    }
}

/// How the API server refused a write for good: the same write will be refused again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// By admission or authorization.
    Forbidden,
    /// The object would be invalid or too large.
    Invalid,
}

impl Refusal {
    fn of(error: &WriteError) -> Option<Self> {
        let WriteError::Api(kube::Error::Api(status)) = error else {
            return None;
        };
        match status.code {
            403 => Some(Self::Forbidden),
            413 | 422 => Some(Self::Invalid),
            // etcd has a limit of its own, which the API server reports as an internal error.
            500 if status.message.contains("request is too large") => Some(Self::Invalid),
            _ => None,
        }
    }

    /// Whether what is stored may be the reason. We write nothing invalid, so what is invalid is so by what somebody else
    /// added. An admission webhook may forbid our content as such: then what is stored is better than nothing.
    fn is_due_to(self, found: &ConfigMap) -> bool {
        self == Self::Invalid || stored_map(found).foreign
    }
}

/// The signature of what is written; `None` while the mesh has no authority that signs.
pub(super) fn sign(
    integrity: Option<&Integrity>,
    workload: &Workload,
    (policy, form): (&str, &Form),
    bundle: &str,
) -> Result<Option<String>, SignError> {
    let policy = match form {
        Form::Plain => policy.as_bytes(),
        Form::Packed(bytes) => bytes,
    };
    integrity
        .map(|integrity| integrity.sign(workload, policy, bundle.as_bytes()))
        .transpose()
}

/// Deletes nothing but this version.
fn only(resource_version: &str) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions {
        resource_version: Some(resource_version.to_owned()),
        uid: None,
    })
}

/// Deletes nothing but this object in this version.
fn exactly(map: &ConfigMap) -> DeleteParams {
    DeleteParams::default().preconditions(Preconditions {
        resource_version: map.metadata.resource_version.clone(),
        uid: map.metadata.uid.clone(),
    })
}

impl MapChange {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Apply { name, .. } | Self::Delete { name, .. } => name,
        }
    }
}

/// Labels of every ConfigMap of ours.
fn labels() -> Value {
    json!({ MANAGED_BY.0: MANAGED_BY.1, "app.kubernetes.io/part-of": "smilax" })
}

pub(super) fn map_object(
    name: &str,
    workload: &Workload,
    (policy, form): (&str, &Form),
    (bundle, signature): (&str, Option<&str>),
) -> Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": &*workload.namespace,
            "labels": labels(),
            "annotations": { ACCOUNT: &*workload.account },
        },
    });
    match form {
        Form::Plain => object["data"] = json!({ POLICY_KEY: policy }),
        Form::Packed(bytes) => {
            object["binaryData"] = json!({ PACKED_POLICY_KEY: ByteString(bytes.clone()) });
        }
    }
    if !bundle.is_empty() {
        object["data"][TRUST_BUNDLE_KEY] = json!(bundle);
    }
    if let Some(signature) = signature {
        object["data"][SIGNATURE_KEY] = json!(signature);
    }
    object
}
