//! `smilax check --pre` asks what it says it asks.

use serde_json::{Value, json};

use crate::support::{Cluster, list, version};

/// A cluster without Smilax, whose user may create everything but ClusterRoles.
fn answers(method: &str, path: &str, body: &Value) -> Option<Value> {
    let served = |name: &str| {
        let version = json!({"groupVersion": format!("{name}/v1"), "version": "v1"});
        json!({"name": name, "versions": [version], "preferredVersion": version})
    };
    Some(match (method, path) {
        ("GET", "/version") => version(),
        ("GET", "/apis") => json!({
            "kind": "APIGroupList", "apiVersion": "v1",
            "groups": [served("admissionregistration.k8s.io"), served("apiextensions.k8s.io")],
        }),
        ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews") => {
            let asked = &body["spec"]["resourceAttributes"];
            assert_eq!(asked["verb"], "create");
            let mut review = body.clone();
            review["status"] = json!({"allowed": asked["resource"] != "clusterroles"});
            review
        }
        ("GET", "/api/v1/nodes") => list(&[json!({
            "metadata": {"name": "n1"},
            "status": {"nodeInfo": {"operatingSystem": "linux", "kernelVersion": "6.12.9"}},
        })]),
        _ => return None,
    })
}

#[test]
fn a_right_that_is_missing_is_a_finding_and_the_rest_is_told_too() {
    let run = Cluster::that(answers).run("check --pre");
    assert_eq!(run.code, Some(1), "{}", run.error);
    assert!(
        run.out
            .contains("you may not create clusterroles.rbac.authorization.k8s.io: ask"),
        "{}",
        run.out
    );
    assert!(run.out.contains("1 node with Linux 6.12.9"), "{}", run.out);
    assert!(run.out.ends_with("1 check failed.\n"), "{}", run.out);
}
