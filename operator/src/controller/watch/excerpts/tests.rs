use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use smilax_compiler::ingest;
use smilax_compiler::model::InboundUdp;
use smilax_core::config::AccessMode;
use tower::service_fn;

use super::*;
use crate::controller::watch::stored_map;
use crate::excerpt;

/// An object of a kind, whole and as its excerpt.
pub(super) async fn both<K>(kind: Watched, object: Value) -> (K, K)
where
    K: Clone + DeserializeOwned + std::fmt::Debug + kube::Resource<DynamicType = ()>,
{
    let list = json!({"metadata": {"resourceVersion": "9"}, "items": [&object]}).to_string();
    let server = service_fn(move |_: http::Request<kube::client::Body>| {
        let body = http_body_util::Full::new(bytes::Bytes::from(list.clone()));
        std::future::ready(Ok::<_, std::convert::Infallible>(http::Response::new(body)))
    });
    let client = excerpt::client(&Client::new(server, "default"), Arc::new(super::excerpt(kind)));
    let mut found = Api::<K>::all(client).list(&ListParams::default()).await.unwrap();
    (serde_json::from_value(object).unwrap(), found.items.remove(0))
}

pub(super) fn metadata() -> Value {
    json!({
        "name": "web", "namespace": "shop", "uid": "1", "resourceVersion": "7", "generation": 3,
        "creationTimestamp": "2026-01-01T00:00:00Z", "deletionTimestamp": "2026-01-02T00:00:00Z",
        "labels": {"app": "web", "smilax.dev/proxy-version": "0.1.0", "kubernetes.io/service-name": "web"},
        "annotations": {"smilax.dev/opaque-ports": "9000", "smilax.dev/skip-inbound-ports": "1", "other": "x"},
        "managedFields": [{"manager": "kubectl"}], "ownerReferences": [],
    })
}

#[tokio::test]
async fn s28_of_a_pod_everything_is_kept_that_is_asked_for() {
    let mounts = json!([{"name": "token", "mountPath": "/token"}]);
    let variables: Vec<Value> = ["80,90-91", "drop", "deny"]
        .iter()
        .zip(ingest::SIDECAR_VARIABLES)
        .map(|(value, name)| json!({"name": name, "value": value}))
        .chain([json!({"name": "A", "value": "1"})])
        .collect();
    let container = |name: &str| {
        json!({
            "name": name, "image": "web:1", "command": ["web"], "args": ["--port", "80"], "volumeMounts": mounts,
            "env": variables,
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}], "restartPolicy": "Always",
            "livenessProbe": {"httpGet": {"port": 80}},
        })
    };
    let mut sidecar = container("smilax-proxy");
    (sidecar["command"], sidecar["args"]) = (Value::Null, json!(["run"]));
    let source = json!({"serviceAccountToken": {"audience": smilax_core::convention::TOKEN_AUDIENCE, "path": "token"}});
    let pod = json!({
        "metadata": metadata(),
        "spec": {
            "hostNetwork": true, "serviceAccountName": "web", "nodeName": "n1",
            "containers": [container("web")], "initContainers": [container("smilax-init"), sidecar],
            "ephemeralContainers": [container("debug")],
            "volumes": [{"name": "a", "emptyDir": {}}, {"name": "token", "projected": {"sources": [{"configMap": {}}, source]}}],
        },
        "status": {
            "phase": "Running", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd00::1"}],
            "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
        },
    });
    let (whole, found) = both::<Pod>(Watched::Pod, pod).await;
    assert_eq!(ingest::pod(&found), ingest::pod(&whole));
    assert_eq!(ingest::pod(&found).token_holders.len(), 4);
    let sidecar = ingest::pod(&found).sidecar.unwrap();
    assert_eq!(sidecar.inbound_udp, InboundUdp::Drop);
    assert_eq!(sidecar.access, Some(AccessMode::Deny));
    assert_eq!(found.status.unwrap().conditions.unwrap().len(), 1);
}

