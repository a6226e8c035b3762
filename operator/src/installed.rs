//! Whether an installation serves: what `helm test` asks, from a pod with rights to read these few objects.

use std::time::Duration;

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::controller::kinds::SmiKind;

const CALL: Duration = Duration::from_secs(10);
/// A new installation needs a while until its leader has published certificates.
const PATIENCE: Duration = Duration::from_mins(1);
const AGAIN: Duration = Duration::from_secs(2);
const DEPLOYMENT: &str = "smilax-operator";
const INJECTION: &str = "smilax-inject";
const VALIDATION: &str = "smilax-validate";

/// What was found of an installation, as it is stored; null where it is missing.
#[derive(Clone, Debug, Default, PartialEq)]
struct Found {
    deployment: Value,
    webhooks: Vec<(&'static str, Value)>,
    definitions: Vec<(String, Value)>,
}

/// Waits until the installation serves.
///
/// # Errors
/// Everything that is missing when the time is over.
pub async fn run(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let end = Instant::now() + PATIENCE;
    loop {
        let missing = missing(&find(client, namespace).await?);
        if missing.is_empty() {
            tracing::info!(
                namespace,
                "the operator, its webhooks and every SMI kind are served"
            );
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < end, "{}", missing.join("; "));
        sleep(AGAIN).await;
    }
}

async fn find(client: &Client, namespace: &str) -> anyhow::Result<Found> {
    let mut definitions = Vec::new();
    for kind in SmiKind::ALL {
        let name = kind.definition();
        let api = Api::<CustomResourceDefinition>::all(client.clone());
        definitions.push((name.clone(), get(api, &name).await?));
    }
    let injection = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let validation = Api::<ValidatingWebhookConfiguration>::all(client.clone());
    Ok(Found {
        deployment: get(
            Api::<Deployment>::namespaced(client.clone(), namespace),
            DEPLOYMENT,
        )
        .await?,
        webhooks: vec![
            (INJECTION, get(injection, INJECTION).await?),
            (VALIDATION, get(validation, VALIDATION).await?),
        ],
        definitions,
    })
}

async fn get<K>(api: Api<K>, name: &str) -> anyhow::Result<Value>
where
    K: Clone + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let object = timeout(CALL, api.get_opt(name)).await??;
    Ok(object.map(serde_json::to_value).transpose()?.unwrap_or_default())
}

/// What keeps an installation from serving, each with its object.
fn missing(found: &Found) -> Vec<String> {
    let mut missing = Vec::new();
    missing.extend(unserving(&found.deployment));
    for (name, configuration) in &found.webhooks {
        let webhooks = configuration["webhooks"].as_array();
        let trusted = |webhook: &Value| webhook["clientConfig"]["caBundle"].is_string();
        match webhooks {
            None => missing.push(format!("the webhook configuration {name} does not exist")),
            Some(all) if !all.iter().all(trusted) => missing.push(format!(
                "the operator has not written its caBundle into the webhook configuration {name}"
            )),
            Some(_) => {}
        }
    }
    for (name, definition) in &found.definitions {
        missing.extend(unserved(name, definition));
    }
    missing
}

/// What keeps the operator from serving as its Deployment asks for. Ready replicas are not enough: they may be those of an earlier rollout.
fn unserving(deployment: &Value) -> Option<String> {
    let number = |pointer: &str| {
        deployment
            .pointer(pointer)
            .and_then(Value::as_u64)
            .unwrap_or_default()
    };
    let Some(wanted) = deployment["spec"]["replicas"].as_u64() else {
        return Some(format!("Deployment {DEPLOYMENT} does not exist"));
    };
    let ready = number("/status/readyReplicas");
    let is_seen = number("/status/observedGeneration") >= number("/metadata/generation");
    let updated = if is_seen {
        number("/status/updatedReplicas")
    } else {
        0
    };
    let what = if ready < wanted {
        format!("has {ready} of {wanted} replicas ready")
    } else if updated < wanted {
        format!("has not finished its rollout: {updated} of {wanted} replicas are of this revision")
    } else if number("/status/replicas") > updated {
        "has not finished its rollout: replicas of an earlier revision still run".to_owned()
    } else {
        return None;
    };
    let namespace = deployment["metadata"]["namespace"].as_str().unwrap_or_default();
    Some(format!(
        "Deployment {DEPLOYMENT} {what}; see kubectl --namespace {namespace} describe deployment {DEPLOYMENT}"
    ))
}

