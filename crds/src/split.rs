//! `TrafficSplit`: one Service's traffic, divided between others by weight.

pub mod v1alpha1;
pub mod v1alpha2;
mod weight;

use k8s_openapi::NamespaceResourceScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use weight::{InvalidWeight, MAX_WEIGHT, Weight};

use crate::object::kind;

/// API group of TrafficSplit.
pub const GROUP: &str = "split.smi-spec.io";

kind! {
    /// Divides the traffic of one Service between backends (split.smi-spec.io/v1alpha4, the storage version).
    TrafficSplit {
        spec: TrafficSplitSpec,
        group: GROUP,
        version: "v1alpha4",
        plural: "trafficsplits",
        scope: NamespaceResourceScope
    }
}

/// How the traffic of one Service is divided. Shape of v1alpha3 and v1alpha4.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["service", "backends"]))]
pub struct TrafficSplitSpec {
    /// The root: the Service that clients call. Its name, or its DNS name in this namespace.
    #[serde(default)]
    #[schemars(length(min = 1, max = 512))]
    pub service: String,
    /// Services that receive the traffic, in this namespace. One that does not exist yet receives none.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub backends: Vec<Backend>,
    /// Route groups that select the requests to divide; a request that none of them matches goes to the root
    /// Service. Without any, all traffic is divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub matches: Option<Vec<MatchRef>>,
}

/// One receiver of divided traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["service", "weight"]))]
pub struct Backend {
    /// Name of a Service of this namespace.
    #[serde(default)]
    #[schemars(length(min = 1, max = 253))]
    pub service: String,
    /// Share of the traffic relative to the other weights, which need not sum to 100. Zero receives none.
    #[serde(default, skip_serializing_if = "Weight::is_missing")]
    pub weight: Weight,
}

/// A route group of the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["kind", "name"]))]
pub struct MatchRef {
    /// API group of the referenced kind: absent, empty, or `specs.smi-spec.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub api_group: Option<String>,
    /// Kind of the referenced object: HTTPRouteGroup.
    #[serde(default)]
    #[schemars(extend("enum" = ["HTTPRouteGroup"]))]
    pub kind: String,
    /// Name of the referenced object.
    #[serde(default)]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

impl MatchRef {
    /// Whether this names an HTTPRouteGroup of SMI's group, the only thing a split can refer to.
    pub fn is_http_route_group(&self) -> bool {
        let group = self.api_group.as_deref().unwrap_or_default();
        self.kind == "HTTPRouteGroup" && (group.is_empty() || group == crate::specs::GROUP)
    }
}

impl TrafficSplitSpec {
    /// The route groups that select requests; empty when all traffic is divided.
    pub fn matches(&self) -> &[MatchRef] {
        self.matches.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
