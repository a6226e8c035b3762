//! Objects as they would be after `kubectl apply`, without asking an API server.

use std::collections::BTreeMap;

use anyhow::bail;
use serde_json::{Map, Value, json};

use crate::world::{flattened, group_of, text};

/// Where `kubectl apply` remembers what it applied last.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// A new object is the youngest of all. The objects that it is compared with keep their own time.
const YOUNGEST: &str = "9000-01-01T00:00:00Z";
/// Stands for the address that a new Service will have.
const ASSIGNED_LATER: &str = "0.0.0.0";
/// Kinds that are of no namespace.
const OF_THE_CLUSTER: [&str; 2] = ["Namespace", "MeshConfig"];

type Key = (String, String, String, String);

/// Objects with others applied over them. Those that name no namespace are of the one given.
///
/// # Errors
/// An object that has no kind or no name.
pub(crate) fn applied(there: Vec<Value>, files: Vec<Value>, namespace: &str) -> anyhow::Result<Vec<Value>> {
    let mut all: BTreeMap<Key, Value> = BTreeMap::new();
    for object in there {
        all.insert(key(&object), object);
    }
    for mut object in flattened(files) {
        if text(&object, "/kind").is_empty() || text(&object, "/apiVersion").is_empty() {
            bail!("an object has no kind or no apiVersion: {}", shortened(&object));
        }
        if group_of(&object) == "kustomize.config.k8s.io" {
            bail!(
                "a {} is not an object of the cluster: run kubectl kustomize DIRECTORY | smilax plan -f -",
                text(&object, "/kind")
            );
        }
        if text(&object, "/metadata/name").is_empty() {
            bail!(
                "a {} has no metadata.name; objects that are only generated at creation cannot be planned",
                text(&object, "/kind")
            );
        }
        let of_cluster = OF_THE_CLUSTER.contains(&text(&object, "/kind"));
        if !of_cluster && text(&object, "/metadata/namespace").is_empty() {
            object["metadata"]["namespace"] = json!(namespace);
        }
        let key = key(&object);
        let merged = match all.remove(&key) {
            Some(there) => over(&there, object),
            None => new(object),
        };
        all.insert(key, merged);
    }
    Ok(all.into_values().collect())
}

/// Objects that are there already: they are older than whatever comes.
pub(crate) fn there(mut objects: Vec<Value>) -> Vec<Value> {
    for object in &mut objects {
        if object["metadata"]["creationTimestamp"] == YOUNGEST {
            object["metadata"]["creationTimestamp"] = Value::Null;
        }
    }
    objects
}

fn key(object: &Value) -> Key {
    let namespace = match text(object, "/kind") {
        kind if OF_THE_CLUSTER.contains(&kind) => "",
        _ => text(object, "/metadata/namespace"),
    };
    (
        group_of(object).to_owned(),
        text(object, "/kind").to_owned(),
        namespace.to_owned(),
        text(object, "/metadata/name").to_owned(),
    )
}

fn new(mut object: Value) -> Value {
    if object["metadata"]["creationTimestamp"].is_null() {
        object["metadata"]["creationTimestamp"] = json!(YOUNGEST);
    }
    if has_virtual_address(&object) && object["spec"]["clusterIP"].is_null() {
        object["spec"]["clusterIP"] = json!(ASSIGNED_LATER);
    }
    object
}

/// What others wrote into metadata stays; what an earlier `kubectl apply` wrote and this one does not, goes.
fn over(there: &Value, mut object: Value) -> Value {
    let last: Value = serde_json::from_str(text(
        &there["metadata"]["annotations"],
        &format!("/{}", pointer(LAST_APPLIED)),
    ))
    .unwrap_or_default();
    let mut metadata = there["metadata"].clone();
    for field in ["labels", "annotations"] {
        let mut merged = map(&there["metadata"][field]);
        let before = map(&last["metadata"][field]);
        merged.retain(|name, _| !before.contains_key(name));
        merged.extend(map(&object["metadata"][field]));
        metadata[field] = Value::Object(merged);
    }
    object["metadata"] = metadata;
    if has_virtual_address(&object) && object["spec"]["clusterIP"].is_null() {
        for field in ["clusterIP", "clusterIPs"] {
            object["spec"][field] = there["spec"][field].clone();
        }
    }
    // It is set by its makers, and files do not carry it.
    if object["status"].is_null() && !there["status"].is_null() {
        object["status"] = there["status"].clone();
    }
    object
}

fn has_virtual_address(object: &Value) -> bool {
    object["kind"] == "Service" && group_of(object).is_empty() && object["spec"]["type"] != "ExternalName"
}

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn shortened(object: &Value) -> String {
    object.to_string().chars().take(80).collect()
}
