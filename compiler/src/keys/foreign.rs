//! Keys of other meshes, and what does the same here.

use smilax_core::convention::key;

/// A key of another mesh, or what its keys begin with.
struct Foreign {
    /// Ends in `/` when every key that begins with it is meant.
    key: &'static str,
    mesh: &'static str,
    /// Our key for it.
    instead: Option<&'static str>,
}

const fn of(mesh: &'static str, key: &'static str, instead: &'static str) -> Foreign {
    Foreign {
        key,
        mesh,
        instead: Some(instead),
    }
}

const fn all(mesh: &'static str, key: &'static str) -> Foreign {
    Foreign {
        key,
        mesh,
        instead: None,
    }
}

const LINKERD: &str = "Linkerd";
const OSM: &str = "Open Service Mesh";
const ISTIO: &str = "Istio";
const TRAEFIK: &str = "Traefik Mesh";
const APP_MESH: &str = "App Mesh";

/// Single keys before what they begin with: the first that fits counts.
const FOREIGN: &[Foreign] = &[
    of(LINKERD, "linkerd.io/inject", key::INJECT),
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
    of(
        LINKERD,
        "config.linkerd.io/default-inbound-policy",
        key::ACCESS_MODE,
    ),
    all(LINKERD, "config.linkerd.io/"),
    of(OSM, "openservicemesh.io/sidecar-injection", key::INJECT),
    of(OSM, "openservicemesh.io/monitored-by", key::INJECT),
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
    of(ISTIO, "istio-injection", key::INJECT),
    of(ISTIO, "istio.io/rev", key::INJECT),
    of(ISTIO, "sidecar.istio.io/inject", key::INJECT),
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
    of(TRAEFIK, "mesh.traefik.io/traffic-type", key::OPAQUE_PORTS),
    all(TRAEFIK, "mesh.traefik.io/"),
    of(TRAEFIK, "maesh.containo.us/traffic-type", key::OPAQUE_PORTS),
    all(TRAEFIK, "maesh.containo.us/"),
    of(APP_MESH, "appmesh.k8s.aws/sidecarInjectorWebhook", key::INJECT),
    of(APP_MESH, "appmesh.k8s.aws/mesh", key::INJECT),
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
pub(super) fn foreign(key: &str) -> Option<(&'static str, Option<&'static str>)> {
    FOREIGN
        .iter()
        .find(|one| match one.key.strip_suffix('/') {
            Some(_) => key.starts_with(one.key),
            None => key == one.key,
        })
        .map(|one| (one.mesh, one.instead))
}
