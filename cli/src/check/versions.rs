//! Which versions run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Snapshot;
use crate::output::counted;
use crate::sidecars;

/// Versions of this program, the operator and the proxies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Versions {
    /// Of the replicas that are ready; `None` where no cluster was asked.
    operators: Option<Vec<String>>,
    /// How many pods run each version.
    proxies: BTreeMap<String, usize>,
}

impl Versions {
    /// Of a cluster, if one was asked.
    pub(crate) fn of(snapshot: Option<&Snapshot>) -> Self {
        let operators = snapshot.map(|snapshot| {
            let operator = snapshot.operator();
            let versions = operator.map(|operator| operator.versions()).unwrap_or_default();
            versions.into_iter().map(ToOwned::to_owned).collect()
        });
        let mut proxies = BTreeMap::new();
        for pod in snapshot.into_iter().flat_map(|snapshot| &snapshot.pods) {
            if let Some(version) = sidecars::version_of(pod) {
                *proxies.entry(version.to_owned()).or_default() += 1;
            }
        }
        Self { operators, proxies }
    }

    /// A line for each.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("client:   {}\n", env!("CARGO_PKG_VERSION"));
        // Writing to a String does not fail.
        for version in self.operators.iter().flatten() {
            let _ = writeln!(text, "operator: {version}");
        }
        if self.operators.as_ref().is_some_and(Vec::is_empty) {
            text.push_str("operator: no replica is ready; to see why: smilax check\n");
        }
        for (version, count) in &self.proxies {
            let _ = writeln!(text, "proxies:  {version} ({})", counted(*count, "pod"));
        }
        text
    }

    /// The same for programs.
    pub(crate) fn json(&self) -> Value {
        let proxies = self.proxies.iter();
        let proxies = proxies.map(|(version, pods)| json!({"version": version, "pods": pods}));
        json!({
            "client": env!("CARGO_PKG_VERSION"),
            "operators": self.operators.as_deref().unwrap_or_default(),
            "proxies": proxies.collect::<Vec<_>>(),
        })
    }
}
