//! Services.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Object, port};

/// A Service that offers every port of the test application, unless ports are named.
#[derive(Clone, Debug)]
pub struct Service {
    name: String,
    selector: BTreeMap<String, String>,
    ports: Vec<Value>,
    annotations: BTreeMap<String, String>,
    cluster_ip: Option<String>,
}

impl Service {
    /// A Service that selects the pods whose label `app` is its own name.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            selector: BTreeMap::from([("app".to_owned(), name.to_owned())]),
            ports: Vec::new(),
            annotations: BTreeMap::new(),
            cluster_ip: None,
        }
    }

    /// Selects the pods of another `app`.
    #[must_use]
    pub fn selecting(mut self, app: &str) -> Self {
        self.selector.insert("app".to_owned(), app.to_owned());
        self
    }

    /// Offers this port, which leads to a number or a name, and only those that are named so.
    #[must_use]
    pub fn port(mut self, name: &str, number: u16, target: impl Into<Value>) -> Self {
        let target: Value = target.into();
        self.ports
            .push(json!({"name": name, "port": number, "targetPort": target}));
        self
    }

    /// `appProtocol` of the port named last.
    #[must_use]
    pub fn app_protocol(mut self, protocol: &str) -> Self {
        if let Some(port) = self.ports.last_mut() {
            port["appProtocol"] = json!(protocol);
        }
        self
    }

    /// An annotation.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Without an address of its own.
    #[must_use]
    pub fn headless(mut self) -> Self {
        self.cluster_ip = Some("None".to_owned());
        self
    }
}

impl From<Service> for Object {
    fn from(service: Service) -> Self {
        let ports = if service.ports.is_empty() {
            vec![
                json!({"name": "http", "port": 80, "targetPort": port::HTTP}),
                json!({"name": "https", "port": 443, "targetPort": port::HTTPS}),
                json!({"name": "grpc", "port": port::GRPC, "targetPort": port::GRPC}),
                json!({"name": "tcp", "port": port::TCP, "targetPort": port::TCP}),
                json!({"name": "tcp-greet", "port": port::GREET, "targetPort": port::GREET}),
            ]
        } else {
            service.ports
        };
        let mut spec = json!({"selector": service.selector, "ports": ports});
        if let Some(address) = service.cluster_ip {
            spec["clusterIP"] = json!(address);
        }
        Self(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": service.name, "annotations": service.annotations},
            "spec": spec,
        }))
    }
}
