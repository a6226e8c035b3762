//! SMI objects that say who may call whom.

use serde_json::{Map, Value, json};

use super::Object;

/// A TrafficTarget whose destination is an account, named like it unless said otherwise.
#[derive(Clone, Debug)]
pub struct TrafficTarget {
    name: String,
    destination: Value,
    sources: Vec<Value>,
    rules: Vec<Value>,
}

impl TrafficTarget {
    /// A target that protects the pods of an account.
    pub fn of(account: &str) -> Self {
        Self {
            name: account.to_owned(),
            destination: json!({"kind": "ServiceAccount", "name": account}),
            sources: Vec::new(),
            rules: Vec::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Namespace of the destination, as written.
    #[must_use]
    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.destination["namespace"] = json!(namespace);
        self
    }

    /// Lets an account of the target's own namespace call.
    #[must_use]
    pub fn from(self, account: &str) -> Self {
        self.source(json!({"kind": "ServiceAccount", "name": account}))
    }

    /// Lets an account of another namespace call.
    #[must_use]
    pub fn from_namespace(self, namespace: &str, account: &str) -> Self {
        self.source(json!({"kind": "ServiceAccount", "name": account, "namespace": namespace}))
    }

    /// Lets whom an IdentityBinding means call.
    #[must_use]
    pub fn from_binding(self, binding: &str) -> Self {
        self.source(json!({"kind": "IdentityBinding", "name": binding}))
    }

    /// Allows what a group of HTTP matches selects.
    #[must_use]
    pub fn http(self, group: &str) -> Self {
        self.rule(json!({"kind": "HTTPRouteGroup", "name": group}))
    }

    /// Allows what some matches of a group select.
    #[must_use]
    pub fn http_matches(self, group: &str, matches: &[&str]) -> Self {
        self.rule(json!({"kind": "HTTPRouteGroup", "name": group, "matches": matches}))
    }

    /// Allows the ports of a TCPRoute.
    #[must_use]
    pub fn tcp(self, route: &str) -> Self {
        self.rule(json!({"kind": "TCPRoute", "name": route}))
    }

    fn source(mut self, source: Value) -> Self {
        self.sources.push(source);
        self
    }

    fn rule(mut self, rule: Value) -> Self {
        self.rules.push(rule);
        self
    }
}

impl From<TrafficTarget> for Object {
    fn from(target: TrafficTarget) -> Self {
        Self(json!({
            "apiVersion": "access.smi-spec.io/v1alpha4", "kind": "TrafficTarget",
            "metadata": {"name": target.name},
            "spec": {"destination": target.destination, "sources": target.sources, "rules": target.rules},
        }))
    }
}

/// A TCPRoute of these ports; of all ports when there are none.
#[derive(Clone, Debug)]
pub struct TcpRoute {
    name: String,
    ports: Vec<u16>,
}

impl TcpRoute {
    /// A route of all ports yet.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ports: Vec::new(),
        }
    }

    /// One more port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }
}

impl From<TcpRoute> for Object {
    fn from(route: TcpRoute) -> Self {
        let spec = if route.ports.is_empty() {
            json!({})
        } else {
            json!({"matches": {"ports": route.ports}})
        };
        Self(json!({
            "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "TCPRoute",
            "metadata": {"name": route.name}, "spec": spec,
        }))
    }
}

/// An IdentityBinding.
#[derive(Clone, Debug)]
pub struct IdentityBinding {
    name: String,
    schemes: Map<String, Value>,
}

impl IdentityBinding {
    /// A binding that means nobody yet.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            schemes: Map::new(),
        }
    }

    /// Means the pods of an account.
    #[must_use]
    pub fn account(self, name: &str) -> Self {
        self.scheme("serviceAccount", json!(name))
    }

    /// Means who has one of these SPIFFE ids.
    #[must_use]
    pub fn spiffe(self, ids: &[&str]) -> Self {
        self.scheme("spiffeIdentities", json!(ids))
    }

    /// Means pods with a label.
    #[must_use]
    pub fn label(self, key: &str, value: &str) -> Self {
        self.scheme("podLabelSelector", json!({"matchLabels": {key: value}}))
    }

    fn scheme(mut self, name: &str, value: Value) -> Self {
        self.schemes.insert(name.to_owned(), value);
        self
    }
}

impl From<IdentityBinding> for Object {
    fn from(binding: IdentityBinding) -> Self {
        Self(json!({
            "apiVersion": "access.smi-spec.io/v1alpha4", "kind": "IdentityBinding",
            "metadata": {"name": binding.name}, "spec": {"schemes": binding.schemes},
        }))
    }
}
