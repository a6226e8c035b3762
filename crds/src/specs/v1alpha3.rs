//! Shape of specs.smi-spec.io/v1alpha3 where it differs from v1alpha4: the `spec` of a TCPRoute is empty.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A TCPRoute means all ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TCPRouteSpec {}
