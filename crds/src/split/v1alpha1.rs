//! Shape of split.smi-spec.io/v1alpha1: weights are quantities, and nothing selects requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::QuantityText;

/// How the traffic of one Service is divided.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficSplitSpec {
    /// The root: the Service that clients call. Its name, or its DNS name in this namespace.
    #[schemars(length(min = 1, max = 512))]
    pub service: String,
    /// Services that receive the traffic, in this namespace. One that does not exist yet receives none.
    #[schemars(length(max = 256))]
    pub backends: Vec<Backend>,
}

/// One receiver of divided traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backend {
    /// Name of a Service of this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub service: String,
    /// Share of the traffic relative to the other weights, as a quantity: `1` is `1000m`. A missing one is zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<QuantityText>,
}
