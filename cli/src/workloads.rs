//! What makes pods, asked of the cluster: why it has none with a sidecar.

use anyhow::anyhow;
use kube::Client;
use serde_json::Value;
use smilax_core::convention::key;

use crate::cluster::{self, Seen};
use crate::controller::Controller;
use crate::names;
use crate::remedies;
use crate::world::text;

/// What is scaled, with the places of its kind in the API.
const SCALED: [(&str, &str); 2] = [("deployment", "Deployment"), ("statefulset", "StatefulSet")];

/// Why a workload has no pod with a sidecar.
pub(crate) async fn without_sidecar(
    client: &Client,
    namespace: &str,
    kind: &'static str,
    name: &str,
) -> anyhow::Error {
    let resource = Controller::resource(kind).map(|(group, kind)| cluster::resource(group, kind));
    let all = match &resource {
        Some(resource) => cluster::list(client, Some(namespace), resource).await,
        None => Ok(Vec::new()),
    };
    match all {
        Ok(all) => anyhow!(reason(&all, namespace, kind, name)),
        Err(error) => error,
    }
}

fn reason(all: &[Value], namespace: &str, kind: &str, name: &str) -> String {
    match all.iter().find(|one| one["metadata"]["name"] == *name) {
        None => {
            let known = all.iter().map(|one| text(one, "/metadata/name"));
            names::missing(kind, name, namespace, known)
        }
        Some(found) if is_scaled_to_zero(found) => {
            format!("{kind} {name} in namespace {namespace} is scaled to 0, so it has no pod")
        }
        Some(_) => format!(
            "{kind} {name} in namespace {namespace} has no pod with a sidecar; to see why: {}",
            remedies::why_inject(namespace, kind, name)
        ),
    }
}

/// The workloads of the mesh that are scaled to 0, in these namespaces, and what may not be seen of them, as sentences.
///
/// # Errors
/// When the cluster cannot be read.
pub(crate) async fn scaled_to_zero(
    client: &Client,
    namespace: Option<&str>,
) -> anyhow::Result<(Vec<Controller>, Vec<String>)> {
    let (mut found, mut unseen) = (Vec::new(), Vec::new());
    let namespaces = match cluster::seen(cluster::namespaces(client, namespace).await)? {
        Seen::All(all) => all,
        Seen::Forbidden(told) => return Ok((found, vec![not_known(&told)])),
    };
    for (kind, api) in SCALED {
        match cluster::seen(cluster::list(client, namespace, &cluster::resource("apps", api)).await)? {
            Seen::All(all) => found.extend(idle(&all, kind, &namespaces)),
            Seen::Forbidden(told) => unseen.push(not_known(&told)),
        }
    }
    found.sort();
    Ok((found, unseen))
}

fn not_known(told: &str) -> String {
    format!("Which workloads are scaled to 0 is not known: {told}")
}

fn idle<'a>(
    all: &'a [Value],
    kind: &'static str,
    namespaces: &'a [Value],
) -> impl Iterator<Item = Controller> + 'a {
    let in_mesh = move |one: &&Value| {
        let of_template = one["spec"]["template"]["metadata"]["labels"][key::INJECT].as_str();
        let namespace = namespaces
            .iter()
            .find(|namespace| namespace["metadata"]["name"] == one["metadata"]["namespace"]);
        let of_namespace =
            namespace.and_then(|namespace| namespace["metadata"]["labels"][key::INJECT].as_str());
        of_template.or(of_namespace) == Some("enabled")
    };
    all.iter()
        .filter(|one| is_scaled_to_zero(one))
        .filter(in_mesh)
        .map(move |one| Controller {
            namespace: text(one, "/metadata/namespace").to_owned(),
            kind,
            name: text(one, "/metadata/name").to_owned(),
        })
}

fn is_scaled_to_zero(workload: &Value) -> bool {
    workload["spec"]["replicas"] == 0
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn deployment(name: &str, replicas: u32) -> Value {
        json!({"metadata": {"name": name, "namespace": "shop"}, "spec": {"replicas": replicas, "template": {}}})
    }

    #[test]
    fn a_workload_without_pods_is_missing_scaled_to_zero_or_lacks_sidecars() {
        let all = [deployment("web", 0), deployment("cart", 2)];
        let why = |name| reason(&all, "shop", "deployment", name);
        assert_eq!(
            why("web"),
            "deployment web in namespace shop is scaled to 0, so it has no pod"
        );
        assert!(why("cart").contains("smilax why-inject deployment/cart -n shop"));
        assert_eq!(
            why("crat"),
            "there is no deployment crat in namespace shop; did you mean cart?"
        );
    }

    #[test]
    fn only_workloads_of_the_mesh_are_said_to_be_scaled_to_zero() {
        let named = |namespaces: &[Value], workload: &Value| {
            let all = [workload.clone()];
            idle(&all, "deployment", namespaces)
                .map(|one| one.subject())
                .collect::<Vec<_>>()
        };
        let mesh = [json!({"metadata": {"name": "shop", "labels": {"smilax.dev/inject": "enabled"}}})];
        assert_eq!(named(&mesh, &deployment("web", 0)), ["Deployment shop/web"]);
        assert_eq!(named(&mesh, &deployment("web", 1)), [""; 0]);
        assert_eq!(named(&[], &deployment("web", 0)), [""; 0]);
        let mut out = deployment("web", 0);
        out["spec"]["template"] = json!({"metadata": {"labels": {"smilax.dev/inject": "disabled"}}});
        assert_eq!(named(&mesh, &out), [""; 0]);
    }
}
