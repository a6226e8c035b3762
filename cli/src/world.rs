//! The objects that an answer depends on, taken into the same index as in the operator.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use anyhow::{Context as _, bail};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use smilax_compiler::index::Index;
use smilax_compiler::ingest;
use smilax_compiler::model::{Slice, SliceEndpoint};
use smilax_core::Workload;
use smilax_core::convention::{container, key, variable};
use smilax_core::endpoints::EndpointState;

use crate::mesh;
use crate::names;

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
    /// Every namespace that something is in.
    pub(crate) namespaces: BTreeSet<String>,
    origin: Origin,
}

/// Where objects come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The cluster: what is not among them does not exist.
    Cluster,
    /// Files, which may hold a part.
    Files,
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
            namespaces: BTreeSet::new(),
            origin: Origin::Cluster,
        };
        for object in objects {
            world.add(object)?;
        }
        Ok(world)
    }

    /// From objects that somebody wrote: what makes pods is taken as one pod, every pod as one with a proxy, and every
    /// Service as one with ready endpoints.
    ///
    /// # Errors
    /// As [`World::live`].
    pub(crate) fn written(objects: Vec<Value>) -> anyhow::Result<Self> {
        let objects: Vec<Value> = flattened(objects).into_iter().map(meshed).collect();
        let services: Vec<(String, String)> = objects
            .iter()
            .filter(|object| object["kind"] == "Service")
            .map(|object| (namespace_of(object), text(object, "/metadata/name").to_owned()))
            .collect();
        let mut world = Self::live(objects)?;
        world.origin = Origin::Files;
        for (namespace, name) in services {
            world
                .index
                .set_slice(&namespace, &name.as_str().into(), Some(somebody_behind(&name)));
        }
        Ok(world)
    }

    /// Makes sure that an account exists, as far as these objects tell.
    ///
    /// # Errors
    /// When it does not.
    pub(crate) fn expect_account(&self, account: &Workload) -> anyhow::Result<()> {
        let Workload { namespace, account } = account;
        match (self.index.contents(namespace), self.origin) {
            (Some(contents), _) if contents.accounts.contains_key(&**account) => Ok(()),
            (Some(contents), _) => {
                let known = contents.accounts.keys().map(|name| &**name);
                let meant = names::did_you_mean(account, known);
                bail!("there is no ServiceAccount {account} in namespace {namespace}{meant}")
            }
            (None, Origin::Cluster) => {
                let meant = names::did_you_mean(namespace, self.namespaces.iter().map(String::as_str));
                bail!("there is no namespace {namespace}{meant}")
            }
            (None, Origin::Files) => Ok(()),
        }
    }

    fn add(&mut self, object: Value) -> anyhow::Result<()> {
        let kind = text(&object, "/kind").to_owned();
        let namespace = namespace_of(&object);
        let name = text(&object, "/metadata/name").to_owned();
        let group = group_of(&object).to_owned();
        self.namespaces.insert(match kind.as_str() {
            "Namespace" => name.clone(),
            _ => namespace.clone(),
        });
        let index = &mut self.index;
        let key = name.as_str().into();
        match (group.as_str(), kind.as_str()) {
            ("", "Namespace") => index.set_namespace(&name, Some(ingest::namespace(&read(object)?))),
            ("", "Service") => index.set_service(&namespace, key, Some(ingest::service(&read(object)?))),
            ("", "ServiceAccount") => {
                index.set_account(&namespace, key, Some(ingest::account(&read(object)?)));
            }
            ("", "Pod") => index.set_pod(&namespace, key, Some(ingest::pod(&read(object)?))),
            ("discovery.k8s.io", "EndpointSlice") => {
                index.set_slice(&namespace, &key, ingest::slice(&read(object)?));
            }
            ("split.smi-spec.io" | "access.smi-spec.io" | "specs.smi-spec.io", _) => {
                let object = stored(object, &group, &namespace)?;
                match kind.as_str() {
                    "TrafficSplit" => index.set_split(&namespace, key, Some(ingest::split(&object))),
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

/// A slice as there will be once pods run.
fn somebody_behind(service: &str) -> Slice {
    Slice {
        service: service.into(),
        ports: Box::default(),
        endpoints: Box::new([SliceEndpoint {
            address: Ipv4Addr::UNSPECIFIED.into(),
            state: Some(EndpointState::Ready),
            zone: None,
            for_zones: Box::default(),
            node: None,
            pod: None,
        }]),
    }
}

/// The object in the version that the operator reads.
fn stored(mut object: Value, group: &str, namespace: &str) -> anyhow::Result<Value> {
    object["metadata"]["namespace"] = json!(namespace);
    let what = format!(
        "{} {namespace}/{}",
        text(&object, "/kind"),
        text(&object, "/metadata/name")
    );
    let converted = smilax_crds::convert(object, &format!("{group}/v1alpha4"));
    Ok(converted
        .with_context(|| format!("{what} cannot be read"))?
        .object)
}

/// Text at a place of an object; empty when there is none.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// API group of an object; empty for the core's.
pub(crate) fn group_of(object: &Value) -> &str {
    text(object, "/apiVersion")
        .split_once('/')
        .map_or("", |(group, _)| group)
}

/// Namespace of an object; `default` where none is written.
fn namespace_of(object: &Value) -> String {
    match text(object, "/metadata/namespace") {
        "" => "default".to_owned(),
        namespace => namespace.to_owned(),
    }
}

fn read<T: DeserializeOwned>(mut object: Value) -> anyhow::Result<T> {
    let kind = text(&object, "/kind").to_owned();
    let name = text(&object, "/metadata/name").to_owned();
    let what = if kind == "Namespace" {
        format!("{kind} {name}")
    } else {
        format!("{kind} {}/{name}", namespace_of(&object))
    };
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        && kind != "Namespace"
    {
        metadata.entry("namespace").or_insert_with(|| json!("default"));
    }
    serde_json::from_value(object).with_context(|| format!("{what} cannot be read"))
}

/// Elements of Lists as objects of their own.
pub(crate) fn flattened(objects: Vec<Value>) -> Vec<Value> {
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
        add_sidecar(&mut pod);
    }
    pod
}

/// Of what injection adds, what the compiler looks at.
fn add_sidecar(pod: &mut Value) {
    let mut containers = match pod["spec"]["initContainers"].take() {
        Value::Array(containers) => containers,
        _ => Vec::new(),
    };
    if !containers.iter().any(|one| one["name"] == container::PROXY) {
        let skipped = text(&pod["metadata"]["annotations"], &pointer(key::SKIP_INBOUND_PORTS));
        let skipped = json!({"name": variable::SKIP_INBOUND_PORTS, "value": skipped});
        let init = json!({"name": container::INIT, "env": [skipped]});
        let proxy = json!({
            "name": container::PROXY, "args": container::PROXY_ARGUMENTS, "restartPolicy": "Always",
        });
        containers.splice(0..0, [init, proxy]);
    }
    pod["spec"]["initContainers"] = Value::Array(containers);
}

fn pointer(key: &str) -> String {
    format!("/{}", key.replace('/', "~1"))
}
