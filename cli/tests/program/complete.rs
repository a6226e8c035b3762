//! Names of objects are completed by the program itself, as a shell asks it, from what the API server answers.

use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Cluster, list, outcome, program, version};

fn names(all: &[&str]) -> Value {
    let items: Vec<Value> = all
        .iter()
        .map(|name| json!({"metadata": {"name": name}}))
        .collect();
    list(&items)
}

/// One pod with a sidecar, and one that looks like it only by its label.
fn pods() -> Value {
    let pod = |name: &str, init_containers: Value| {
        json!({
            "metadata": {"name": name, "labels": {"smilax.dev/proxy-version": "0.1.0"}},
            "spec": {"containers": [], "initContainers": init_containers},
        })
    };
    let sidecar = json!([{"name": "smilax-proxy", "restartPolicy": "Always", "args": ["run"]}]);
    list(&[pod("web-1", sidecar), pod("worker-1", json!([]))])
}

fn answers(_: &str, path: &str, _: &Value) -> Option<Value> {
    Some(match path {
        "/version" => version(),
        "/api/v1/namespaces" => names(&["shop", "shipping", "bank"]),
        "/api/v1/namespaces/shop/pods" => pods(),
        "/api/v1/namespaces/shop/services" => names(&["web", "cart"]),
        "/api/v1/namespaces/shop/serviceaccounts" => names(&["client"]),
        "/apis/apps/v1/namespaces/shop/deployments" => names(&["web"]),
        "/apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits" => {
            names(&["web", "web-canary", "cart"])
        }
        "/apis/access.smi-spec.io/v1alpha4/namespaces/shop/traffictargets" => names(&["readers"]),
        _ => return None,
    })
}

/// What a shell would offer for the last word.
fn completed(kubeconfig: &Path, line: &str) -> Vec<String> {
    let mut command = program();
    command
        .env("COMPLETE", "fish")
        .env("KUBECONFIG", kubeconfig)
        .arg("--");
    let text = outcome(command.args(line.split(' '))).out;
    let word = |line: &str| line.split('\t').next().unwrap_or_default().to_owned();
    text.lines()
        .map(word)
        .filter(|word| !word.starts_with('-'))
        .collect()
}

#[test]
fn names_of_objects_are_completed() {
    let cluster = Cluster::that(answers);
    let offered = |line| completed(&cluster.kubeconfig, line);
    for (line, expected) in [
        (
            "smilax explain trafficsplit/w",
            &["trafficsplit/web", "trafficsplit/web-canary"][..],
        ),
        ("smilax explain tt/", &["tt/readers"]),
        ("smilax explain traffict", &["traffictarget/"]),
        ("smilax explain -n sh", &["shop", "shipping"]),
        ("smilax proxy-status --namespace b", &["bank"]),
        ("smilax proxy-config w", &["web-1"]),
        ("smilax log-level deploy/", &["deploy/web"]),
        ("smilax why-inject ns/b", &["ns/bank"]),
        ("smilax authz --from shop/", &["shop/client"]),
        ("smilax authz --to shop/c", &["shop/cart"]),
        ("smilax --smilax-namespace ba", &["bank"]),
    ] {
        assert_eq!(offered(line), expected, "{line}");
    }
}

#[test]
fn names_are_those_of_the_namespace_on_the_command_line() {
    let cluster = Cluster::that(answers);
    assert_eq!(
        completed(&cluster.kubeconfig, "smilax proxy-config -n bank w"),
        [""; 0]
    );
}

#[test]
fn without_a_cluster_nothing_is_completed_and_nothing_is_printed() {
    let nowhere = Path::new("/nonexistent");
    assert_eq!(completed(nowhere, "smilax explain trafficsplit/w"), [""; 0]);
}

#[test]
fn verbs_are_completed_without_a_cluster() {
    let offered = completed(Path::new("/nonexistent"), "smilax proxy-");
    assert_eq!(offered, ["proxy-status", "proxy-config"]);
}
