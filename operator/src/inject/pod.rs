//! Reading pods as raw JSON, so that fields of a newer Kubernetes are neither needed nor lost.

use serde_json::{Map, Value};

/// Text at a JSON pointer.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// Elements of the list at a JSON pointer; none when there is no list.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// An entry of a pod's labels.
pub(super) fn label<'a>(pod: &'a Value, key: &str) -> Option<&'a str> {
    entry(pod, "/metadata/labels", key)
}

/// An entry of a pod's annotations.
pub(super) fn annotation<'a>(pod: &'a Value, key: &str) -> Option<&'a str> {
    entry(pod, "/metadata/annotations", key)
}

fn entry<'a>(pod: &'a Value, pointer: &str, key: &str) -> Option<&'a str> {
    pod.pointer(pointer)?.get(key)?.as_str()
}

/// Name of a container or volume; empty without one.
pub(super) fn name(object: &Value) -> &str {
    text(object, "/name").unwrap_or_default()
}

/// All containers, init containers first.
pub(super) fn all_containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "/spec/initContainers").chain(list(pod, "/spec/containers"))
}

/// Containers that live as long as the pod: ordinary ones, and init containers that restart always.
pub(super) fn lasting_containers(pod: &Value) -> impl Iterator<Item = &Value> {
    list(pod, "/spec/initContainers")
        .filter(|container| is_sidecar(container))
        .chain(list(pod, "/spec/containers"))
}

/// Whether an init container is a native sidecar.
pub(super) fn is_sidecar(container: &Value) -> bool {
    text(container, "/restartPolicy") == Some("Always")
}

/// The map under a key, made when there is none. `None` when something else stands there.
pub(super) fn map<'a>(parent: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    let slot = parent.as_object_mut()?.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot.as_object_mut()
}

/// The list under a key, made when there is none. `None` when something else stands there.
pub(super) fn list_mut<'a>(parent: &'a mut Value, key: &str) -> Option<&'a mut Vec<Value>> {
    let slot = parent.as_object_mut()?.entry(key).or_insert(Value::Null);
    if slot.is_null() {
        *slot = Value::Array(Vec::new());
    }
    slot.as_array_mut()
}
