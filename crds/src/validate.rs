//! What a schema cannot say: checks of an object as its user wrote it, in its version, with a remedy in every message.
//!
//! Only what can be known from the object alone is checked here; what depends on other objects (a Service, a group
//! that does not exist yet) is a condition, which heals by itself.

mod binding;
mod field;
mod mesh;
mod route;
mod split;
mod target;

use std::fmt;

use serde_json::{Map, Value};

use crate::convert::{Kind, Version, text};
use field::Findings;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validation {
    /// Why the object must be refused; none when it is accepted.
    pub errors: Vec<FieldError>,
    /// What its user should know all the same, each with the path of the field.
    pub warnings: Vec<String>,
}

/// A field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, as in `spec.backends[0].service`.
    pub path: String,
    /// What is wrong and what to write instead.
    pub reason: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

impl Validation {
    /// Whether the object is accepted.
    pub fn is_accepted(&self) -> bool {
        self.errors.is_empty()
    }

    /// All errors in one message; empty when there are none.
    pub fn message(&self) -> String {
        self.errors
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// Checks an object of any kind and version of this crate.
pub fn validate(object: &Value) -> Validation {
    let mut found = Findings::default();
    match object.as_object() {
        Some(object) => check(object, &mut found),
        None => found.error("object", "must be a JSON object"),
    }
    found.into_validation()
}

fn check(object: &Map<String, Value>, found: &mut Findings) {
    let api_version = text(object, "apiVersion");
    let kind_name = text(object, "kind");
    let (group, version) = api_version.split_once('/').unwrap_or_default();
    if (group, kind_name) == (crate::mesh::GROUP, "MeshConfig") {
        return mesh::check(object, found);
    }
    let Some(kind) = Kind::find(group, kind_name) else {
        return found.error(
            "kind",
            format!("{kind_name:?} of {api_version:?} is not a kind of this mesh"),
        );
    };
    let Some(version) = kind.version(version) else {
        return found.error(
            "apiVersion",
            format!("{api_version:?} is not a version of {kind_name}; write {group}/v1alpha4"),
        );
    };
    match kind {
        Kind::TrafficSplit => split::check(object, version, found),
        Kind::TrafficTarget => target::check(object, version, found),
        Kind::HttpRouteGroup => route::check_http(object, version, found),
        Kind::TcpRoute if version == Version::V1Alpha4 => route::check_ports(object, found),
        Kind::TcpRoute => {}
        Kind::HubOnly if kind_name == "UDPRoute" => route::check_ports(object, found),
        Kind::HubOnly => binding::check(object, found),
    }
}

/// Namespace of an object; `None` when it is not known yet.
fn namespace(object: &Map<String, Value>) -> Option<&str> {
    object.get("metadata")?.get("namespace")?.as_str()
}

#[cfg(test)]
mod tests;
