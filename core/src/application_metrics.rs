//! Where an application serves metrics of its own, which its sidecar hands out together with those of the mesh.
//!
//! Prometheus finds one port of a pod through the pod's annotations. Injection lets them name the sidecar's port, and tells
//! the sidecar through its environment, as JSON, what they named before.

use serde::{Deserialize, Serialize};

use crate::probe::Scheme;

/// What the annotations `prometheus.io/port`, `prometheus.io/path` and `prometheus.io/scheme` of a pod named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ApplicationMetrics {
    /// Port of the application, 1 to 65535.
    pub port: u16,
    /// Path, which begins with a slash and has no query.
    pub path: String,
    /// Whether over TLS, whose certificate nobody verifies, as it names no address of loopback.
    pub scheme: Scheme,
}

impl ApplicationMetrics {
    /// Path that Prometheus asks for where no annotation names one.
    pub const DEFAULT_PATH: &str = "/metrics";
}
