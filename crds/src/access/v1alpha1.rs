//! Shape of access.smi-spec.io/v1alpha1: no `spec`, and the rules are called `specs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Destination, Rule, Source};

/// The fields that lie beside `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TrafficTargetFields {
    /// Whose pods are called. They run in this namespace.
    pub destination: Destination,
    /// Who may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub sources: Option<Vec<Source>>,
    /// What they may call; everything when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub specs: Option<Vec<Rule>>,
}
