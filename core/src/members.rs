//! The pods that a binding selects by their labels.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// Pods by binding. It comes over the workload connection only: pods come and go, and a configuration that named them
/// would change with each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Members(pub BTreeMap<String, BTreeSet<Box<str>>>);

impl Members {
    /// Whether a binding, `namespace/name`, selects the pod with this UID.
    pub fn contains(&self, binding: &str, pod_uid: &str) -> bool {
        self.0.get(binding).is_some_and(|pods| pods.contains(pod_uid))
    }
}
