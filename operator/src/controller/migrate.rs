//! Objects that an earlier mesh stored in older versions are rewritten in the stored version of ours, and the
//! definitions' list of stored versions is trimmed, so that later releases may drop old versions.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::core::DynamicObject;
use kube::{Api, Client, ResourceExt};
use serde_json::json;
use tokio::time::timeout;

use super::kinds::SmiKind;
use super::writer::FIELD_MANAGER;

const CALL: Duration = Duration::from_secs(10);
const PAGE: u32 = 100;
const STORED: &str = "v1alpha4";

/// Why a migration did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The API server did not answer.
    #[error("the API server did not answer")]
    TimedOut,
    /// It refused.
    #[error("{0}")]
    Api(#[from] kube::Error),
}

/// Migrates every kind that needs it. One that does not come to its end is tried again by the next call.
pub async fn run(client: &Client) -> bool {
    let mut done = true;
    for kind in SmiKind::ALL {
        match migrate(client, kind).await {
            Ok(0) => {}
            Ok(rewritten) => tracing::info!(
                kind = kind.kind(),
                rewritten,
                "stored objects brought to {STORED}"
            ),
            Err(error) => {
                tracing::warn!(kind = kind.kind(), %error, "stored objects not yet brought to {STORED}; it is tried again");
                done = false;
            }
        }
    }
    done
}

async fn migrate(client: &Client, kind: SmiKind) -> Result<usize, MigrateError> {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let Some(definition) = call(definitions.get_opt(&kind.definition())).await? else {
        return Ok(0);
    };
    if !needs_migration(&definition) {
        return Ok(0);
    }
    let resource = kind.resource();
    let mut rewritten = 0;
    let mut params = ListParams::default().limit(PAGE);
    loop {
        let page = call(Api::<DynamicObject>::all_with(client.clone(), &resource).list(&params)).await?;
        for object in &page.items {
            let namespace = object.namespace().unwrap_or_default();
            let api = Api::<DynamicObject>::namespaced_with(client.clone(), &namespace, &resource);
            // Writing it back as it is makes the API server store it anew. One that changed meanwhile was stored anew
            // by that change, and one that is gone needs nothing.
            match call(api.replace(&object.name_any(), &PostParams::default(), object)).await {
                Ok(_) => rewritten += 1,
                Err(MigrateError::Api(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {}
                Err(error) => return Err(error),
            }
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    let status = json!({
        "metadata": { "resourceVersion": definition.resource_version() },
        "status": { "storedVersions": [STORED] },
    });
    let params = PatchParams {
        field_manager: Some(FIELD_MANAGER.to_owned()),
        ..PatchParams::default()
    };
    call(definitions.patch_status(&kind.definition(), &params, &Patch::Merge(status))).await?;
    Ok(rewritten.max(1))
}

/// Whether old versions are listed as stored while ours is the one stored now.
fn needs_migration(definition: &CustomResourceDefinition) -> bool {
    let stores_ours = definition
        .spec
        .versions
        .iter()
        .any(|version| version.storage && version.name == STORED);
    let status = definition.status.as_ref();
    let stored = status.and_then(|status| status.stored_versions.as_ref());
    stores_ours && stored.is_some_and(|versions| versions.iter().any(|version| version != STORED))
}

async fn call<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, MigrateError> {
    timeout(CALL, request)
        .await
        .map_err(|_| MigrateError::TimedOut)?
        .map_err(MigrateError::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(stored: &[&str], storage: &str) -> CustomResourceDefinition {
        let version = |name: &str| json!({"name": name, "served": true, "storage": name == storage});
        serde_json::from_value(json!({
            "metadata": {"name": "trafficsplits.split.smi-spec.io"},
            "spec": {
                "group": "split.smi-spec.io", "scope": "Namespaced",
                "names": {"kind": "TrafficSplit", "plural": "trafficsplits"},
                "versions": [version("v1alpha2"), version("v1alpha4")],
            },
            "status": {"storedVersions": stored},
        }))
        .unwrap()
    }

    #[test]
    fn old_stored_versions_are_migrated_once_ours_is_stored() {
        assert!(needs_migration(&definition(
            &["v1alpha2", "v1alpha4"],
            "v1alpha4"
        )));
        assert!(!needs_migration(&definition(&["v1alpha4"], "v1alpha4")));
        assert!(
            !needs_migration(&definition(&["v1alpha2"], "v1alpha2")),
            "another mesh's definitions are left alone"
        );
    }
}
