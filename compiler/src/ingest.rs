//! Kubernetes objects to the few fields that the compiler remembers.

mod access;
mod pod;
mod port_protocol;
mod sidecar;
mod slice;
mod smi;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use smilax_core::config::ContainerPort;
use smilax_core::convention::key;

use crate::model::{Account, Addressing, Meta, Namespace, Reach, Service};

pub use access::{identity_binding, port_route, traffic_target};
pub use pod::pod;
pub use sidecar::{SIDECAR_VARIABLES, sidecar};
pub use slice::slice;
pub use smi::{route_group, split};

/// Prefix of annotations that are ours; others are not remembered.
const OUR_PREFIX: &str = "smilax.dev/";

/// Label of a node that names its zone (well-known label of Kubernetes).
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// What every object has.
pub fn meta(meta: &ObjectMeta) -> Meta {
    Meta {
        namespace: meta.namespace.as_deref().unwrap_or_default().into(),
        name: meta.name.as_deref().unwrap_or_default().into(),
        uid: meta.uid.clone().unwrap_or_default(),
        generation: meta.generation.unwrap_or_default(),
        created: meta
            .creation_timestamp
            .as_ref()
            .map_or(0, |time| time.0.as_second()),
    }
}

/// A Namespace.
pub fn namespace(object: &core::Namespace) -> Namespace {
    Namespace {
        name: object.metadata.name.as_deref().unwrap_or_default().into(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        labels: object.metadata.labels.clone().unwrap_or_default(),
        annotations: our_annotations(&object.metadata),
    }
}

/// A ServiceAccount.
pub fn account(object: &core::ServiceAccount) -> Account {
    // Tokens and image pull secrets come and go there; only what the user writes for us counts.
    let mut meta = meta(&object.metadata);
    meta.generation = 0;
    Account {
        meta,
        annotations: our_annotations(&object.metadata),
    }
}

/// A Service.
pub fn service(object: &core::Service) -> Service {
    let spec = object.spec.clone().unwrap_or_default();
    let opaque = object
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(key::OPAQUE_PORTS));
    let addresses: Vec<_> = spec
        .cluster_ips
        .clone()
        .or_else(|| spec.cluster_ip.clone().map(|one| vec![one]))
        .unwrap_or_default()
        .iter()
        .filter_map(|address| address.parse().ok())
        .collect();
    let headless = spec.cluster_ip.as_deref() == Some("None");
    let addressing = match spec.type_.as_deref() {
        Some("ExternalName") => Addressing::External(spec.external_name.clone().unwrap_or_default()),
        _ if headless => Addressing::Headless,
        _ if addresses.is_empty() => Addressing::Pending,
        _ => Addressing::Virtual(addresses),
    };
    let mut service = Service {
        meta: meta(&object.metadata),
        addressing,
        ports: BTreeMap::new(),
        target_ports: BTreeMap::new(),
        port_names: BTreeMap::new(),
        reach: reach(&spec),
        other_ports: std::collections::BTreeSet::new(),
        selector: spec.selector.unwrap_or_default(),
    };
    for port in spec.ports.unwrap_or_default() {
        let Some(number) = u16::try_from(port.port).ok().filter(|&number| number > 0) else {
            continue;
        };
        if port.protocol.as_deref().unwrap_or("TCP") == "TCP" {
            let protocol = port_protocol::of(
                number,
                port.name.as_deref(),
                port.app_protocol.as_deref(),
                opaque.map(String::as_str),
            );
            service.ports.insert(number, protocol);
            service
                .port_names
                .insert(number, port.name.clone().unwrap_or_default());
            service
                .target_ports
                .insert(number, target_port(number, port.target_port.as_ref()));
        } else {
            service.other_ports.insert(number);
        }
    }
    service
}

fn reach(spec: &core::ServiceSpec) -> Reach {
    if spec.internal_traffic_policy.as_deref() == Some("Local") {
        Reach::Node
    } else if spec.session_affinity.as_deref() == Some("ClientIP") {
        Reach::Same
    } else {
        Reach::All
    }
}

/// The same number when none is written (core/v1 ServicePort).
fn target_port(number: u16, written: Option<&IntOrString>) -> ContainerPort {
    match written {
        None => ContainerPort::Number(number),
        Some(IntOrString::Int(target)) => u16::try_from(*target)
            .ok()
            .filter(|&target| target > 0)
            .map_or(ContainerPort::Number(number), ContainerPort::Number),
        Some(IntOrString::String(name)) => ContainerPort::Name(name.clone()),
    }
}

/// The zone of a node, from its labels.
pub fn zone(meta: &ObjectMeta) -> Option<Arc<str>> {
    let zone = meta.labels.as_ref()?.get(ZONE_LABEL)?;
    (!zone.is_empty()).then(|| zone.as_str().into())
}

fn our_annotations(meta: &ObjectMeta) -> BTreeMap<String, String> {
    meta.annotations
        .iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(OUR_PREFIX))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
