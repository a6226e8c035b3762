//! Shape of specs.smi-spec.io/v1alpha1 and v1alpha2: the matches of an HTTPRouteGroup lie beside `metadata`, and a
//! TCPRoute has no fields.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::HttpMatch;

/// The fields of an HTTPRouteGroup that lie beside `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HTTPRouteGroupFields {
    /// Kinds of requests, each with a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub matches: Option<Vec<HttpMatch>>,
}
