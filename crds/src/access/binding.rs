use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::object::kind;

kind! {
    /// Gives workloads of its namespace a name that TrafficTargets can use (access.smi-spec.io/v1alpha4).
    IdentityBinding {
        spec: IdentityBindingSpec,
        group: super::GROUP,
        version: "v1alpha4",
        plural: "identitybindings",
        scope: NamespaceResourceScope
    }
}

/// Which workloads are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["schemes"]))]
pub struct IdentityBindingSpec {
    /// Ways of recognising them; a workload that any of them recognises is meant.
    #[serde(default)]
    #[schemars(extend("minProperties" = 1))]
    pub schemes: Schemes,
}

/// Ways of recognising workloads, all within the binding's namespace. `podLabelSelector` and `serviceAccount` exclude
/// each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schemes {
    /// By labels of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-smilax-null" = true))]
    pub pod_label_selector: Option<PodLabelSelector>,
    /// By the account that the pod runs under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253), extend("x-smilax-null" = true))]
    pub service_account: Option<String>,
    /// By SPIFFE id, as in `spiffe://cluster.local/ns/shop/sa/web`; the scheme may be left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(max = 2048)), extend("x-smilax-null" = true))]
    pub spiffe_identities: Option<Vec<String>>,
}

/// Selects pods by labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("required" = ["matchLabels"]))]
pub struct PodLabelSelector {
    /// Labels that a pod must all have.
    #[serde(default)]
    #[schemars(extend("minProperties" = 1, "x-smilax-null" = true))]
    pub match_labels: Option<BTreeMap<String, String>>,
}

impl Schemes {
    /// The SPIFFE ids, each with the scheme, as certificates carry them.
    pub fn spiffe_ids(&self) -> impl Iterator<Item = String> {
        self.spiffe_identities.iter().flatten().map(|id| {
            if id.starts_with("spiffe://") {
                id.clone()
            } else {
                format!("spiffe://{id}")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spiffe_id_may_leave_the_scheme_out() {
        let schemes = Schemes {
            spiffe_identities: Some(vec!["cluster.local/ns/a/sa/b".into(), "spiffe://td/x".into()]),
            ..Schemes::default()
        };
        let ids: Vec<_> = schemes.spiffe_ids().collect();
        assert_eq!(ids, ["spiffe://cluster.local/ns/a/sa/b", "spiffe://td/x"]);
    }
}
