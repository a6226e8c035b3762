//! What the program says to somebody who may not see everything.

use std::path::Path;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::support::{Cluster, forbidden, list, version};

/// API group and resource of every rule of the ClusterRole that docs/debug.md gives.
static DEBUG_ROLE: LazyLock<Vec<(String, String)>> = LazyLock::new(|| {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/debug.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut blocks = page.split("\n```").skip(1).step_by(2);
    let role = blocks.find(|block| block.contains("name: smilax-debug")).unwrap();
    let role: Value = serde_saphyr::from_str(role.strip_prefix("yaml").unwrap()).unwrap();
    let words = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap() };
    let rules = role["rules"].as_array().unwrap();
    let of_rule = |rule: &Value| {
        let (groups, resources) = (words(&rule["apiGroups"]), words(&rule["resources"]));
        let of_group =
            move |group: String| resources.clone().into_iter().map(move |one| (group.clone(), one));
        groups.into_iter().flat_map(of_group).collect::<Vec<_>>()
    };
    rules.iter().flat_map(of_rule).collect()
});

/// What everybody may ask.
fn public(path: &str, body: &Value) -> Option<Value> {
    match path {
        "/version" => Some(version()),
        "/apis" => Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": []})),
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews" => {
            let mut review = body.clone();
            review["status"] = json!({"allowed": false});
            Some(review)
        }
        _ => None,
    }
}

/// API group and resource that a path is about.
fn resource(path: &str) -> Option<(&str, &str)> {
    let words: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let (group, rest) = match words[..] {
        ["api", _, ref rest @ ..] => ("", rest),
        ["apis", group, _, ref rest @ ..] => (group, rest),
        _ => return None,
    };
    let rest = match rest {
        ["namespaces", _, rest @ ..] if !rest.is_empty() => rest,
        rest => rest,
    };
    Some((group, rest.first()?))
}

/// An empty cluster, of which the user has the ClusterRole of docs/debug.md.
fn with_debug_role(_: &str, path: &str, body: &Value) -> Option<Value> {
    public(path, body).or_else(|| {
        let (group, resource) = resource(path).unwrap();
        let allowed = DEBUG_ROLE
            .iter()
            .any(|(one, of)| one == group && (of == resource || of == "*"));
        Some(if allowed { list(&[]) } else { forbidden() })
    })
}

/// A cluster of which the user may see nothing.
fn with_nothing(_: &str, path: &str, body: &Value) -> Option<Value> {
    public(path, body).or_else(|| Some(forbidden()))
}

/// A user who has the ClusterRole view in namespace shop only, which has the Deployment psa without pods.
fn with_one_namespace(_: &str, path: &str, body: &Value) -> Option<Value> {
    let psa = json!({
        "metadata": {"name": "psa", "namespace": "shop"},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "psa", "image": "psa:1"}]}}},
    });
    let shop = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": "shop", "labels": {
            "smilax.dev/inject": "enabled", "pod-security.kubernetes.io/enforce": "baseline",
        }},
    });
    public(path, body).or_else(|| {
        Some(match path {
            "/api/v1/namespaces/shop" => shop,
            "/apis/apps/v1/namespaces/shop/deployments" => list(&[psa]),
            path if path.contains("/namespaces/shop/") => list(&[]),
            _ => forbidden(),
        })
    })
}

#[test]
fn the_cluster_role_of_the_page_on_debugging_is_enough_for_every_command_that_reads() {
    let cluster = Cluster::that(with_debug_role);
    for line in [
        "check",
        "version",
        "why-inject -A",
        "namespaces",
        "proxy-status",
        "ca status",
        "authz --from shop/a --to shop/b",
        "explain trafficsplit/web",
    ] {
        let run = cluster.run(line);
        let said = format!("{}{}", run.out, run.error);
        assert!(!said.contains("you may not"), "{line}: {said}");
    }
}

#[test]
fn what_may_not_be_listed_names_the_cluster_role_of_the_page_on_debugging() {
    let run = Cluster::that(with_nothing).run("check");
    assert_eq!(run.code, Some(2));
    assert!(
        run.error
            .contains("ClusterRoleBinding to the ClusterRole smilax-debug of docs/debug.md"),
        "{}",
        run.error
    );
}

#[test]
fn a_check_before_the_installation_says_what_it_was_not_allowed_to_look_at() {
    let run = Cluster::that(with_nothing).run("check --pre");
    for subject in ["definitions", "meshes", "nodes"] {
        let line = run
            .out
            .lines()
            .find(|line| line.contains(subject) && !line.contains("FAILED"));
        assert!(
            line.is_some_and(|line| line.starts_with("notice") && line.contains("unknown: you may not list")),
            "{subject}: {}",
            run.out
        );
    }
}

#[test]
fn a_workload_whose_pods_are_refused_is_listed_beside_what_the_user_may_not_see() {
    let run = Cluster::that(with_one_namespace).run("why-inject -n shop");
    assert_eq!(run.code, Some(1), "{}", run.error);
    assert!(
        run.out.contains("Deployment shop/psa: PODS REFUSED"),
        "{}",
        run.out
    );
    for assumed in [
        "The installation is taken to have the usual settings: you may not list deployments.apps in namespace smilax-system",
        "The MeshConfig is taken to set nothing: you may not list meshconfigs.mesh.smilax.dev",
        "The webhook smilax-inject is taken to be registered: you may not list mutatingwebhookconfigurations",
    ] {
        assert!(run.out.contains(assumed), "{}", run.out);
    }
}
