//! The objects of the scenario.

use serde_json::{Value, json};

use crate::api::{Api, Place};

/// A namespace of the mesh.
pub fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": {"smilax.dev/inject": "enabled"}}})
}

/// A ServiceAccount.
pub fn account(namespace: &str, name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}})
}

/// A Service with an address of its own: one that the API server chooses would be another every time.
pub fn service(namespace: &str, name: &str, number: u8) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "clusterIP": format!("10.96.7.{number}"), "selector": {"app": name},
            "ports": [{"name": "http", "port": 80, "targetPort": 8080}],
        },
    })
}

/// Endpoints of a Service: these pods, Ready.
pub fn slice(namespace: &str, service: &str, pods: &[&str]) -> Value {
    let endpoints = pods.iter().enumerate().map(|(index, pod)| {
        json!({
            "addresses": [format!("10.200.1.{}", index + 1)], "conditions": {"ready": true, "serving": true},
            "targetRef": {"kind": "Pod", "namespace": namespace, "name": pod},
        })
    });
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": format!("{service}-1"), "namespace": namespace, "labels": {"kubernetes.io/service-name": service}},
        "endpoints": endpoints.collect::<Vec<_>>(),
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
    })
}

/// A pod that no kubelet runs.
#[derive(Clone, Debug)]
pub struct Pod {
    namespace: String,
    name: String,
    account: String,
    number: u8,
}

impl Pod {
    /// Of this account, at the address that ends so.
    pub fn new(namespace: &str, name: &str, account: &str, number: u8) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            account: account.to_owned(),
            number,
        }
    }

    /// Makes it, by way of the injector, and says that it runs.
    pub async fn create(&self, api: &Api) -> anyhow::Result<()> {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": self.name, "namespace": self.namespace, "labels": {"app": self.account}},
            "spec": {
                "serviceAccountName": self.account,
                "containers": [{"name": "application", "image": "localhost/application:1", "ports": [{"containerPort": 8080}]}],
            },
        });
        let path = Place::of(&pod).path();
        if api.get(&path).await?.is_none() {
            api.apply(pod).await?;
        }
        let mut status = readiness(&self.namespace, &self.name, "True");
        let address = format!("10.200.0.{}", self.number);
        status["status"]["podIP"] = json!(address);
        status["status"]["podIPs"] = json!([{"ip": address}]);
        api.apply_status(status).await?;
        Ok(())
    }
}

/// Whether a pod is Ready.
pub fn readiness(namespace: &str, name: &str, ready: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    })
}

/// A TrafficSplit, named like its root.
pub fn split(namespace: &str, root: &str, backends: &[(&str, u32)]) -> Value {
    let backends = backends
        .iter()
        .map(|(service, weight)| json!({"service": service, "weight": weight}));
    json!({
        "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
        "metadata": {"name": root, "namespace": namespace},
        "spec": {"service": root, "backends": backends.collect::<Vec<_>>()},
    })
}

/// An HTTPRouteGroup with one match.
pub fn group(namespace: &str, name: &str, path: &str) -> Value {
    json!({
        "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"matches": [{"name": "all", "pathRegex": format!("{path}/.*"), "methods": ["GET"]}]},
    })
}

/// A TCPRoute.
pub fn tcp_route(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "TCPRoute",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"matches": {"ports": [8080]}},
    })
}

/// A TrafficTarget, named like the account that it protects.
pub fn target(namespace: &str, account: &str, sources: &[&str], rules: &[(&str, &str)]) -> Value {
    let sources = sources
        .iter()
        .map(|name| json!({"kind": "ServiceAccount", "name": name, "namespace": namespace}));
    let rules = rules
        .iter()
        .map(|(kind, name)| json!({"kind": kind, "name": name}));
    json!({
        "apiVersion": "access.smi-spec.io/v1alpha4", "kind": "TrafficTarget",
        "metadata": {"name": account, "namespace": namespace},
        "spec": {
            "destination": {"kind": "ServiceAccount", "name": account, "namespace": namespace},
            "sources": sources.collect::<Vec<_>>(), "rules": rules.collect::<Vec<_>>(),
        },
    })
}

/// The settings of the mesh: those of the installation.
pub fn mesh() -> Value {
    json!({"apiVersion": "mesh.smilax.dev/v1alpha1", "kind": "MeshConfig", "metadata": {"name": "default"}, "spec": {}})
}
