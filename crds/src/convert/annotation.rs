//! The annotations that conversions write. Each is a slot that belongs to them: whatever else is found there is
//! replaced or removed.

use serde_json::{Map, Value};

use super::Reason;

/// The text of an annotation.
pub(super) fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a str> {
    object.get("metadata")?.get("annotations")?.get(key)?.as_str()
}

/// Writes an annotation, or removes it.
pub(super) fn set(
    object: &mut Map<String, Value>,
    key: &'static str,
    value: Option<String>,
) -> Result<(), Reason> {
    match value {
        Some(value) => {
            let metadata = object
                .entry("metadata")
                .or_insert_with(|| Value::Object(Map::new()));
            let annotations = metadata
                .as_object_mut()
                .map(|metadata| metadata.entry("annotations").or_insert(Value::Null))
                .ok_or(Reason::Metadata(key))?;
            if annotations.is_null() {
                *annotations = Value::Object(Map::new());
            }
            annotations
                .as_object_mut()
                .ok_or(Reason::Metadata(key))?
                .insert(key.to_owned(), value.into());
        }
        None => remove(object, key),
    }
    Ok(())
}

pub(super) fn remove(object: &mut Map<String, Value>, key: &str) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else {
        return;
    };
    // A map that the removal empties goes too: the API server knows no empty one.
    if annotations.remove(key).is_some() && annotations.is_empty() {
        metadata.remove("annotations");
    }
}

/// Takes an annotation out that holds JSON; `read` says what of it is accepted.
pub(super) fn take<T>(
    object: &mut Map<String, Value>,
    key: &'static str,
    expected: &'static str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Option<T>, Reason> {
    let Some(text) = get(object, key) else {
        return Ok(None);
    };
    let value = read(text).ok_or(Reason::Annotation {
        annotation: key,
        expected,
    })?;
    remove(object, key);
    Ok(Some(value))
}

/// Reads a JSON list of objects.
pub(super) fn list_of_objects(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(text).ok()?;
    value.as_array()?.iter().all(Value::is_object).then_some(value)
}

/// Reads a JSON object.
pub(super) fn object(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok().filter(Value::is_object)
}
