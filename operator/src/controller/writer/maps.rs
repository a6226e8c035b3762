//! Writes ConfigMaps.

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use smilax_core::Workload;
use smilax_core::convention::{PACKED_POLICY_KEY, POLICY_KEY, SIGNATURE_KEY, TRUST_BUNDLE_KEY};
use smilax_core::packed::Form;

use super::outcome::{Outcome, WriteError, call, is_conflict};
use super::retry::Failed;
use super::{CONCURRENCY, FIELD_MANAGER, Term, Writer};
use crate::controller::change::MapChange;
use crate::controller::integrity::{Integrity, SignError};
use crate::controller::watch::{ACCOUNT, MANAGED_BY, stored_map};

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
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
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
                let object = map_object(
                    name,
                    workload,
                    (policy, form),
                    (bundle, signature.as_deref()),
                    resource_version.as_deref(),
                );
                let params = PatchParams::apply(FIELD_MANAGER).force();
                let applied = call(api.patch(name, &params, &Patch::Apply(object))).await;
                let mut written = match (applied, resource_version) {
                    (Err(error), Some(version)) if is_invalid(&error) && is_frozen(&api, name).await? => {
                        // `immutable: true` can only be taken away together with the object.
                        call(api.delete(name, &only(version))).await?;
                        let signed = (bundle.as_str(), signature.as_deref());
                        let object = map_object(name, workload, (policy, form), signed, None);
                        call(api.patch(name, &params, &Patch::Apply(object))).await?
                    }
                    (applied, _) => applied?,
                };
                // A key that somebody else added is not ours to apply away; take it out by name.
                if stored_map(&written).foreign {
                    let keys = foreign_keys(&written, form);
                    written = call(api.patch(name, &PatchParams::default(), &Patch::Merge(keys))).await?;
                }
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
        let api = Api::<ConfigMap>::namespaced(self.client.clone(), namespace);
        if let Ok(found) = call(api.get_opt(name)).await {
            self.state
                .tell(|inner| inner.set_map(namespace, name, found.as_ref().map(stored_map)));
        }
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

fn is_invalid(error: &WriteError) -> bool {
    matches!(error, WriteError::Api(kube::Error::Api(status)) if status.code == 422)
}

/// Whether a ConfigMap can no longer be changed, by anybody.
async fn is_frozen(api: &Api<ConfigMap>, name: &str) -> Result<bool, WriteError> {
    let found = call(api.get_opt(name)).await?;
    Ok(found.is_some_and(|found| found.immutable == Some(true)))
}

impl MapChange {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Apply { name, .. } | Self::Delete { name, .. } => name,
        }
    }
}

pub(super) fn map_object(
    name: &str,
    workload: &Workload,
    (policy, form): (&str, &Form),
    (bundle, signature): (&str, Option<&str>),
    resource_version: Option<&str>,
) -> serde_json::Value {
    let mut object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": name, "namespace": &*workload.namespace,
            "labels": { MANAGED_BY.0: MANAGED_BY.1, "app.kubernetes.io/part-of": "smilax" },
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
    if let Some(version) = resource_version {
        object["metadata"]["resourceVersion"] = json!(version);
    }
    object
}

/// Every key but those that hold the policy, the bundle and their signature, each set to nothing.
fn foreign_keys(map: &ConfigMap, form: &Form) -> serde_json::Value {
    let (plain, packed) = match form {
        Form::Plain => (POLICY_KEY, ""),
        Form::Packed(_) => ("", PACKED_POLICY_KEY),
    };
    let data = map.data.iter().flatten().map(|(key, _)| key);
    let binary = map.binary_data.iter().flatten().map(|(key, _)| key);
    json!({
        "data": nothing_for(data.filter(|key| ![plain, TRUST_BUNDLE_KEY, SIGNATURE_KEY].contains(&key.as_str()))),
        "binaryData": nothing_for(binary.filter(|key| *key != packed)),
    })
}

fn nothing_for<'a>(keys: impl Iterator<Item = &'a String>) -> serde_json::Map<String, serde_json::Value> {
    keys.map(|key| (key.clone(), serde_json::Value::Null)).collect()
}
