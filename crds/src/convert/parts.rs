//! Parts of objects, as the API server converts them for a server-side apply: without the fields that a manager owns,
//! metadata among them (structured-merge-diff, `prune`).

use proptest::prelude::*;
use serde_json::{Value, json};

use super::laws::{VERSIONS, for_all, object};
use super::*;

const KINDS: [&str; 4] = ["TrafficSplit", "TrafficTarget", "HTTPRouteGroup", "TCPRoute"];

/// What is left of an object without some of its fields. Of lists and what lies in them nothing is taken: no manager
/// owns less than a whole list of these kinds.
fn part(object: &Value, keep: &mut impl Iterator<Item = bool>) -> Value {
    let Value::Object(fields) = object else {
        return object.clone();
    };
    let kept = fields.iter().filter_map(|(name, value)| {
        let always = matches!(name.as_str(), "apiVersion" | "kind");
        (always || keep.next() == Some(true)).then(|| (name.clone(), part(value, keep)))
    });
    Value::Object(kept.collect())
}

fn parts(kind: &'static str, version: &'static str) -> BoxedStrategy<Value> {
    (object(kind, version), prop::collection::vec(any::<bool>(), 64))
        .prop_map(|(object, keep)| without_empty_annotations(part(&object, &mut keep.into_iter())))
        .boxed()
}

/// No annotations and an empty map of them are the same.
fn without_empty_annotations(mut object: Value) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && metadata.get("annotations") == Some(&json!({}))
    {
        metadata.remove("annotations");
    }
    object
}

fn converted(object: &Value, version: &str) -> Result<Value, String> {
    let group = crate::convert::text(object.as_object().ok_or("no object")?, "apiVersion")
        .split('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    convert(object.clone(), &format!("{group}/{version}"))
        .map(|converted| converted.object)
        .map_err(|error| error.to_string())
}

/// The same object as the API server takes it: with metadata.
fn with_metadata(mut object: Value) -> Value {
    if object["metadata"].is_null() {
        object["metadata"] = json!({});
    }
    object
}

/// What the API server checks of a conversion (apiextensions-apiserver, `validateConvertedObject` and
/// `restoreObjectMeta`).
fn is_accepted(before: &Value, after: &Value) -> Result<(), String> {
    let metadata = after["metadata"].as_object().ok_or("metadata is missing")?;
    for field in ["name", "namespace", "uid"] {
        if before["metadata"].get(field) != metadata.get(field) {
            return Err(format!("metadata.{field} is another"));
        }
    }
    let texts = |field: &str| {
        metadata.get(field).is_none_or(|all| {
            all.as_object()
                .is_some_and(|all| all.values().all(Value::is_string))
        })
    };
    if !texts("labels") || !texts("annotations") {
        return Err("labels or annotations are not strings".to_owned());
    }
    if before["kind"] == after["kind"] {
        Ok(())
    } else {
        Err("kind is another".to_owned())
    }
}

#[test]
fn any_part_of_an_object_is_accepted_in_every_version_and_comes_back() {
    for kind in KINDS {
        for version in VERSIONS {
            let law = |written: Value| {
                for other in VERSIONS {
                    let there = converted(&written, other)?;
                    is_accepted(&written, &there)?;
                    let back = converted(&there, version)?;
                    is_accepted(&there, &back)?;
                    let expected = with_metadata(written.clone());
                    if back != expected {
                        return Err(format!("through {other}: {back} is not {expected}"));
                    }
                }
                Ok(())
            };
            for_all(&parts(kind, version), law).unwrap_or_else(|error| panic!("{kind} {version}: {error}"));
        }
    }
}

#[test]
fn any_part_of_an_object_with_kept_fields_is_accepted_in_every_version() {
    for kind in KINDS {
        for (written, read) in VERSIONS
            .iter()
            .flat_map(|written| VERSIONS.map(|read| (*written, read)))
        {
            let kept = (object(kind, written), prop::collection::vec(any::<bool>(), 64));
            let parts = kept.prop_map(move |(object, keep)| {
                let seen = converted(&object, read).expect("a whole object converts");
                part(&seen, &mut keep.into_iter())
            });
            let law = |part: Value| {
                VERSIONS
                    .iter()
                    .try_for_each(|version| is_accepted(&part, &converted(&part, version)?))
            };
            for_all(&parts.boxed(), law).unwrap_or_else(|error| panic!("{kind} {read}: {error}"));
        }
    }
}

#[test]
fn an_object_without_metadata_is_given_some() {
    for (kind, group) in [
        ("TrafficSplit", "split.smi-spec.io"),
        ("TrafficTarget", "access.smi-spec.io"),
        ("HTTPRouteGroup", "specs.smi-spec.io"),
        ("TCPRoute", "specs.smi-spec.io"),
    ] {
        for (from, to) in VERSIONS.iter().flat_map(|from| VERSIONS.map(|to| (from, to))) {
            let bare = json!({"apiVersion": format!("{group}/{from}"), "kind": kind});
            assert_eq!(
                converted(&bare, to).expect("converts"),
                json!({"apiVersion": format!("{group}/{to}"), "kind": kind, "metadata": {}}),
                "{kind} from {from} to {to}"
            );
        }
    }
}

#[test]
fn a_part_without_rules_and_all_else_of_a_target_gains_no_annotation() {
    let labelled = json!({
        "apiVersion": "access.smi-spec.io/v1alpha2", "kind": "TrafficTarget", "metadata": {"labels": {"team": "a"}},
    });
    for version in VERSIONS {
        let seen = converted(&labelled, version).expect("converts");
        assert_eq!(seen["metadata"], labelled["metadata"], "{version}");
    }
}

#[test]
fn what_is_kept_of_a_field_stays_on_a_part_that_lacks_the_field() {
    let annotated = |group: &str, kind: &str, version: &str, key: &str, value: &str| {
        json!({
            "apiVersion": format!("{group}/{version}"), "kind": kind, "metadata": {"annotations": {key: value}},
        })
    };
    for (part, other) in [
        (
            annotated("split.smi-spec.io", "TrafficSplit", "v1alpha4", WEIGHTS, "[]"),
            "v1alpha1",
        ),
        (
            annotated("split.smi-spec.io", "TrafficSplit", "v1alpha2", MATCHES, "[]"),
            "v1alpha4",
        ),
        (
            annotated(
                "access.smi-spec.io",
                "TrafficTarget",
                "v1alpha4",
                EMPTY_RULES,
                "allow",
            ),
            "v1alpha2",
        ),
        (
            annotated(
                "access.smi-spec.io",
                "TrafficTarget",
                "v1alpha1",
                EMPTY_RULES,
                "deny",
            ),
            "v1alpha4",
        ),
        (
            annotated(
                "specs.smi-spec.io",
                "HTTPRouteGroup",
                "v1alpha2",
                ROOT_MATCHES,
                "only",
            ),
            "v1alpha4",
        ),
    ] {
        let seen = converted(&part, other).expect("converts");
        assert_eq!(seen["metadata"], part["metadata"]);
    }
}
