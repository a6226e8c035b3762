//! Shape of split.smi-spec.io/v1alpha2: weights are whole numbers, and nothing selects requests yet.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Backend;

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
