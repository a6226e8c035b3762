//! SMI objects.

use serde_json::{Map, Value, json};

use super::Object;

/// Versions in which a TrafficSplit, or an HTTPRouteGroup, may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitVersion {
    /// Weights are quantities.
    V1alpha1,
    /// Weights are integers.
    V1alpha2,
    /// With matches.
    V1alpha3,
    /// The stored version.
    V1alpha4,
}

impl SplitVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::V1alpha1, Self::V1alpha2, Self::V1alpha3, Self::V1alpha4];

    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1alpha1 => "v1alpha1",
            Self::V1alpha2 => "v1alpha2",
            Self::V1alpha3 => "v1alpha3",
            Self::V1alpha4 => "v1alpha4",
        }
    }
}

/// A TrafficSplit, named like its root unless said otherwise.
#[derive(Clone, Debug)]
pub struct TrafficSplit {
    name: String,
    version: SplitVersion,
    root: String,
    backends: Vec<Value>,
    matches: Vec<Value>,
}

impl TrafficSplit {
    /// A split of this Service.
    pub fn of(root: &str) -> Self {
        Self {
            name: root.to_owned(),
            version: SplitVersion::V1alpha4,
            root: root.to_owned(),
            backends: Vec::new(),
            matches: Vec::new(),
        }
    }

    /// Its name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Its version.
    #[must_use]
    pub fn version(mut self, version: SplitVersion) -> Self {
        self.version = version;
        self
    }

    /// A backend, with its weight as a number or as a quantity.
    #[must_use]
    pub fn backend(mut self, service: &str, weight: impl Into<Value>) -> Self {
        self.backends
            .push(json!({"service": service, "weight": weight.into()}));
        self
    }

    /// An HTTPRouteGroup that selects the requests.
    #[must_use]
    pub fn matching(mut self, group: &str) -> Self {
        self.matches
            .push(json!({"kind": "HTTPRouteGroup", "name": group}));
        self
    }
}

impl From<TrafficSplit> for Object {
    fn from(split: TrafficSplit) -> Self {
        let mut spec = json!({"service": split.root, "backends": split.backends});
        if !split.matches.is_empty() {
            spec["matches"] = Value::Array(split.matches);
        }
        Self(json!({
            "apiVersion": format!("split.smi-spec.io/{}", split.version.as_str()),
            "kind": "TrafficSplit",
            "metadata": {"name": split.name},
            "spec": spec,
        }))
    }
}

/// One match of a group.
#[derive(Clone, Debug)]
pub struct Match(Map<String, Value>);

impl Match {
    /// A match that selects everything yet.
    pub fn named(name: &str) -> Self {
        Self(Map::from_iter([("name".to_owned(), json!(name))]))
    }

    /// Only this path, a regular expression anchored at the start.
    #[must_use]
    pub fn path(mut self, regex: &str) -> Self {
        self.0.insert("pathRegex".to_owned(), json!(regex));
        self
    }

    /// Only these methods.
    #[must_use]
    pub fn methods(mut self, methods: &[&str]) -> Self {
        self.0.insert("methods".to_owned(), json!(methods));
        self
    }

    /// Only with these headers, in whichever of the two forms.
    #[must_use]
    pub fn headers(mut self, headers: Value) -> Self {
        self.0.insert("headers".to_owned(), headers);
        self
    }
}

/// An HTTPRouteGroup.
#[derive(Clone, Debug)]
pub struct RouteGroup {
    name: String,
    version: SplitVersion,
    matches: Vec<Value>,
}

impl RouteGroup {
    /// A group without matches yet.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: SplitVersion::V1alpha4,
            matches: Vec::new(),
        }
    }

    /// Its version.
    #[must_use]
    pub fn version(mut self, version: SplitVersion) -> Self {
        self.version = version;
        self
    }

    /// One more match, any of which selects a request.
    #[must_use]
    pub fn or(mut self, one: Match) -> Self {
        self.matches.push(Value::Object(one.0));
        self
    }
}

impl From<RouteGroup> for Object {
    fn from(group: RouteGroup) -> Self {
        let mut object = json!({
            "apiVersion": format!("specs.smi-spec.io/{}", group.version.as_str()),
            "kind": "HTTPRouteGroup",
            "metadata": {"name": group.name},
        });
        match group.version {
            SplitVersion::V1alpha1 | SplitVersion::V1alpha2 => object["matches"] = json!(group.matches),
            SplitVersion::V1alpha3 | SplitVersion::V1alpha4 => {
                object["spec"] = json!({"matches": group.matches});
            }
        }
        Self(object)
    }
}
