//! The objects that an answer depends on, taken into the same index as in the operator.

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use smilax_compiler::index::Index;
use smilax_compiler::ingest;
use smilax_core::convention::key;

use crate::mesh;

/// Kinds that make pods, and where their template stands.
const TEMPLATES: [(&str, &str); 6] = [
    ("Deployment", "/spec/template"),
    ("StatefulSet", "/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("ReplicaSet", "/spec/template"),
    ("Job", "/spec/template"),
    ("CronJob", "/spec/jobTemplate/spec/template"),
];

/// Objects, as far as they matter.
pub(crate) struct World {
    pub(crate) index: Index,
}

impl World {
    /// From objects of a cluster, each as it is.
    ///
    /// # Errors
    /// An object that is not of the form that Kubernetes defines.
    pub(crate) fn live(objects: Vec<Value>) -> anyhow::Result<Self> {
        let settings = mesh::settings(&objects);
        let mut world = Self {
            index: Index::new(settings),
        };
        for object in objects {
            world.add(object)?;
        }
        Ok(world)
    }

    /// From objects that somebody wrote: what makes pods is taken as one pod, and every pod as one with a proxy.
    ///
    /// # Errors
    /// As [`World::live`].
    pub(crate) fn written(objects: Vec<Value>) -> anyhow::Result<Self> {
        Self::live(flattened(objects).into_iter().map(meshed).collect())
    }

    fn add(&mut self, object: Value) -> anyhow::Result<()> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let kind = text("/kind").to_owned();
        let namespace = match text("/metadata/namespace") {
            "" => "default".to_owned(),
            namespace => namespace.to_owned(),
        };
        let name = text("/metadata/name").to_owned();
        let group = text("/apiVersion")
            .split_once('/')
            .map_or("", |(group, _)| group)
            .to_owned();
        let index = &mut self.index;
        let key = name.as_str().into();
        match (group.as_str(), kind.as_str()) {
            ("", "Namespace") => index.set_namespace(&name, Some(ingest::namespace(&read(object)?))),
            ("", "Service") => index.set_service(&namespace, key, Some(ingest::service(&read(object)?))),
            ("", "ServiceAccount") => {
                index.set_account(&namespace, key, Some(ingest::account(&read(object)?)));
            }
            ("", "Pod") => index.set_pod(&namespace, key, Some(ingest::pod(&read(object)?))),
            ("access.smi-spec.io" | "specs.smi-spec.io", _) => {
                let object = stored(object, &group, &namespace)?;
                match kind.as_str() {
                    "TrafficTarget" => {
                        index.set_target(&namespace, key, Some(ingest::traffic_target(&object)));
                    }
                    "IdentityBinding" => {
                        index.set_binding(&namespace, key, Some(ingest::identity_binding(&object)));
                    }
                    "HTTPRouteGroup" => index.set_group(&namespace, key, Some(ingest::route_group(&object))),
                    "TCPRoute" => index.set_tcp_route(&namespace, key, Some(ingest::port_route(&object))),
                    "UDPRoute" => index.set_udp_route(&namespace, key, Some(ingest::port_route(&object))),
                    _ => {}
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The object in the version that the operator reads.
fn stored(mut object: Value, group: &str, namespace: &str) -> anyhow::Result<Value> {
    object["metadata"]["namespace"] = json!(namespace);
    Ok(smilax_crds::convert(object, &format!("{group}/v1alpha4"))?.object)
}

fn read<T: DeserializeOwned>(mut object: Value) -> anyhow::Result<T> {
    let name = object.pointer("/metadata/name").map(ToString::to_string);
    let kind = object["kind"].to_string();
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let is_namespace = kind == "\"Namespace\"";
        if !is_namespace {
            metadata.entry("namespace").or_insert_with(|| json!("default"));
        }
    }
    serde_json::from_value(object)
        .with_context(|| format!("{kind} {} cannot be read", name.unwrap_or_default()))
}

/// Elements of Lists as objects of their own.
fn flattened(objects: Vec<Value>) -> Vec<Value> {
    objects
        .into_iter()
        .flat_map(|mut object| match object.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => vec![object],
        })
        .collect()
}

fn meshed(object: Value) -> Value {
    let kind = object["kind"].as_str().unwrap_or_default();
    let template = TEMPLATES
        .iter()
        .find(|(one, _)| *one == kind)
        .and_then(|(_, pointer)| object.pointer(pointer));
    let mut pod = match template {
        Some(template) => {
            let mut metadata = template["metadata"].clone();
            if !metadata.is_object() {
                metadata = json!({});
            }
            metadata["name"] = object["metadata"]["name"].clone();
            metadata["namespace"] = object["metadata"]["namespace"].clone();
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]})
        }
        None => object,
    };
    if pod["kind"] == "Pod" {
        let uid = format!("{}/{}", pod["metadata"]["namespace"], pod["metadata"]["name"]);
        pod["metadata"]["uid"] = json!(uid);
        if !pod["metadata"]["labels"].is_object() {
            pod["metadata"]["labels"] = json!({});
        }
        pod["metadata"]["labels"][key::PROXY_VERSION] = json!(env!("CARGO_PKG_VERSION"));
    }
    pod
}
