//! Keys of other meshes, and what does the same here.

use std::fmt;

use smilax_core::convention::key;

/// A key of another mesh, or what its keys begin with.
struct Foreign {
    /// Ends in `/` when every key that begins with it is meant.
    key: &'static str,
    mesh: &'static str,
    instead: Instead,
}

/// What to write instead of a key of another mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// A label of ours that does the same.
    Label(&'static str),
    /// An annotation of ours that does the same.
    Annotation(&'static str),
    /// No key: another way, as a sentence.
    Otherwise(&'static str),
    /// Nothing does the same.
    Nothing,
}

impl fmt::Display for Instead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Label(key) => write!(f, "the label {key} does the same"),
            Self::Annotation(key) => write!(f, "the annotation {key} does the same"),
            Self::Otherwise(way) => f.write_str(way),
            Self::Nothing => f.write_str("remove it"),
        }
    }
}

const fn of(mesh: &'static str, key: &'static str, instead: &'static str) -> Foreign {
    Foreign {
        key,
        mesh,
        instead: Instead::Annotation(instead),
    }
}

const fn label(mesh: &'static str, name: &'static str) -> Foreign {
    Foreign {
        key: name,
        mesh,
        instead: Instead::Label(key::INJECT),
    }
}

const fn otherwise(mesh: &'static str, key: &'static str, way: &'static str) -> Foreign {
    Foreign {
        key,
        mesh,
        instead: Instead::Otherwise(way),
    }
}

const fn all(mesh: &'static str, key: &'static str) -> Foreign {
    Foreign {
        key,
        mesh,
        instead: Instead::Nothing,
    }
}

const LINKERD: &str = "Linkerd";
const OSM: &str = "Open Service Mesh";
const ISTIO: &str = "Istio";
const TRAEFIK: &str = "Traefik Mesh";
const APP_MESH: &str = "App Mesh";
const TRAFFIC_TYPE: &str = "the name or the appProtocol of a Service port says what it speaks";

/// Single keys before what they begin with: the first that fits counts.
const FOREIGN: &[Foreign] = &[
    label(LINKERD, "linkerd.io/inject"),
    of(
        LINKERD,
        "config.linkerd.io/skip-inbound-ports",
        key::SKIP_INBOUND_PORTS,
    ),
    of(
        LINKERD,
        "config.linkerd.io/skip-outbound-ports",
        key::SKIP_OUTBOUND_PORTS,
    ),
    of(LINKERD, "config.linkerd.io/opaque-ports", key::OPAQUE_PORTS),
    of(LINKERD, "config.linkerd.io/proxy-cpu-request", key::CPU_REQUEST),
    of(LINKERD, "config.linkerd.io/proxy-cpu-limit", key::CPU_LIMIT),
    of(
        LINKERD,
        "config.linkerd.io/proxy-memory-request",
        key::MEMORY_REQUEST,
    ),
    of(LINKERD, "config.linkerd.io/proxy-memory-limit", key::MEMORY_LIMIT),
    of(LINKERD, "config.linkerd.io/proxy-log-level", key::LOG_LEVEL),
    otherwise(
        LINKERD,
        "config.linkerd.io/default-inbound-policy",
        "the annotations smilax.dev/access-mode and smilax.dev/tls-mode decide who may call",
    ),
    all(LINKERD, "config.linkerd.io/"),
    label(OSM, "openservicemesh.io/sidecar-injection"),
    label(OSM, "openservicemesh.io/monitored-by"),
    of(
        OSM,
        "openservicemesh.io/inbound-port-exclusion-list",
        key::SKIP_INBOUND_PORTS,
    ),
    of(
        OSM,
        "openservicemesh.io/outbound-port-exclusion-list",
        key::SKIP_OUTBOUND_PORTS,
    ),
    all(OSM, "openservicemesh.io/"),
    label(ISTIO, "istio-injection"),
    label(ISTIO, "istio.io/rev"),
    label(ISTIO, "sidecar.istio.io/inject"),
    of(ISTIO, "sidecar.istio.io/proxyCPU", key::CPU_REQUEST),
    of(ISTIO, "sidecar.istio.io/proxyCPULimit", key::CPU_LIMIT),
    of(ISTIO, "sidecar.istio.io/proxyMemory", key::MEMORY_REQUEST),
    of(ISTIO, "sidecar.istio.io/proxyMemoryLimit", key::MEMORY_LIMIT),
    of(ISTIO, "sidecar.istio.io/logLevel", key::LOG_LEVEL),
    of(
        ISTIO,
        "traffic.sidecar.istio.io/excludeInboundPorts",
        key::SKIP_INBOUND_PORTS,
    ),
    of(
        ISTIO,
        "traffic.sidecar.istio.io/excludeOutboundPorts",
        key::SKIP_OUTBOUND_PORTS,
    ),
    all(ISTIO, "istio.io/"),
    all(ISTIO, "sidecar.istio.io/"),
    all(ISTIO, "traffic.sidecar.istio.io/"),
    otherwise(TRAEFIK, "mesh.traefik.io/traffic-type", TRAFFIC_TYPE),
    all(TRAEFIK, "mesh.traefik.io/"),
    otherwise(TRAEFIK, "maesh.containo.us/traffic-type", TRAFFIC_TYPE),
    all(TRAEFIK, "maesh.containo.us/"),
    label(APP_MESH, "appmesh.k8s.aws/sidecarInjectorWebhook"),
    label(APP_MESH, "appmesh.k8s.aws/mesh"),
    of(
        APP_MESH,
        "appmesh.k8s.aws/egressIgnoredPorts",
        key::SKIP_OUTBOUND_PORTS,
    ),
    of(APP_MESH, "appmesh.k8s.aws/cpuRequest", key::CPU_REQUEST),
    of(APP_MESH, "appmesh.k8s.aws/cpuLimit", key::CPU_LIMIT),
    of(APP_MESH, "appmesh.k8s.aws/memoryRequest", key::MEMORY_REQUEST),
    of(APP_MESH, "appmesh.k8s.aws/memoryLimit", key::MEMORY_LIMIT),
    all(APP_MESH, "appmesh.k8s.aws/"),
];

/// Whose key this is, and which of ours does the same.
pub(super) fn foreign(key: &str) -> Option<(&'static str, Instead)> {
    FOREIGN
        .iter()
        .find(|one| match one.key.strip_suffix('/') {
            Some(_) => key.starts_with(one.key),
            None => key == one.key,
        })
        .map(|one| (one.mesh, one.instead))
}

#[cfg(test)]
pub(super) fn all_of_them() -> impl Iterator<Item = Instead> {
    FOREIGN.iter().map(|one| one.instead)
}
