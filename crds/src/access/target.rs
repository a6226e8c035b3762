use k8s_openapi::NamespaceResourceScope;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::object::kind;

kind! {
    /// Lets sources call a destination on some routes (access.smi-spec.io/v1alpha4, the storage version).
    TrafficTarget {
        spec: TrafficTargetSpec,
        group: super::GROUP,
        version: "v1alpha4",
        plural: "traffictargets",
        scope: NamespaceResourceScope
    }
}

/// Who may call whom, on which routes. Shape of v1alpha2 to v1alpha4.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["destination"]))]
pub struct TrafficTargetSpec {
    /// Whose pods are called. They run in this namespace.
    #[serde(default)]
    pub destination: Destination,
    /// Who may call. At least one since v1alpha3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub sources: Option<Vec<Source>>,
    /// What they may call. At least one since v1alpha3; in v1alpha1 and v1alpha2 no rule means everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub rules: Option<Vec<Rule>>,
}

/// The workloads that are called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["kind", "name"]))]
pub struct Destination {
    /// API group of the kind, which the samples of v1alpha4 write: absent, empty, or `access.smi-spec.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// Kind of identity: ServiceAccount or IdentityBinding.
    #[serde(default)]
    #[schemars(extend("enum" = ["ServiceAccount", "IdentityBinding"]))]
    pub kind: String,
    /// Name of the account or binding.
    #[serde(default)]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the account or binding. Must be the object's own, which is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Deprecated: the only port that may be called, in addition to what the rules say. Use a TCPRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
}

/// Workloads that may call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["kind", "name"]))]
pub struct Source {
    /// API group of the kind, which the samples of v1alpha4 write: absent, empty, or `access.smi-spec.io`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub group: Option<String>,
    /// Kind of identity: ServiceAccount or IdentityBinding.
    #[serde(default)]
    #[schemars(extend("enum" = ["ServiceAccount", "IdentityBinding"]))]
    pub kind: String,
    /// Name of the account or binding.
    #[serde(default)]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the account or binding; the object's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Deprecated and without effect: callers' ports are chosen by their kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
}

/// A route that may be called.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["kind", "name"]))]
pub struct Rule {
    /// Kind of route: HTTPRouteGroup, TCPRoute or UDPRoute.
    #[serde(default)]
    #[schemars(extend("enum" = ["HTTPRouteGroup", "TCPRoute", "UDPRoute"]))]
    pub kind: String,
    /// Name of the route, in this namespace.
    #[serde(default)]
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Names of matches of an HTTPRouteGroup. All of them when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), inner(length(max = 253)))]
    pub matches: Option<Vec<String>>,
}

/// A port as older versions write it: a number, or text that should be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Port {
    /// Perhaps out of range.
    Number(i64),
    /// Digits, or anything else.
    Text(String),
}

/// What a target allows its sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed<'a> {
    /// Nothing: it lists no rule, and must.
    Nothing,
    /// Everything: written in a version whose rules are optional, it lists none.
    Everything,
    /// What these rules select.
    Rules(&'a [Rule]),
}

impl TrafficTarget {
    /// What the target allows its sources on the destination, apart from `destination.port`.
    pub fn allowed(&self) -> Allowed<'_> {
        let optional = self
            .metadata
            .annotations
            .as_ref()
            .and_then(|all| all.get(super::EMPTY_RULES_ANNOTATION));
        match self.spec.rules.as_deref() {
            Some(rules @ [_, ..]) => Allowed::Rules(rules),
            _ if self.malformed.is_some() => Allowed::Nothing,
            _ if optional.is_some_and(|meaning| meaning == "allow") => Allowed::Everything,
            _ => Allowed::Nothing,
        }
    }
}

impl TrafficTargetSpec {
    /// Who may call.
    pub fn sources(&self) -> &[Source] {
        self.sources.as_deref().unwrap_or_default()
    }
}

impl Port {
    /// The port number; `None` when there is no such port, in which case nothing may be allowed by it.
    pub fn number(&self) -> Option<u16> {
        let port = match self {
            Self::Number(number) => u16::try_from(*number).ok(),
            Self::Text(text) => text.parse().ok(),
        };
        port.filter(|port| *port != 0)
    }
}

impl JsonSchema for Port {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "x-kubernetes-int-or-string": true, "minimum": 1, "maximum": 65535 })
    }

    fn inline_schema() -> bool {
        true
    }
}

#[cfg(test)]
mod tests;
