//! Which pods have a sidecar: their containers say so, as to the operator. Whoever may patch a pod may change its labels.

use kube::Client;
use serde_json::Value;
use smilax_compiler::ingest;
use smilax_compiler::model::Sidecar;
use smilax_core::convention::key;

use crate::cluster;

/// What stands for a version that nothing names.
const UNKNOWN: &str = "unknown";

/// The sidecar of a pod.
pub(crate) fn sidecar_of(pod: &Value) -> Option<Sidecar> {
    let spec = serde_json::from_value(pod["spec"].clone()).ok()?;
    ingest::sidecar(&spec)
}

/// The version that injection noted on a pod with a sidecar. `None` without a sidecar.
pub(crate) fn version_of(pod: &Value) -> Option<&str> {
    sidecar_of(pod)?;
    let noted = pod["metadata"]["labels"][key::PROXY_VERSION].as_str();
    Some(noted.unwrap_or(UNKNOWN))
}

/// The pods with a sidecar, of one namespace or of all.
///
/// # Errors
/// When they cannot be listed.
pub(crate) async fn list(client: &Client, namespace: Option<&str>) -> anyhow::Result<Vec<Value>> {
    let mut pods = cluster::list(client, namespace, &cluster::resource("", "Pod")).await?;
    pods.retain(|pod| sidecar_of(pod).is_some());
    Ok(pods)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(labels: &Value, containers: &Value) -> Value {
        json!({"metadata": {"name": "web", "labels": labels}, "spec": {"containers": [], "initContainers": containers}})
    }

    #[test]
    fn s31_containers_and_not_labels_say_whether_a_pod_has_a_sidecar() {
        let label = json!({"smilax.dev/proxy-version": "0.1.0"});
        let proxy = json!([{"name": "smilax-proxy", "restartPolicy": "Always", "args": ["run"]}]);
        assert_eq!(version_of(&pod(&label, &json!([]))), None);
        assert_eq!(version_of(&pod(&json!({}), &proxy)), Some(UNKNOWN));
        assert_eq!(version_of(&pod(&label, &proxy)), Some("0.1.0"));
    }
}
