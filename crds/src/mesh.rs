//! `MeshConfig`: settings of the whole mesh.

use k8s_openapi::ClusterResourceScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::kind;

/// API group of MeshConfig.
pub const GROUP: &str = "mesh.smilax.dev";

/// Name of the only MeshConfig that counts.
pub const NAME: &str = "default";

kind! {
    /// Settings of the whole mesh (mesh.smilax.dev/v1alpha1). Only the one named `default` exists.
    MeshConfig {
        spec: MeshConfigSpec,
        group: GROUP,
        version: "v1alpha1",
        plural: "meshconfigs",
        scope: ClusterResourceScope
    }
}

/// Settings; what is left out is as the mesh was installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MeshConfigSpec {
    /// DNS domain of the cluster, `cluster.local` in most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub cluster_domain: Option<String>,
    /// First part of all identities of the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255))]
    pub trust_domain: Option<String>,
    /// What happens to calls that no TrafficTarget allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_mode: Option<AccessMode>,
    /// What happens to calls from outside the mesh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_mode: Option<TlsMode>,
    /// How much of a path `pathRegex` must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_regex_mode: Option<PathRegexMode>,
    /// How much of a value a header's expression must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub header_regex_mode: Option<HeaderRegexMode>,
    /// Callers without an identity that every workload lets in: an ingress outside the mesh, or Prometheus.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub unauthenticated_sources: Option<Vec<UnauthenticatedSource>>,
}

/// Addresses from which calls without an identity are let in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnauthenticatedSource {
    /// Address ranges, as in 10.0.0.0/8 or fd00::/8.
    #[schemars(length(min = 1, max = 64), inner(length(max = 64)))]
    pub cidrs: Vec<String>,
    /// Ports of the pod. All of them when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(range(min = 1, max = 65535)))]
    pub ports: Option<Vec<u16>>,
}

/// What happens to calls that no TrafficTarget allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AccessMode {
    /// They are refused.
    Deny,
    /// They are refused by workloads that a TrafficTarget names as its destination, and let pass by others.
    Allow,
    /// They are judged as in `deny`, logged, and let pass.
    Audit,
}

/// What happens to calls from outside the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// They are refused: callers must prove who they are.
    Strict,
    /// They are let in as unauthenticated.
    Permissive,
}

/// How much of a path `pathRegex` must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PathRegexMode {
    /// Its beginning.
    Prefix,
    /// All of it.
    Full,
}

/// How much of a value a header's expression must match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HeaderRegexMode {
    /// All of it.
    Full,
    /// Any part of it.
    Search,
}
