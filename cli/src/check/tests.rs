use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::json;

use super::*;

fn healthy() -> Snapshot {
    Snapshot {
        namespace: "smilax-system".to_owned(),
        definitions: smilax_crds::manifests().iter().map(published).collect(),
        deployments: vec![json!({
            "metadata": {"name": "smilax-operator"},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [{"image": "localhost/smilax-operator:0.1.0"}]}}},
            "status": {"readyReplicas": 2},
        })],
        mutating: vec![
            json!({"metadata": {"name": "smilax-inject"}, "webhooks": [{"clientConfig": {"caBundle": "abc"}}]}),
        ],
        validating: vec![
            json!({"metadata": {"name": "smilax-validate"}, "webhooks": [{"clientConfig": {"caBundle": "abc"}}]}),
        ],
        namespaces: vec![json!({"metadata": {"name": "shop", "labels": {"smilax.dev/inject": "enabled"}}})],
        meshes: Vec::new(),
        pods: vec![injected("web", "0.1.0")],
        objects: vec![split("True")],
        keyed: Vec::new(),
    }
}

/// A definition whose conversion the API server trusts.
fn published(definition: &CustomResourceDefinition) -> Value {
    let mut definition = serde_json::to_value(definition).unwrap();
    if let Some(client) = definition.pointer_mut("/spec/conversion/webhook/clientConfig") {
        client["caBundle"] = json!("YWJj");
    }
    definition
}

fn pod(name: &str, labels: &Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "shop", "labels": labels}, "spec": {}, "status": {"phase": "Running"}})
}

/// A pod with a sidecar of this version.
fn injected(name: &str, version: &str) -> Value {
    let mut pod = pod(name, &json!({"smilax.dev/proxy-version": version}));
    pod["spec"]["initContainers"] = json!([
        {"name": "smilax-init", "env": [{"name": "SMILAX_INBOUND_UDP", "value": "open"}]},
        {"name": "smilax-proxy", "restartPolicy": "Always", "args": ["run"]},
    ]);
    pod
}

fn split(accepted: &str) -> Value {
    json!({
        "kind": "TrafficSplit", "metadata": {"name": "web", "namespace": "shop"},
        "status": {"conditions": [{"type": "Accepted", "status": accepted, "reason": "Conflicted", "message": "an older one decides"}]},
    })
}

fn complaints(snapshot: &Snapshot) -> Vec<String> {
    let findings = check(snapshot);
    findings
        .into_iter()
        .filter(|one| one.verdict != Verdict::Good)
        .map(|one| format!("{}: {}", one.subject, one.message))
        .collect()
}

#[test]
fn a_healthy_mesh_has_nothing_to_complain_about() {
    assert_eq!(complaints(&healthy()), [""; 0]);
    assert!(table(&check(&healthy())).ends_with("All is well.\n"));
}

#[test]
fn an_empty_cluster_says_what_to_install() {
    let text = table(&check(&Snapshot {
        namespace: "smilax-system".to_owned(),
        ..Snapshot::default()
    }));
    assert!(
        text.contains("helm upgrade --install smilax-crds ")
            && text.contains("helm upgrade --install smilax "),
        "{text}"
    );
}

#[test]
fn a_pod_without_a_proxy_is_named() {
    let mut snapshot = healthy();
    snapshot.pods.push(pod("late", &json!({})));
    snapshot
        .pods
        .push(pod("out", &json!({"smilax.dev/inject": "disabled"})));
    assert_eq!(
        complaints(&snapshot),
        [
            "pod shop/late: 1 pod without a proxy: late; kubectl --namespace shop delete pod late, and create it again"
        ]
    );
}

