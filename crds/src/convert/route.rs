//! HTTPRouteGroup: the matches lie beside `spec` before v1alpha3. TCPRoute: ports came with v1alpha4.

use serde_json::{Map, Value};

use super::{ROOT_MATCHES, Reason, SPEC, Version, annotation, spec_of};

/// Where the matches of an HTTPRouteGroup belong, as annotation [`ROOT_MATCHES`] says.
enum Root {
    /// Beside `spec`, and nowhere else.
    Only,
    /// These also lie beside `spec`.
    Also(Value),
}

pub(super) fn http_to_hub(object: &mut Map<String, Value>, from: Version) -> Result<(), Reason> {
    if from >= Version::V1Alpha3 || !object.contains_key("matches") {
        return Ok(());
    }
    let root = annotation::take(
        object,
        ROOT_MATCHES,
        "the list of matches as JSON, or only",
        |text| match text {
            "only" => Some(Root::Only),
            text => annotation::list_of_objects(text).map(Root::Also),
        },
    )?;
    if matches!(root, Some(Root::Only)) {
        return Ok(());
    }
    if let Some(matches) = object.remove("matches") {
        let spec = object.entry("spec").or_insert(Value::Null);
        if !spec.is_object() {
            *spec = Value::Object(Map::new());
        }
        spec["matches"] = matches;
    }
    if let Some(Root::Also(matches)) = root {
        object.insert("matches".to_owned(), matches);
    }
    Ok(())
}

pub(super) fn http_from_hub(object: &mut Map<String, Value>, to: Version) -> Result<(), Reason> {
    if to >= Version::V1Alpha3 {
        return Ok(());
    }
    let in_spec = spec_of(object).and_then(|spec| spec.remove("matches"));
    if in_spec.is_some() && spec_of(object).is_some_and(|spec| spec.is_empty()) {
        object.remove("spec");
    }
    if in_spec.is_none() && !object.contains_key("matches") {
        return Ok(());
    }
    let kept = match (&in_spec, object.get("matches")) {
        (Some(_), Some(root)) => {
            Some(root.to_string()).filter(|text| annotation::list_of_objects(text).is_some())
        }
        (None, Some(_)) => Some("only".to_owned()),
        (_, None) => None,
    };
    if let Some(matches) = in_spec {
        object.insert("matches".to_owned(), matches);
    }
    annotation::set(object, ROOT_MATCHES, kept)
}

pub(super) fn tcp_to_hub(object: &mut Map<String, Value>, from: Version) -> Result<(), Reason> {
    if from < Version::V1Alpha4
        && let Some(spec) = annotation::take(object, SPEC, "the spec as JSON", annotation::object)?
    {
        object.insert("spec".to_owned(), spec);
    }
    Ok(())
}

pub(super) fn tcp_from_hub(object: &mut Map<String, Value>, to: Version) -> Result<(), Reason> {
    if to == Version::V1Alpha4 {
        return Ok(());
    }
    let empty = Value::Object(Map::new());
    let kept = match object.get("spec") {
        Some(spec) if spec.is_object() && (to < Version::V1Alpha3 || *spec != empty) => {
            Some(spec.to_string())
        }
        _ => None,
    };
    if kept.is_some() {
        object.remove("spec");
        if to == Version::V1Alpha3 {
            object.insert("spec".to_owned(), empty);
        }
    }
    annotation::set(object, SPEC, kept)
}
