//! SMI objects of the stored version, v1alpha4, from raw JSON.
//!
//! Read leniently: an object that an older mesh left behind, or that slipped past admission, must be diagnosed rather
//! than keep every other object of its kind from being listed. So whatever is not of the expected shape reads as
//! absent, and a number that does not fit reads as one that the plan reports.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::meta;
use crate::model::{GroupMatch, Measured, Meta, Reference, RouteGroup, Split, SplitBackend};

/// A pattern that does not compile.
const UNREADABLE: &str = "(";

/// A TrafficSplit.
pub fn split(object: &Value) -> Split {
    let spec = &object["spec"];
    Split {
        meta: metadata(object),
        root: text(&spec["service"]),
        backends: list(&spec["backends"])
            .map(|backend| SplitBackend {
                service: text(&backend["service"]),
                weight: weight(&backend["weight"]),
            })
            .collect(),
        matches: list(&spec["matches"]).map(reference).collect(),
    }
}

/// An HTTPRouteGroup. Matches at the root, as older versions have them, count when the specification has none.
pub fn route_group(object: &Value) -> RouteGroup {
    let matches = match &object["spec"]["matches"] {
        Value::Array(_) => &object["spec"]["matches"],
        _ => &object["matches"],
    };
    RouteGroup {
        meta: metadata(object),
        matches: list(matches).map(group_match).collect(),
        measured: Measured::default(),
    }
}

pub(super) fn metadata(object: &Value) -> Meta {
    serde_json::from_value::<ObjectMeta>(object["metadata"].clone())
        .map(|found| meta(&found))
        .unwrap_or_default()
}

fn reference(value: &Value) -> Reference {
    Reference {
        group: text(&value["apiGroup"]),
        kind: text(&value["kind"]),
        name: text(&value["name"]),
    }
}

/// Absent is zero; what is no whole number at all is negative, which the plan reports.
fn weight(value: &Value) -> i64 {
    match value {
        Value::Null => 0,
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(weight), _) => weight,
            (None, Some(_)) => i64::MAX,
            (None, None) => -1,
        },
        Value::String(text) => text.parse().unwrap_or(-1),
        _ => -1,
    }
}

fn group_match(value: &Value) -> GroupMatch {
    GroupMatch {
        name: text(&value["name"]),
        path_regex: (!value["pathRegex"].is_null()).then(|| pattern(&value["pathRegex"])),
        methods: methods(&value["methods"]),
        headers: headers(&value["headers"]),
    }
}

/// Both forms in which headers are written: a list of maps with one key each, and one map.
fn headers(value: &Value) -> Vec<(String, String)> {
    let pairs = |map: &Value| -> Vec<(String, String)> {
        let entries = map.as_object().into_iter().flatten();
        entries
            .map(|(name, value)| (name.to_ascii_lowercase(), pattern(value)))
            .collect()
    };
    match value {
        Value::Array(maps) => maps.iter().flat_map(pairs).collect(),
        Value::Object(_) => pairs(value),
        Value::Null => Vec::new(),
        _ => vec![(String::new(), UNREADABLE.to_owned())],
    }
}

/// What is no list of methods reads as one that no request has, rather than as any method.
fn methods(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::Array(methods) => methods.iter().map(text).collect(),
        _ => vec![String::new()],
    }
}

/// A pattern that is no text reads as one that does not compile: it is reported and selects nothing, where leaving it
/// out would select more than was written.
fn pattern(value: &Value) -> String {
    value.as_str().unwrap_or(UNREADABLE).to_owned()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
