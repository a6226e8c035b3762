//! Who may call a workload: the part of a configuration that the called side enforces.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::HttpMatch;
use crate::identity::SpiffeId;
use crate::name::{ObjectRef, Workload};

/// Rules for the pods of an account, or for those of them that carry certain labels. A pod is under every policy whose
/// selector selects it: the strictest modes count, and the targets of all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InboundPolicy {
    /// Labels that a pod must all have. Empty selects every pod of the account.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_selector: BTreeMap<String, String>,
    /// What becomes of calls that nothing allows; `None` leaves it to the other policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessMode>,
    /// What becomes of calls from outside the mesh; `None` leaves it to the other policies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsMode>,
    /// The same for single ports of the pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tls_ports: BTreeMap<u16, TlsMode>,
    /// What a pod's own settings may change.
    #[serde(default)]
    pub own_settings: OwnSettings,
    /// Callers without an identity that are let in all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unauthenticated_sources: Vec<UnauthenticatedSource>,
    /// What is allowed. One that allows nothing still says that calls to these pods are restricted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<AccessTarget>,
}

/// What becomes of calls that no target allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessMode {
    /// They are judged as in `deny`, counted and logged, and let pass.
    Audit,
    /// They are refused by pods that some target names, and let pass by others.
    #[default]
    Allow,
    /// They are refused.
    Deny,
}

/// What becomes of calls from outside the mesh, which prove no identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsMode {
    /// They are let in as unauthenticated, and counted.
    #[default]
    Permissive,
    /// They are refused.
    Strict,
}

/// What the settings of a pod's own template may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OwnSettings {
    /// They may only make it stricter.
    #[default]
    Tighten,
    /// They decide.
    Decide,
}

/// Addresses from which calls without an identity are let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UnauthenticatedSource {
    /// Address ranges.
    pub cidrs: Vec<IpNet>,
    /// Ports of the pod. Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<u16>,
}

/// What one of the user's objects allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AccessTarget {
    /// The user's object.
    pub source: ObjectRef,
    /// Callers, any of whom is meant. Empty: nobody.
    pub sources: Vec<SourceMatch>,
    /// Sets of ports, in all of which the port must be. Empty: any port. An empty set: none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<Vec<PortMatch>>,
    /// Requests, any of which is allowed; anything that is no HTTP is not. `None`: whatever is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Vec<HttpMatch>>,
}

/// A caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SourceMatch {
    /// Every pod of an account of this mesh.
    Account(Workload),
    /// Whoever has this id.
    Spiffe(SpiffeId),
    /// The pods that a binding selects by their labels, `namespace/name`. Which these are, the operator tells while
    /// the proxy is connected to it; until it has, nobody.
    Binding(String),
}

/// A port of the called pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortMatch {
    /// Labels of the pods that it holds for. Empty: every pod.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pod_selector: BTreeMap<String, String>,
    /// Which port.
    pub port: ContainerPort,
}

/// A port as a pod has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ContainerPort {
    /// Its number, 1 to 65535.
    Number(u16),
    /// The name that a container gives it.
    Name(String),
}

/// A word that is no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word:?} is not a mode: write {expected}")]
pub struct InvalidMode {
    word: String,
    expected: &'static str,
}

impl AccessMode {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }
}

impl TlsMode {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Permissive => "permissive",
            Self::Strict => "strict",
        }
    }
}

impl fmt::Display for AccessMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AccessMode {
    type Err = InvalidMode;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Audit, Self::Allow, Self::Deny]
            .into_iter()
            .find(|mode| mode.as_str() == word)
            .ok_or_else(|| InvalidMode {
                word: word.to_owned(),
                expected: "deny, allow or audit",
            })
    }
}

impl FromStr for TlsMode {
    type Err = InvalidMode;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        [Self::Permissive, Self::Strict]
            .into_iter()
            .find(|mode| mode.as_str() == word)
            .ok_or_else(|| InvalidMode {
                word: word.to_owned(),
                expected: "strict or permissive",
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_reads_as_it_is_written() {
        for mode in [AccessMode::Audit, AccessMode::Allow, AccessMode::Deny] {
            assert_eq!(mode.as_str().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        for mode in [TlsMode::Permissive, TlsMode::Strict] {
            assert_eq!(mode.as_str().parse(), Ok(mode));
            assert_eq!(serde_json::to_value(mode).unwrap(), mode.as_str());
        }
        assert!("Deny".parse::<AccessMode>().is_err());
    }
}
