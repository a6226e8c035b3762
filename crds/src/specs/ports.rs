use k8s_openapi::NamespaceResourceScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::kind;

kind! {
    /// A name for TCP traffic on some ports (specs.smi-spec.io/v1alpha4, the storage version).
    TCPRoute {
        spec: PortRouteSpec,
        group: super::GROUP,
        version: "v1alpha4",
        plural: "tcproutes",
        scope: NamespaceResourceScope
    }
}

kind! {
    /// A name for UDP traffic on some ports (specs.smi-spec.io/v1alpha4).
    UDPRoute {
        spec: PortRouteSpec,
        group: super::GROUP,
        version: "v1alpha4",
        plural: "udproutes",
        scope: NamespaceResourceScope
    }
}

/// Which ports are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortRouteSpec {
    /// Ports of the destination. All of them when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<PortMatch>,
}

/// Ports, and a name for them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PortMatch {
    /// A name for the ports. It has no effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Port numbers, of the container or of a Service in front of it. All ports when empty or left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), inner(range(min = 1, max = 65535)))]
    pub ports: Option<Vec<i64>>,
}

impl PortRouteSpec {
    /// The ports as written, perhaps out of range; `None` when all ports are meant.
    pub fn ports(&self) -> Option<&[i64]> {
        self.matches
            .as_ref()
            .and_then(|matches| matches.ports.as_deref())
            .filter(|ports| !ports.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_ports_and_an_empty_list_both_mean_all_ports() {
        let ports = |spec: serde_json::Value| {
            serde_json::from_value::<PortRouteSpec>(spec)
                .expect("reads")
                .ports()
                .map(<[i64]>::to_vec)
        };
        assert_eq!(ports(json!({})), None);
        assert_eq!(ports(json!({ "matches": {} })), None);
        assert_eq!(ports(json!({ "matches": { "ports": [] } })), None);
        assert_eq!(ports(json!({ "matches": { "ports": [5432] } })), Some(vec![5432]));
    }
}
