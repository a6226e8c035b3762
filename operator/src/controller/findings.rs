//! What is still to be told of objects that have no status to say it: ServiceAccounts, Services and pods. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use smilax_compiler::Diagnostic;

use super::report::PodFinding;

/// Something to be told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// About a ServiceAccount or a Service.
    Object(Diagnostic),
    /// About a pod.
    Pod(PodFinding),
}

impl Finding {
    /// What tells it from every other.
    pub fn identity(&self) -> String {
        match self {
            Self::Object(found) => format!("{} {}", found.object, found.message),
            Self::Pod(found) => format!("{} {}", found.uid, found.reason),
        }
    }
}

/// What waits to be told, by namespace. Namespaces take turns, so that one with a thousand pods does not keep another
/// silent.
#[derive(Debug, Default)]
pub struct Findings {
    waiting: BTreeMap<Arc<str>, VecDeque<Finding>>,
    /// Could not be told, and wait until it is tried again.
    postponed: BTreeMap<Arc<str>, Vec<Finding>>,
    /// Whose turn it was.
    last: Option<Arc<str>>,
}

impl Findings {
    /// Replaces what waits of a namespace: what no longer holds is not told.
    pub fn set(&mut self, namespace: &Arc<str>, findings: impl IntoIterator<Item = Finding>) {
        let findings: VecDeque<Finding> = findings.into_iter().collect();
        self.postponed.remove(namespace);
        if findings.is_empty() {
            self.waiting.remove(namespace);
        } else {
            self.waiting.insert(namespace.clone(), findings);
        }
    }

    /// The next to be told, with its namespace, whose turn it is.
    pub fn take(&mut self) -> Option<(Arc<str>, Finding)> {
        let after = self.last.clone().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.waiting.range((after, Bound::Unbounded)).next();
        let (namespace, _) = next.or_else(|| self.waiting.first_key_value())?;
        let namespace = namespace.clone();
        let waiting = self.waiting.get_mut(&namespace)?;
        let finding = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&namespace);
        }
        self.last = Some(namespace.clone());
        Some((namespace, finding?))
    }

    /// Takes back what could not be told, until [`Self::look_again`].
    pub fn postpone(&mut self, namespace: Arc<str>, finding: Finding) {
        self.postponed.entry(namespace).or_default().push(finding);
    }

    /// What was postponed of a namespace is to be told now.
    pub fn look_again(&mut self, namespace: &str) {
        if let Some((namespace, findings)) = self.postponed.remove_entry(namespace) {
            self.waiting.entry(namespace).or_default().extend(findings);
        }
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

    fn next(findings: &mut Findings) -> Option<Finding> {
        findings.take().map(|(_, finding)| finding)
    }

    #[test]
    fn what_could_not_be_told_waits_until_it_is_tried_again() {
        let mut findings = Findings::default();
        let shop: Arc<str> = "shop".into();
        findings.set(&shop, ["a"].map(about));
        let (namespace, finding) = findings.take().unwrap();
        findings.postpone(namespace, finding);
        assert_eq!(findings.take(), None);
        findings.look_again("elsewhere");
        assert!(findings.is_empty());
        findings.look_again("shop");
        assert_eq!(next(&mut findings), Some(about("a")));
    }

    #[test]
    fn what_could_not_be_told_and_no_longer_holds_is_not_told() {
        let mut findings = Findings::default();
        let shop: Arc<str> = "shop".into();
        findings.postpone(shop.clone(), about("a"));
        findings.set(&shop, []);
        findings.look_again("shop");
        assert_eq!(findings.take(), None);
    }

    #[test]
    fn namespaces_take_turns() {
        let mut findings = Findings::default();
        findings.set(&"a".into(), ["a1", "a2", "a3"].map(about));
        findings.set(&"b".into(), ["b1"].map(about));
        let order: Vec<Finding> = std::iter::from_fn(|| next(&mut findings)).collect();
        assert_eq!(order, ["a1", "b1", "a2", "a3"].map(about));
        assert!(findings.is_empty());
    }

    #[test]
    fn what_no_longer_holds_is_not_told() {
        let mut findings = Findings::default();
        findings.set(&"a".into(), ["a1", "a2"].map(about));
        findings.set(&"a".into(), ["a2"].map(about));
        assert_eq!(next(&mut findings), Some(about("a2")));
        findings.set(&"a".into(), ["a3"].map(about));
        findings.set(&"a".into(), []);
        assert_eq!(findings.take(), None);
    }
}
