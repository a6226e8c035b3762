//! Who may call whom, as written.

use std::collections::BTreeMap;

use smilax_core::SpiffeId;

use super::Meta;

/// A TrafficTarget.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Target {
    /// Namespace, name, generation.
    pub meta: Meta,
    /// Whose pods are called.
    pub destination: Subject,
    /// The deprecated `destination.port`, which restricts whatever the rules say.
    pub destination_port: DestinationPort,
    /// Who may call.
    pub sources: Vec<Subject>,
    /// What they may call.
    pub rules: Rules,
}

/// An identity as a TrafficTarget names it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Subject {
    /// ServiceAccount or IdentityBinding, if it is right.
    pub kind: String,
    /// Namespace; `None` when none is written.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

/// The deprecated port of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum DestinationPort {
    /// None is written.
    #[default]
    Any,
    /// Nothing else may be called.
    Only(u16),
    /// What is written is no port, so nothing may be called.
    Unreadable(String),
}

/// What a TrafficTarget allows its sources.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Rules {
    /// Nothing: it lists no rule, and must.
    #[default]
    Nothing,
    /// Everything: it was written in a version whose rules are optional, and lists none.
    Everything,
    /// What these select.
    Listed(Vec<Rule>),
}

/// A route of the target's namespace that may be called.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rule {
    /// HTTPRouteGroup, TCPRoute or UDPRoute, if it is right.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Names of matches of the group; empty means all of them.
    pub matches: Vec<String>,
}

/// A TCPRoute or UDPRoute.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PortRoute {
    /// Namespace, name, generation.
    pub meta: Meta,
    /// Which ports.
    pub ports: RoutePorts,
}

/// Ports of a route.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum RoutePorts {
    /// All of them: none is written.
    #[default]
    All,
    /// These, as written; what is no port selects none.
    Listed(Vec<i64>),
}

/// An IdentityBinding.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Binding {
    /// Namespace, name, generation.
    pub meta: Meta,
    /// Labels of the pods that are meant.
    pub labels: Option<BTreeMap<String, String>>,
    /// Account of its namespace that is meant.
    pub account: Option<String>,
    /// SPIFFE IDs that are meant; `Err` holds one that cannot be read.
    pub ids: Vec<Result<SpiffeId, String>>,
    /// What of it cannot be read; it means nobody then.
    pub unreadable: Option<String>,
}

impl Binding {
    /// Why it means nobody, if it does.
    pub fn fault(&self) -> Option<String> {
        if let Some(unreadable) = &self.unreadable {
            return Some(unreadable.clone());
        }
        if self.labels.is_some() && self.account.is_some() {
            return Some(
                "spec.schemes: podLabelSelector and serviceAccount exclude each other; write one of them"
                    .to_owned(),
            );
        }
        if self.labels.as_ref().is_some_and(BTreeMap::is_empty) {
            return Some(
                "spec.schemes.podLabelSelector.matchLabels: it is empty; write at least one label".to_owned(),
            );
        }
        if self.labels.is_none() && self.account.is_none() && self.ids.is_empty() {
            return Some(
                "spec.schemes: it holds none of podLabelSelector, serviceAccount and spiffeIdentities"
                    .to_owned(),
            );
        }
        None
    }
}