#[test]
fn pods_of_one_workload_are_one_line_with_the_command_that_restarts_it() {
    let mut snapshot = healthy();
    for name in ["api-5d-a", "api-5d-b"] {
        let mut pod = pod(name, &json!({"pod-template-hash": "5d"}));
        pod["metadata"]["ownerReferences"] =
            json!([{"kind": "ReplicaSet", "name": "api-5d", "controller": true}]);
        snapshot.pods.push(pod);
    }
    assert_eq!(
        complaints(&snapshot),
        [
            "deployment shop/api: 2 pods without a proxy: api-5d-a, api-5d-b; kubectl --namespace shop rollout restart deployment/api"
        ]
    );
}

#[test]
fn an_object_that_is_not_accepted_is_named_with_its_reason() {
    let mut snapshot = healthy();
    snapshot.objects = vec![split("False")];
    assert_eq!(
        complaints(&snapshot),
        ["TrafficSplit shop/web: Conflicted: an older one decides"]
    );
}

#[test]
fn a_proxy_two_minor_versions_away_is_named() {
    let mut snapshot = healthy();
    snapshot.pods = vec![injected("old", "0.3.0")];
    assert_eq!(complaints(&snapshot).len(), 1);
    assert!(pods::is_near("0.1.0", "0.2.9") && pods::is_near("latest", "0.9.0"));
}

#[test]
fn an_unpublished_bundle_is_named() {
    let mut snapshot = healthy();
    snapshot.mutating[0]["webhooks"][0]["clientConfig"] = json!({});
    assert_eq!(complaints(&snapshot).len(), 1);
}

#[test]
fn versions_are_counted() {
    let versions = Versions::of(Some(&healthy()));
    assert!(
        versions
            .table()
            .ends_with("operator: 0.1.0\nproxies:  0.1.0 (1 pod)\n")
    );
    assert_eq!(versions.json()["proxies"][0]["pods"], 1);
}

#[test]
fn a_pod_that_was_made_under_another_access_mode_is_to_be_restarted() {
    let mut snapshot = healthy();
    snapshot.meshes = vec![json!({"metadata": {"name": "default"}, "spec": {"accessMode": "deny"}})];
    assert_eq!(
        complaints(&snapshot),
        [
            "pod shop/web: inbound UDP is open in 1 pod made under another access mode, and should be drop: web; kubectl --namespace shop delete pod web, and create it again"
        ]
    );
    snapshot.pods[0]["metadata"]["annotations"] = json!({"smilax.dev/inbound-udp": "drop"});
    assert_eq!(
        complaints(&snapshot).len(),
        1,
        "an annotation changes nothing about it"
    );
    snapshot.pods[0]["spec"]["initContainers"][0]["env"][0]["value"] = json!("drop");
    assert_eq!(complaints(&snapshot), [""; 0]);
}

#[test]
fn a_udp_route_is_worth_a_look_but_no_failure() {
    let mut snapshot = healthy();
    let mut route = split("False");
    route["kind"] = json!("UDPRoute");
    snapshot.objects = vec![route];
    assert_eq!(complaints(&snapshot).len(), 1);
    assert!(!has_failed(&check(&snapshot)));
}

#[test]
fn what_the_operator_tells_about_the_authority_is_shown() {
    let verdicts = |ready: &str, rotating: &str, signed: &str| {
        let mesh = json!({"metadata": {"name": "default"}, "status": {"conditions": [
            {"type": "AuthorityReady", "status": ready, "reason": "R", "message": "m"},
            {"type": "AuthorityRotating", "status": rotating, "reason": "R", "message": "m"},
            {"type": "ConfigurationsSigned", "status": signed, "reason": "R", "message": "m"},
        ]}});
        let snapshot = Snapshot {
            meshes: vec![mesh],
            ..Snapshot::default()
        };
        let mut findings = Vec::new();
        authority(&snapshot, &mut findings);
        findings.iter().map(|finding| finding.verdict).collect::<Vec<_>>()
    };
    assert_eq!(verdicts("True", "False", "True"), [Verdict::Good]);
    assert_eq!(
        verdicts("False", "True", "True"),
        [Verdict::Failed, Verdict::Notice]
    );
    assert_eq!(
        verdicts("True", "False", "False"),
        [Verdict::Good, Verdict::Failed]
    );
}
