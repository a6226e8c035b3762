//! TrafficTarget: no `spec` in v1alpha1, whose rules are called `specs`; and rules are required since v1alpha3.

use serde_json::{Map, Value};

use super::{EMPTY_RULES, Reason, Version, annotation, spec_of};

/// Names of the fields beside `metadata` in v1alpha1, and under `spec` since.
const FIELDS: [(&str, &str); 3] = [
    ("destination", "destination"),
    ("sources", "sources"),
    ("specs", "rules"),
];

pub(super) fn to_hub(object: &mut Map<String, Value>, from: Version) -> Result<(), Reason> {
    if from == Version::V1Alpha1 {
        let fields: Vec<_> = FIELDS
            .iter()
            .filter_map(|(old, new)| Some((*new, object.remove(*old)?)))
            .collect();
        if !fields.is_empty() {
            let spec = object.entry("spec").or_insert(Value::Null);
            if !spec.is_object() {
                *spec = Value::Object(Map::new());
            }
            for (name, value) in fields {
                spec[name] = value;
            }
        }
    }
    if from <= Version::V1Alpha2 && object.contains_key("spec") {
        // There, no rule means everything; here, nothing, unless the annotation says so.
        let denies = annotation::get(object, EMPTY_RULES) == Some("deny");
        let allow = has_no_rules(object) && !denies;
        annotation::set(object, EMPTY_RULES, allow.then(|| "allow".to_owned()))?;
    }
    Ok(())
}

pub(super) fn from_hub(object: &mut Map<String, Value>, to: Version) -> Result<(), Reason> {
    if to <= Version::V1Alpha2 && object.contains_key("spec") {
        let allows = annotation::get(object, EMPTY_RULES) == Some("allow");
        let deny = has_no_rules(object) && !allows;
        annotation::set(object, EMPTY_RULES, deny.then(|| "deny".to_owned()))?;
    }
    if to == Version::V1Alpha1
        && let Some(spec) = spec_of(object)
    {
        let fields: Vec<_> = FIELDS
            .iter()
            .filter_map(|(old, new)| Some((*old, spec.remove(*new)?)))
            .collect();
        if spec.is_empty() && !fields.is_empty() {
            object.remove("spec");
        }
        for (name, value) in fields {
            object.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

/// Whether no rule is written. Something that is no list is not nothing.
fn has_no_rules(object: &Map<String, Value>) -> bool {
    match object.get("spec").and_then(|spec| spec.get("rules")) {
        None | Some(Value::Null) => true,
        Some(rules) => rules.as_array().is_some_and(Vec::is_empty),
    }
}
