//! What must be done before the operator goes: without it nobody converts, so old versions are no longer served and
//! objects stay readable in the stored version.

use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::kinds::SmiKind;
use super::migrate;
use super::writer::FIELD_MANAGER;

const CALL: Duration = Duration::from_secs(10);
const CONVERSION_SERVICE: &str = "smilax-conversion";

/// Rewrites what is stored in old versions, then takes our conversion out of every definition that names it.
///
/// # Errors
/// The first definition that could not be changed.
pub async fn run(client: &Client) -> anyhow::Result<()> {
    migrate::run(client).await;
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    for kind in SmiKind::ALL {
        let name = kind.definition();
        let Some(definition) = timeout(CALL, definitions.get_opt(&name)).await?? else {
            continue;
        };
        let raw = serde_json::to_value(&definition)?;
        if let Some(patch) = without_conversion(&raw) {
            let params = PatchParams {
                field_manager: Some(FIELD_MANAGER.to_owned()),
                ..PatchParams::default()
            };
            timeout(CALL, definitions.patch(&name, &params, &Patch::Merge(patch))).await??;
            tracing::info!(
                definition = name,
                "old versions are no longer served, since nobody is left to convert them"
            );
        }
    }
    Ok(())
}

/// The change that takes our conversion out of a definition, if it is there.
fn without_conversion(definition: &Value) -> Option<Value> {
    let service = &definition["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["name"];
    if service != CONVERSION_SERVICE {
        return None;
    }
    let versions: Vec<Value> = definition["spec"]["versions"]
        .as_array()?
        .iter()
        .map(|version| {
            let mut version = version.clone();
            version["served"] = json!(version["storage"] == json!(true));
            version
        })
        .collect();
    Some(json!({ "spec": { "conversion": { "strategy": "None", "webhook": null }, "versions": versions } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_stored_version_stays_served() {
        let definition = json!({"spec": {
            "conversion": {"webhook": {"clientConfig": {"service": {"name": "smilax-conversion"}}}},
            "versions": [{"name": "v1alpha1", "served": true, "storage": false}, {"name": "v1alpha4", "served": true, "storage": true}],
        }});
        let patch = without_conversion(&definition).unwrap();
        assert_eq!(patch["spec"]["versions"][0]["served"], json!(false));
        assert_eq!(patch["spec"]["versions"][1]["served"], json!(true));
        assert_eq!(patch["spec"]["conversion"]["strategy"], json!("None"));
    }

    #[test]
    fn a_definition_that_somebody_else_converts_is_left_alone() {
        assert_eq!(
            without_conversion(&json!({"spec": {"conversion": {"strategy": "None"}}})),
            None
        );
    }
}
