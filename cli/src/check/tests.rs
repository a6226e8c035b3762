use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::json;

use super::*;
use crate::operator::tests as running;

pub(super) fn healthy() -> Snapshot {
    Snapshot {
        namespace: "smilax-system".to_owned(),
        definitions: smilax_crds::manifests().iter().map(published).collect(),
        deployments: vec![running::deployment("localhost/smilax-operator:0.1.0")],
        mutating: vec![
            json!({"metadata": {"name": "smilax-inject"}, "webhooks": [{"clientConfig": {"caBundle": "abc"}}]}),
        ],
        validating: vec![
            json!({"metadata": {"name": "smilax-validate"}, "webhooks": [{"clientConfig": {"caBundle": "abc"}}]}),
        ],
        namespaces: vec![json!({"metadata": {"name": "shop", "labels": {"smilax.dev/inject": "enabled"}}})],
        meshes: vec![mesh(&json!({}))],
        pods: ["a", "b"]
            .map(|name| running::pod(name, "new", "localhost/smilax-operator:0.1.0"))
            .into_iter()
            .chain([injected("web", "0.1.0")])
            .collect(),
        objects: vec![split("True")],
        keyed: vec![running::replica_set(), service("web")],
        slices: vec![slice("web")],
        leader: Some("a".to_owned()),
    }
}

/// The MeshConfig, on which the operator told that all is well.
pub(super) fn mesh(spec: &Value) -> Value {
    json!({
        "metadata": {"name": "default"}, "spec": spec,
        "status": {"conditions": [
            {"type": "AuthorityReady", "status": "True", "reason": "Ready", "message": "certificates are signed"},
        ]},
    })
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"clusterIP": "10.0.0.1", "selector": {"app": name}, "ports": [{"port": 80}]},
    })
}

/// One ready endpoint of a Service.
fn slice(service: &str) -> Value {
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": service, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "ports": [{"port": 80}], "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {"ready": true}}],
    })
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
        "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"service": "web", "backends": [{"service": "web", "weight": 1}]},
        "status": {"conditions": [
            {"type": "Accepted", "status": accepted, "reason": "Conflicted", "message": "an older one decides"},
            {"type": "Ready", "status": accepted, "reason": "Conflicted", "message": "it is not accepted"},
        ]},
    })
}

pub(super) fn complaints(snapshot: &Snapshot) -> Vec<String> {
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
            "Pod shop/late: 1 pod without a proxy: late; kubectl --namespace shop delete pod late, and create it again"
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
            "Deployment shop/api: 2 pods without a proxy: api-5d-a, api-5d-b; kubectl --namespace shop rollout restart deployment/api"
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
    snapshot.pods.push(injected("old", "0.3.0"));
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
    let away = Snapshot {
        pods: Vec::new(),
        ..healthy()
    };
    let table = Versions::of(Some(&away)).table();
    assert!(table.contains("operator: no replica is ready"), "{table}");
    assert!(!Versions::of(None).table().contains("operator"));
}

#[test]
fn a_pod_that_was_made_under_another_access_mode_is_to_be_restarted() {
    let mut snapshot = healthy();
    snapshot.meshes = vec![mesh(&json!({"accessMode": "deny"}))];
    assert_eq!(
        complaints(&snapshot),
        [
            "Pod shop/web: inbound UDP: open in 1 pod created under another access mode, where the mode now in force asks for drop: web; kubectl --namespace shop delete pod web, and create it again"
        ]
    );
    snapshot.pods[2]["metadata"]["annotations"] = json!({"smilax.dev/inbound-udp": "drop"});
    assert_eq!(
        complaints(&snapshot).len(),
        1,
        "an annotation changes nothing about it"
    );
    snapshot.pods[2]["spec"]["initContainers"][0]["env"][0]["value"] = json!("drop");
    assert_eq!(complaints(&snapshot), [""; 0]);
}

#[test]
fn a_udp_route_is_worth_a_look_but_no_failure() {
    let mut snapshot = healthy();
    let mut route = split("False");
    route["apiVersion"] = json!("specs.smi-spec.io/v1alpha4");
    route["kind"] = json!("UDPRoute");
    route["spec"] = json!({});
    snapshot.objects = vec![route];
    assert_eq!(complaints(&snapshot).len(), 1);
    assert!(!has_failed(&check(&snapshot)));
}

#[test]
fn a_backend_that_answers_its_share_with_503_is_worth_a_look() {
    let mut snapshot = healthy();
    snapshot.slices.clear();
    assert_eq!(
        complaints(&snapshot),
        [
            "TrafficSplit shop/web: NoReadyEndpoints: spec.backends[0].service: Service web has no ready endpoint; its share is answered with 503"
        ]
    );
}

#[test]
fn an_object_that_cannot_be_read_is_named_and_the_others_are_judged_by_their_status() {
    let mut snapshot = healthy();
    snapshot.slices[0]["endpoints"] = json!(7);
    let told = complaints(&snapshot);
    assert_eq!(told.len(), 1);
    assert!(
        told[0]
            .starts_with("objects: not looked at beyond their status: EndpointSlice shop/web cannot be read"),
        "{told:?}"
    );
}

#[test]
fn a_split_that_divides_nothing_is_worth_a_look() {
    let mut snapshot = healthy();
    snapshot.objects[0]["spec"]["backends"][0]["weight"] = json!(0);
    let told = complaints(&snapshot);
    assert!(told[0].contains("NoUsableBackend: "), "{told:?}");
}

#[test]
fn an_object_that_is_not_ready_fails_and_is_not_counted() {
    let of = |ready: &str| {
        let mut snapshot = healthy();
        snapshot.objects[0]["status"]["conditions"] = json!([
            {"type": "Accepted", "status": "True", "reason": "Accepted", "message": "-"},
            {"type": "Programmed", "status": "False", "reason": "NotInjected", "message": "1 pod has no sidecar"},
            {"type": "Ready", "status": ready, "reason": "NotInjected", "message": "see Programmed"},
        ]);
        check(&snapshot)
    };
    let findings = of("False");
    assert!(has_failed(&findings));
    let text = table(&findings);
    assert!(text.contains("NotInjected: 1 pod has no sidecar"), "{text}");
    assert!(text.contains("0 of 1 SMI objects are ready"), "{text}");
    assert!(!has_failed(&of("True")));
}

#[test]
fn a_pod_whose_proxy_does_not_start_fails() {
    let mut snapshot = healthy();
    snapshot.pods[2]["status"]["initContainerStatuses"] = json!([
        {"name": "smilax-proxy", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}},
    ]);
    assert_eq!(
        complaints(&snapshot),
        [
            "Pod shop/web: 1 pod whose proxy does not start: web; container smilax-proxy: ErrImagePull: not found"
        ]
    );
}

#[test]
fn settings_that_no_pod_of_the_operator_runs_with_change_nothing() {
    let mut snapshot = healthy();
    snapshot.deployments[0]["spec"]["template"]["spec"]["containers"][0]["args"] =
        json!(["--access-mode=deny"]);
    assert_eq!(
        complaints(&snapshot),
        [""; 0],
        "inbound UDP follows from the access mode"
    );
}