fn unserved(name: &str, definition: &Value) -> Option<String> {
    if definition.is_null() {
        return Some(format!(
            "CustomResourceDefinition {name} does not exist; install the chart smilax-crds"
        ));
    }
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let old: Vec<&str> = versions
        .filter(|version| version["served"] != json!(true))
        .filter_map(|version| version["name"].as_str())
        .collect();
    if !old.is_empty() {
        return Some(format!(
            "CustomResourceDefinition {name} does not serve {}; upgrade the chart smilax-crds",
            old.join(", ")
        ));
    }
    let conversion = &definition["spec"]["conversion"];
    let converts =
        conversion["strategy"] != "Webhook" || conversion["webhook"]["clientConfig"]["caBundle"].is_string();
    (!converts).then(|| {
        format!(
            "the operator has not written its caBundle into the conversion of CustomResourceDefinition {name}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Found {
        let trusted = json!({"webhooks": [{"clientConfig": {"caBundle": "Q0E="}}]});
        let definition = json!({"spec": {
            "versions": [{"name": "v1alpha4", "served": true}, {"name": "v1alpha3", "served": true}],
            "conversion": {"strategy": "Webhook", "webhook": {"clientConfig": {"caBundle": "Q0E="}}},
        }});
        Found {
            deployment: json!({
                "metadata": {"namespace": "smilax-system", "generation": 3}, "spec": {"replicas": 2},
                "status": {"observedGeneration": 3, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2},
            }),
            webhooks: vec![(INJECTION, trusted.clone()), (VALIDATION, trusted)],
            definitions: vec![("trafficsplits.split.smi-spec.io".to_owned(), definition)],
        }
    }

    #[track_caller]
    fn only(found: &Found) -> String {
        let missing = missing(found);
        assert_eq!(missing.len(), 1, "{missing:?}");
        missing[0].clone()
    }

    #[test]
    fn nothing_is_missing_from_an_installation_that_serves() {
        assert_eq!(missing(&whole()), Vec::<String>::new());
    }

    #[test]
    fn nothing_at_all_is_told_object_by_object() {
        let nothing = Found {
            webhooks: vec![(INJECTION, Value::Null), (VALIDATION, Value::Null)],
            definitions: vec![("trafficsplits.split.smi-spec.io".to_owned(), Value::Null)],
            ..Found::default()
        };
        assert_eq!(missing(&nothing).len(), 4);
    }

    #[test]
    fn replicas_that_are_not_ready_are_counted() {
        let mut found = whole();
        found.deployment["status"] = json!({});
        assert!(only(&found).contains("has 0 of 2 replicas ready"));
    }

    #[test]
    fn replicas_of_an_earlier_revision_are_not_what_was_asked_for() {
        let told = |change: fn(&mut Value)| {
            let mut found = whole();
            change(&mut found.deployment);
            only(&found)
        };
        let pending = told(|deployment| {
            deployment["status"]["updatedReplicas"] = json!(1);
            deployment["status"]["replicas"] = json!(3);
        });
        assert!(
            pending.contains("1 of 2 replicas are of this revision"),
            "{pending}"
        );
        assert!(
            pending.ends_with("kubectl --namespace smilax-system describe deployment smilax-operator"),
            "{pending}"
        );
        let surplus = told(|deployment| deployment["status"]["replicas"] = json!(3));
        assert!(surplus.contains("of an earlier revision still run"), "{surplus}");
        let unseen = told(|deployment| deployment["metadata"]["generation"] = json!(4));
        assert!(
            unseen.contains("0 of 2 replicas are of this revision"),
            "{unseen}"
        );
    }

    #[test]
    fn a_webhook_that_the_api_server_does_not_trust_is_named() {
        let mut found = whole();
        found.webhooks[1].1["webhooks"][0]["clientConfig"] = json!({});
        assert!(only(&found).ends_with("webhook configuration smilax-validate"));
    }

    #[test]
    fn versions_that_an_uninstallation_took_away_are_named() {
        let mut found = whole();
        found.definitions[0].1["spec"]["versions"][1]["served"] = json!(false);
        assert!(only(&found).contains("does not serve v1alpha3"));
    }

    #[test]
    fn a_conversion_that_is_not_trusted_is_named() {
        let mut found = whole();
        found.definitions[0].1["spec"]["conversion"]["webhook"]["clientConfig"] = json!({});
        assert!(only(&found).contains("the conversion of CustomResourceDefinition trafficsplits"));
    }
}
