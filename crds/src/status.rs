//! The status that the operator writes on objects of every kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What became of an object: conditions, and strings for `kubectl get`, whose columns would show only the first
/// element of a list.
///
/// One type for all kinds; which of the strings a kind has, its manifest says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Newest generation of the object that the conditions speak of. Tools that wait look here before they look at any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, ResolvedRefs, Programmed and Ready, each with the generation of the object it speaks of.
    pub conditions: Vec<Condition>,
    /// Which findings Events have reported, by reason and digest: what keeps the operator from reporting them again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported: Option<String>,
    /// Backends and their weights, as in `web-v1=90 web-v2=10`. TrafficSplit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backends: Option<String>,
    /// Who may call, as in `shop/web shop/batch`. TrafficTarget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<String>,
    /// What they may call, as in `HTTPRouteGroup/api[read] TCPRoute/db`. TrafficTarget.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<String>,
    /// Names of the matches. HTTPRouteGroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// Ports, or `all`. TCPRoute and UDPRoute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<String>,
    /// Which workloads are bound. IdentityBinding.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identities: Option<String>,
}

impl Status {
    /// The condition of this type, `Accepted` for example.
    pub fn condition(&self, type_: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == type_)
    }
}
