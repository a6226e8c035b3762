//! `smilax why-inject` reads what the webhook's decision depends on.

use serde_json::{Value, json};

use crate::support::{Cluster, list, version};

fn pod(name: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "shop", "labels": {"pod-template-hash": "5d"},
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d", "controller": true}],
        },
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        "status": {"phase": "Running"},
    })
}

/// Namespace shop of the mesh with a pod that is older than the webhook; the user may see nothing of other namespaces.
fn answers(method: &str, path: &str, _: &Value) -> Option<Value> {
    assert_eq!(method, "GET");
    let web = json!({"metadata": {"name": "night", "namespace": "shop"}, "spec": {"replicas": 0, "template": {
        "metadata": {"labels": {"app": "night"}}, "spec": {"containers": [{"name": "night", "image": "night:1"}]},
    }}});
    Some(match path {
        "/version" => version(),
        "/api/v1/namespaces/shop" => json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": "shop", "labels": {"smilax.dev/inject": "enabled"}},
        }),
        "/api/v1/namespaces/shop/pods" => list(&[pod("web-5d-a")]),
        "/apis/apps/v1/namespaces/shop/deployments" => list(&[web]),
        "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations" => list(&[json!({
            "metadata": {"name": "smilax-inject", "creationTimestamp": "2026-02-01T00:00:00Z"},
            "webhooks": [{"clientConfig": {"caBundle": "YQ=="}}],
        })]),
        _ => return None,
    })
}

#[test]
fn a_pod_without_its_sidecar_is_a_finding_with_the_next_step() {
    let cluster = Cluster::that(answers);
    for line in [
        "why-inject web-5d-a",
        "why-inject deploy/web",
        "why-inject ns/shop",
        "why-inject",
    ] {
        let run = cluster.run(line);
        assert_eq!(run.code, Some(1), "{line}: {}", run.error);
        assert!(
            run.out.contains("older than the webhook smilax-inject"),
            "{line}: {}",
            run.out
        );
        assert!(
            run.out.contains("rollout restart deployment/web"),
            "{line}: {}",
            run.out
        );
    }
}

#[test]
fn a_workload_without_pods_is_judged_by_its_template() {
    let run = Cluster::that(answers).run("why-inject deploy/night -o json");
    assert_eq!(run.code, Some(0), "{}", run.error);
    let answer: Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(answer["workloads"][0]["sidecar"], "expected");
}

#[test]
fn a_name_may_be_that_of_a_namespace() {
    let run = Cluster::that(answers).run("why-inject shop -n shop");
    assert_eq!(run.code, Some(1), "{}", run.error);
}

#[test]
fn what_does_not_exist_is_no_answer_and_the_nearest_name_is_proposed() {
    let cluster = Cluster::that(answers);
    let run = cluster.run("why-inject web-5d-b");
    assert_eq!(run.code, Some(2));
    assert!(run.error.contains("; did you mean web-5d-a?"), "{}", run.error);
    let run = cluster.run("proxy-config deploy/night");
    assert!(
        run.error
            .contains("deployment night in namespace shop is scaled to 0"),
        "{}",
        run.error
    );
}