#[tokio::test]
async fn s28_of_a_service_everything_is_kept_that_is_asked_for() {
    let ports = json!([
        {"name": "http", "port": 80, "targetPort": "web", "nodePort": 30000},
        {"port": 9000, "protocol": "TCP", "appProtocol": "grpc", "targetPort": 9001}, {"port": 53, "protocol": "UDP"},
    ]);
    for spec in [
        json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "selector": {"app": "web"}, "ports": ports,
            "internalTrafficPolicy": "Local", "sessionAffinity": "ClientIP", "externalIPs": ["192.0.2.1"]}),
        json!({"type": "ExternalName", "externalName": "example.com"}),
    ] {
        let (whole, found) =
            both::<Service>(Watched::Service, json!({"metadata": metadata(), "spec": spec})).await;
        assert_eq!(ingest::service(&found), ingest::service(&whole));
    }
}

#[tokio::test]
async fn s28_of_a_slice_everything_is_kept_that_is_asked_for() {
    let slice = json!({
        "metadata": metadata(), "addressType": "IPv4", "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{
            "addresses": ["10.1.0.1", "10.1.0.2"], "conditions": {"ready": false, "serving": true, "terminating": true},
            "zone": "a", "nodeName": "n1", "hostname": "web", "hints": {"forZones": [{"name": "b"}]},
            "targetRef": {"kind": "Pod", "name": "web-1", "uid": "1"},
        }],
    });
    let (whole, found) = both::<EndpointSlice>(Watched::EndpointSlice, slice).await;
    assert_eq!(ingest::slice(&found), ingest::slice(&whole));
    assert!(ingest::slice(&found).unwrap().endpoints[0].state.is_some());
}

#[tokio::test]
async fn s28_of_a_slice_with_a_thousand_endpoints_none_is_missing() {
    let endpoints: Vec<_> = (0..1000)
        .map(|number| {
            json!({
                "addresses": [format!("10.1.{}.{}", number / 250, number % 250)], "nodeName": "n".repeat(60), "zone": "zone",
                "conditions": {"ready": true, "serving": true, "terminating": false}, "hints": {"forZones": [{"name": "zone"}]},
                "targetRef": {"kind": "Pod", "name": format!("web-{number}"), "namespace": "shop", "uid": "1"},
            })
        })
        .collect();
    let slice = json!({"metadata": metadata(), "addressType": "IPv4", "endpoints": endpoints, "ports": []});
    let (_, found) = both::<EndpointSlice>(Watched::EndpointSlice, slice).await;
    assert_eq!(ingest::slice(&found).unwrap().endpoints.len(), 1000);
}

#[tokio::test]
async fn s27_of_a_configmap_everything_is_kept_that_is_ours() {
    let map = json!({
        "metadata": metadata(), "immutable": true,
        "data": {POLICY_KEY: "{}", TRUST_BUNDLE_KEY: "{\"generation\":7}", SIGNATURE_KEY: "s", "other": "x"},
        "binaryData": {PACKED_POLICY_KEY: "AAAA", "more": "AAAA"},
    });
    let (whole, found) = both::<ConfigMap>(Watched::ConfigMap, map).await;
    assert_eq!(stored_map(&found), stored_map(&whole));
    assert_eq!(found.data.unwrap()["other"], "");
    assert!(found.binary_data.unwrap()["more"].0.is_empty());
}

#[tokio::test]
async fn s28_of_a_node_its_zone_is_kept() {
    let node = json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": {
        "name": "n1", "resourceVersion": "7", "labels": {"topology.kubernetes.io/zone": "a", "other": "x"},
    }});
    let (_, found) = both::<PartialObjectMeta<Node>>(Watched::Node, node).await;
    assert_eq!(ingest::zone(&found.metadata).as_deref(), Some("a"));
    assert_eq!(found.metadata.labels.unwrap().len(), 1);
}
