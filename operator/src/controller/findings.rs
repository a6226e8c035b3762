//! What is still to be told of objects that have no status to say it: ServiceAccounts and pods. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use smilax_compiler::Diagnostic;

use super::report::PodFinding;

/// Something to be told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// About a ServiceAccount.
    Account(Diagnostic),
    /// About a pod.
    Pod(PodFinding),
}

impl Finding {
    /// What tells it from every other.
    pub fn identity(&self) -> String {
        match self {
            Self::Account(found) => format!("{} {}", found.object, found.message),
            Self::Pod(found) => format!("{} {}", found.uid, found.reason),
        }
    }
}

/// What waits to be told, by namespace. Namespaces take turns, so that one with a thousand pods does not keep another
/// silent.
#[derive(Debug, Default)]
pub struct Findings {
    waiting: BTreeMap<Arc<str>, VecDeque<Finding>>,
    /// Whose turn it was.
    last: Option<Arc<str>>,
}

impl Findings {
    /// Replaces what waits of a namespace: what no longer holds is not told.
    pub fn set(&mut self, namespace: &Arc<str>, findings: impl IntoIterator<Item = Finding>) {
        let findings: VecDeque<Finding> = findings.into_iter().collect();
        if findings.is_empty() {
            self.waiting.remove(namespace);
        } else {
            self.waiting.insert(namespace.clone(), findings);
        }
    }

    /// The next to be told, of the namespace whose turn it is.
    pub fn take(&mut self) -> Option<Finding> {
        let after = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.waiting.range((after, Bound::Unbounded)).next();
        let (namespace, _) = next.or_else(|| self.waiting.first_key_value())?;
        let namespace = namespace.clone();
        let waiting = self.waiting.get_mut(&namespace)?;
        let finding = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        }
        self.last = Some(namespace);
        finding
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(pod: &str) -> Finding {
        Finding::Pod(PodFinding {
            namespace: String::new(),
            name: pod.to_owned(),
            uid: pod.to_owned(),
            reason: "NotInjected",
            message: String::new(),
        })
    }

    #[test]
    fn namespaces_take_turns() {
        let mut findings = Findings::default();
        findings.set(&"a".into(), ["a1", "a2", "a3"].map(about));
        findings.set(&"b".into(), ["b1"].map(about));
        let order: Vec<Finding> = std::iter::from_fn(|| findings.take()).collect();
        assert_eq!(order, ["a1", "b1", "a2", "a3"].map(about));
        assert!(findings.is_empty());
    }

    #[test]
    fn what_no_longer_holds_is_not_told() {
        let mut findings = Findings::default();
        findings.set(&"a".into(), ["a1", "a2"].map(about));
        findings.set(&"a".into(), ["a2"].map(about));
        assert_eq!(findings.take(), Some(about("a2")));
        findings.set(&"a".into(), ["a3"].map(about));
        findings.set(&"a".into(), []);
        assert_eq!(findings.take(), None);
    }
}
