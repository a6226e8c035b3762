//! Members that anybody may fill do not hide the object that they belong to.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value, json};
use smilax_compiler::ingest;
use smilax_crds::access::TrafficTarget;

use super::tests::{both, metadata};
use super::*;

/// What each value costs, as the excerpt counts.
const NODE: usize = 64;
/// etcd takes no larger request.
const MOST_STORED: usize = 1536 * KIB;

/// As many members as 128 KiB have room for.
fn crowd(prefix: &str) -> Map<String, Value> {
    let member = |number| (format!("{prefix}{number}"), json!("x".repeat(40)));
    (0..2000).map(member).collect()
}

/// More than the API server stores of annotations.
fn large_crowd() -> Map<String, Value> {
    (0..20_000)
        .map(|number| (format!("smilax.dev/{number}"), json!("")))
        .collect()
}

/// A running pod with a sidecar.
fn pod() -> Value {
    json!({
        "metadata": metadata(),
        "spec": {
            "serviceAccountName": "web",
            "containers": [{"name": "web", "image": "web:1"}],
            "initContainers": [{"name": "smilax-proxy", "restartPolicy": "Always", "args": ["run"]}],
        },
        "status": {"phase": "Running", "podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}]},
    })
}

#[tokio::test]
async fn s47_a_pod_with_too_many_labels_and_annotations_is_one_without_any() {
    let mut crowded = pod();
    crowded["metadata"]["labels"] = crowd("label").into();
    crowded["metadata"]["annotations"] = crowd("smilax.dev/a").into();
    let (_, found) = both::<Pod>(Watched::Pod, crowded).await;
    let mut bare = pod();
    bare["metadata"]["labels"] = Value::Null;
    bare["metadata"]["annotations"] = Value::Null;
    let bare: Pod = serde_json::from_value(bare).unwrap();
    assert_eq!(ingest::pod(&found), ingest::pod(&bare));
    assert!(ingest::pod(&found).sidecar.is_some());
}

#[tokio::test]
async fn s47_ephemeral_containers_that_mount_nothing_do_not_hide_a_pod() {
    let mut crowded = pod();
    let debug = |number| json!({"name": format!("debug-{number}"), "image": "debug:1"});
    crowded["spec"]["ephemeralContainers"] = (0..500).map(debug).collect();
    let (_, found) = both::<Pod>(Watched::Pod, crowded).await;
    let plain: Pod = serde_json::from_value(pod()).unwrap();
    assert_eq!(ingest::pod(&found), ingest::pod(&plain));
}

#[test]
fn s47_a_pod_of_which_not_every_container_that_mounts_something_was_read_does_not_exist() {
    let mut crowded = pod();
    let debug = |number| json!({"name": format!("debug-{number}"), "volumeMounts": [{"name": "smilax-token", "mountPath": "/t"}]});
    crowded["spec"]["ephemeralContainers"] = (0..500).map(debug).collect();
    let list = json!({"items": [crowded]}).to_string();
    assert_eq!(kept(Watched::Pod, &list), Value::Null);
}

#[tokio::test]
async fn s48_a_traffic_target_with_too_many_annotations_and_a_huge_status_still_closes() {
    let spec = json!({
        "destination": {"kind": "ServiceAccount", "name": "web", "namespace": "shop"},
        "sources": [{"kind": "ServiceAccount", "name": "client", "namespace": "shop"}],
        "rules": [{"kind": "HTTPRouteGroup", "name": "web", "matches": ["read"]}],
    });
    let mut annotated = metadata();
    annotated["annotations"] = large_crowd().into();
    let target = json!({
        "apiVersion": "access.smi-spec.io/v1alpha4", "kind": "TrafficTarget",
        "metadata": annotated, "spec": spec, "status": {"conditions": crowd("c")},
    });
    let list = json!({"items": [target]}).to_string();
    let found = kept(Watched::Smi(SmiKind::TrafficTarget), &list);
    assert_eq!(found["spec"], spec);
    assert_eq!(found["metadata"]["annotations"], Value::Null);
    assert_eq!(found["status"], Value::Null);
    serde_json::from_value::<TrafficTarget>(found).unwrap();
}

/// The object that is left of a list of one.
fn kept(kind: Watched, list: &str) -> Value {
    let told = crate::excerpt::of_list(&excerpt(kind), list.as_bytes());
    let list: Value = serde_json::from_slice(&told).unwrap();
    list["items"][0].clone()
}

/// Values, and names of members, that a schema lets in at most. `None` without a limit.
fn nodes(schema: &JSONSchemaProps) -> Option<usize> {
    let limit = |most: Option<i64>| usize::try_from(most?).ok();
    let mut sum = 1;
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(each)) => sum += limit(schema.max_items)? * nodes(each)?,
        Some(JSONSchemaPropsOrArray::Schemas(_)) => return None,
        None => {}
    }
    for member in schema.properties.iter().flat_map(|members| members.values()) {
        sum += 1 + nodes(member)?;
    }
    match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(each)) => {
            sum += limit(schema.max_properties)? * (1 + nodes(each)?);
        }
        Some(JSONSchemaPropsOrBool::Bool(true)) => return None,
        _ => {}
    }
    (schema.x_kubernetes_preserve_unknown_fields != Some(true)).then_some(sum)
}

#[test]
fn s48_no_traffic_target_that_its_definition_lets_in_is_too_large() {
    let definitions = smilax_crds::manifests();
    let definition = definitions
        .iter()
        .find(|definition| definition.spec.names.kind == "TrafficTarget")
        .unwrap();
    let stored = definition
        .spec
        .versions
        .iter()
        .find(|version| version.storage)
        .unwrap();
    let schema = stored
        .schema
        .as_ref()
        .unwrap()
        .open_api_v3_schema
        .as_ref()
        .unwrap();
    let spec = nodes(&schema.properties.as_ref().unwrap()["spec"]).unwrap();
    let most = excerpt(Watched::Smi(SmiKind::TrafficTarget)).bytes;
    assert!(spec * NODE + MOST_STORED < most, "{spec} values");
}
