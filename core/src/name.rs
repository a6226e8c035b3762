//! Names that travel between the parts of the mesh.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A destination that workloads call, `namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DestinationName {
    /// Namespace that owns the destination.
    pub namespace: Arc<str>,
    /// Name within the namespace.
    pub name: Arc<str>,
}

/// Identity of a workload: everything that runs under one account of one namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Workload {
    /// Namespace of the account.
    pub namespace: Arc<str>,
    /// Name of the account.
    pub account: Arc<str>,
}

/// The object of the user's that a piece of configuration comes from, for logs, metrics and explanations.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectRef {
    /// Kind as its API spells it.
    pub kind: Arc<str>,
    /// Namespace of the object.
    pub namespace: Arc<str>,
    /// Name of the object.
    pub name: Arc<str>,
    /// Generation of its specification that this configuration carries out.
    #[serde(default)]
    pub generation: i64,
}

/// A destination name that is not of the form `namespace/name`.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is not of the form namespace/name")]
pub struct InvalidDestinationName(String);

impl DestinationName {
    /// A name from its two parts.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for DestinationName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl FromStr for DestinationName {
    type Err = InvalidDestinationName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self::new(namespace, name))
            }
            _ => Err(InvalidDestinationName(text.to_owned())),
        }
    }
}

impl Serialize for DestinationName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DestinationName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Workload {
    /// An identity from its two parts.
    pub fn new(namespace: impl Into<Arc<str>>, account: impl Into<Arc<str>>) -> Self {
        Self {
            namespace: namespace.into(),
            account: account.into(),
        }
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.account)
    }
}

impl ObjectRef {
    /// Whether both are the same object, whatever their generations are.
    pub fn is_same_object(&self, other: &Self) -> bool {
        (&self.kind, &self.namespace, &self.name) == (&other.kind, &other.namespace, &other.name)
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_name_prints_as_it_parses() {
        let name: DestinationName = "shop/web".parse().unwrap();
        assert_eq!(name.to_string(), "shop/web");
    }

    #[test]
    fn a_destination_name_needs_exactly_two_parts() {
        for bad in ["", "web", "/web", "shop/", "a/b/c"] {
            assert!(bad.parse::<DestinationName>().is_err(), "{bad}");
        }
    }
}
