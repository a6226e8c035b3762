//! What a proxy knows of its own pod: what differs between pods of one account, and so is not in their configuration.

use std::collections::BTreeMap;

use crate::config::{AccessMode, TlsMode};

/// The pod that a configuration is lowered for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodView {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its named container ports.
    pub port_names: BTreeMap<String, u16>,
    /// What its own template asks for.
    pub access: Option<AccessMode>,
    /// What its own template asks for.
    pub tls: Option<TlsMode>,
    /// The same for single ports.
    pub tls_ports: BTreeMap<u16, TlsMode>,
}

impl PodView {
    /// Whether it has all of these labels.
    pub fn is_selected_by(&self, selector: &BTreeMap<String, String>) -> bool {
        selector
            .iter()
            .all(|(key, value)| self.labels.get(key) == Some(value))
    }
}
