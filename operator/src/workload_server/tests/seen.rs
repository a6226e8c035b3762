//! Objects of the namespace `shop`, as if the watches had told of them.

use serde_json::json;
use smilax_compiler::ingest;
use smilax_core::DestinationName;
use smilax_core::endpoints::DestinationPortName;
use smilax_core::workload_connection::{OperatorMessage, Policy};

use crate::controller::State;
use crate::controller::stored::{Content, StoredMap, StoredPolicy};

/// Text of a policy of this revision.
pub(in crate::workload_server) fn policy(revision: &str) -> String {
    json!({ "revision": revision }).to_string()
}

/// The message that tells it.
pub(in crate::workload_server) fn told_policy(revision: &str) -> OperatorMessage {
    OperatorMessage::Policy(Policy::Text(policy(revision)))
}

/// The ConfigMap of an account comes to hold this text.
pub(in crate::workload_server) fn store(state: &State, account: &str, policy: &str) {
    let content = Content {
        policy: StoredPolicy::in_form(policy),
        bundle: "".into(),
        signature: "".into(),
    };
    let map = StoredMap {
        resource_version: "1".to_owned(),
        ..StoredMap::of(String::new(), content)
    };
    state.tell(|inner| inner.set_map("shop", &format!("smilax-{account}"), Some(map)));
}

/// A pod of account `web` without a proxy, `SERVICE-NUMBER`, that this Service selects.
pub(in crate::workload_server) fn pod(state: &State, name: &str, address: &str) {
    set_pod(state, name, address, &json!([]));
}

/// The same with a proxy.
pub(in crate::workload_server) fn injected_pod(state: &State, name: &str, address: &str) {
    let proxy = json!({"name": "smilax-proxy", "restartPolicy": "Always", "args": ["run"]});
    set_pod(state, name, address, &json!([proxy]));
}

fn set_pod(state: &State, name: &str, address: &str, init_containers: &serde_json::Value) {
    let app = name.rsplit_once('-').map_or(name, |(app, _)| app);
    let object = json!({
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
        "spec": {"containers": [], "initContainers": init_containers, "serviceAccountName": "web"}, "status": {"podIP": address},
    });
    let pod = ingest::pod(&serde_json::from_value(object).unwrap());
    state.update(|inner| inner.index.set_pod("shop", name.into(), Some(pod)));
}

/// The one slice of a Service, with pods and their addresses.
pub(in crate::workload_server) fn slice(state: &State, service: &str, endpoints: &[(&str, &str)]) {
    let endpoints: Vec<_> = endpoints
        .iter()
        .map(|(pod, address)| json!({"addresses": [address], "targetRef": {"kind": "Pod", "name": pod}}))
        .collect();
    let object = json!({
        "metadata": {"name": service, "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}],
    });
    let slice = ingest::slice(&serde_json::from_value(object).unwrap());
    state.update(|inner| inner.index.set_slice("shop", &service.into(), slice));
}

/// A Service of port 80 that selects its pods.
pub(in crate::workload_server) fn service(state: &State, name: &str, address: &str) {
    let object = json!({
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "clusterIP": address, "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    });
    let service = ingest::service(&serde_json::from_value(object).unwrap());
    state.update(|inner| inner.index.set_service("shop", name.into(), Some(service)));
}

/// Port 80 of a Service.
pub(in crate::workload_server) fn port_80(service: &str) -> DestinationPortName {
    DestinationPortName {
        destination: DestinationName::new("shop", service),
        port: 80,
    }
}
