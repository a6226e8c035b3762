//! What a replica is told of the cluster, in order, each thing some time after it happened.

use std::sync::Arc;

use serde_json::{Value, json};
use smilax_compiler::ingest;
use smilax_compiler::model::Namespace;
use smilax_core::convention::config_map_name;
use smilax_core::{DestinationName, DestinationPortName, Workload};
use smilax_operator::controller::State;
use smilax_operator::controller::stored::{Content, StoredMap, StoredPolicy};
use smilax_sim::plan::SERVICES;

use crate::policy::NAMESPACE;

/// Something that the API server tells.
#[derive(Clone)]
pub(crate) enum Change {
    /// The ConfigMap of an account.
    Policy(Workload, Arc<str>),
    /// Which pods stand behind a Service.
    Endpoints(usize, u8),
    /// A pod with a proxy: its name, its UID and its account.
    Pod(String, String, Workload),
    /// The mesh trusts the next root too.
    Announce,
}

/// Name of a Service's port.
pub(crate) fn port(service: usize) -> DestinationPortName {
    DestinationPortName {
        destination: DestinationName::new(NAMESPACE, &*name(service)),
        port: 80,
    }
}

/// Where the pods behind a Service are.
pub(crate) fn addresses(service: usize, pods: u8) -> impl Iterator<Item = String> {
    let behind = (0..8).filter(move |bit| pods & (1 << bit) != 0);
    behind.map(move |bit| format!("10.2.{service}.{}", bit + 1))
}

fn name(service: usize) -> String {
    format!("service-{service}")
}

/// What there is from the beginning: the namespace, Services, and all pods that will ever stand behind them.
pub(crate) fn begin(state: &State) {
    state.update(|inner| {
        let namespace = Namespace {
            name: NAMESPACE.into(),
            ..Namespace::default()
        };
        inner.index.set_namespace(NAMESPACE, Some(namespace));
        for service in 0..SERVICES {
            let object = json!({
                "metadata": {"name": name(service), "namespace": NAMESPACE},
                "spec": {
                    "clusterIP": format!("10.96.1.{}", service + 1), "selector": {"app": name(service)},
                    "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
                },
            });
            let read = ingest::service(&serde_json::from_value(object).unwrap());
            inner
                .index
                .set_service(NAMESPACE, name(service).into(), Some(read));
            for address in addresses(service, u8::MAX) {
                let mut object = pod(&address, &address, &Workload::new(NAMESPACE, "backend"));
                object["metadata"]["labels"] = json!({"app": name(service)});
                object["status"] = json!({"podIP": address});
                let read = ingest::pod(&serde_json::from_value(object).unwrap());
                inner.index.set_pod(NAMESPACE, address.into(), Some(read));
            }
        }
    });
}

/// A pod, as the API server shows it.
pub(crate) fn pod(name: &str, uid: &str, workload: &Workload) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": &*workload.namespace, "uid": uid},
        "spec": {
            "containers": [], "serviceAccountName": &*workload.account,
            "initContainers": [{
                "name": "smilax-proxy", "image": "localhost/smilax-proxy:0.1.0", "args": ["run"],
                "volumeMounts": [{"name": "smilax-token", "mountPath": "/token"}],
            }],
            "volumes": [{
                "name": "smilax-token",
                "projected": {"sources": [{"serviceAccountToken": {"audience": "smilax.dev", "path": "token"}}]},
            }],
        },
    })
}

/// Takes in what concerns the state.
pub(crate) fn take(state: &State, change: &Change) {
    match change {
        Change::Policy(workload, text) => {
            let content = Content {
                policy: StoredPolicy::Text(Arc::clone(text)),
                bundle: "".into(),
                signature: "".into(),
            };
            let map = StoredMap {
                resource_version: "1".to_owned(),
                ..StoredMap::of(workload.account.to_string(), content)
            };
            state.tell(|inner| inner.set_map(NAMESPACE, &config_map_name(&workload.account), Some(map)));
        }
        Change::Endpoints(service, pods) => {
            let endpoints: Vec<_> = addresses(*service, *pods)
                .map(|address| json!({"addresses": [address], "targetRef": {"kind": "Pod", "name": address}}))
                .collect();
            let object = json!({
                "metadata": {"name": name(*service), "labels": {"kubernetes.io/service-name": name(*service)}},
                "addressType": "IPv4", "endpoints": endpoints, "ports": [{"name": "http", "port": 8080}],
            });
            let slice = ingest::slice(&serde_json::from_value(object).unwrap());
            state.update(|inner| inner.index.set_slice(NAMESPACE, &name(*service).into(), slice));
        }
        Change::Pod(name, uid, workload) => {
            let read = ingest::pod(&serde_json::from_value(pod(name, uid, workload)).unwrap());
            state.update(|inner| inner.index.set_pod(NAMESPACE, name.as_str().into(), Some(read)));
        }
        Change::Announce => {}
    }
}
