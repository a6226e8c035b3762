//! What is still to be told of objects that have no status to say it: ServiceAccounts, Services and pods. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use smilax_compiler::{Diagnostic, FindingId, Index};
use smilax_core::ObjectRef;

use super::report::PodFinding;

/// Something to be told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// About a ServiceAccount, a Service or a Namespace.
    Object {
        /// What is told.
        diagnostic: Diagnostic,
        /// Identity of the object; empty for one that does not exist.
        uid: String,
    },
    /// About a pod.
    Pod(PodFinding),
}

/// What tells a finding from every other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    object: ObjectRef,
    uid: String,
    finding: FindingId,
}

impl Finding {
    /// A finding about an object of Kubernetes itself, as it is now.
    pub fn about(index: &Index, diagnostic: Diagnostic) -> Self {
        let ObjectRef {
            kind,
            namespace,
            name,
            ..
        } = &diagnostic.object;
        let contents = index.contents(namespace);
        let uid = match &**kind {
            "Namespace" => index.namespace(name).map(|one| one.uid.clone()),
            "ServiceAccount" => contents
                .and_then(|all| all.accounts.get(name))
                .map(|one| one.meta.uid.clone()),
            "Service" => contents
                .and_then(|all| all.services.get(name))
                .map(|one| one.meta.uid.clone()),
            _ => None,
        };
        Self::Object {
            uid: uid.unwrap_or_default(),
            diagnostic,
        }
    }

    /// What tells it from every other.
    pub fn identity(&self) -> Identity {
        Identity {
            object: self.object(),
            uid: self.uid().to_owned(),
            finding: FindingId::new(self.reason(), self.message()),
        }
    }

    /// What it is about.
    pub fn object(&self) -> ObjectRef {
        match self {
            Self::Object { diagnostic, .. } => diagnostic.object.clone(),
            Self::Pod(found) => ObjectRef {
                kind: "Pod".into(),
                namespace: found.namespace.as_str().into(),
                name: found.name.as_str().into(),
                generation: 0,
            },
        }
    }

    /// Identity of that object.
    pub fn uid(&self) -> &str {
        match self {
            Self::Object { uid, .. } => uid,
            Self::Pod(found) => &found.uid,
        }
    }

    /// Reason of the Event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Object { diagnostic, .. } => diagnostic.reason.as_str(),
            Self::Pod(found) => found.reason.as_str(),
        }
    }

    /// What the Event says.
    pub fn message(&self) -> &str {
        match self {
            Self::Object { diagnostic, .. } => &diagnostic.message,
            Self::Pod(found) => &found.message,
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
    use smilax_compiler::Reason;
    use smilax_compiler::index::Settings;

    use super::*;
    use crate::controller::report::PodReason;

    #[test]
    fn a_finding_says_which_object_it_is_about() {
        let meta =
            |uid: &str| serde_json::json!({"metadata": {"namespace": "shop", "name": "web", "uid": uid}});
        let mut index = Index::new(Settings::default());
        let account = serde_json::from_value(meta("account")).unwrap();
        index.set_account(
            "shop",
            "web".into(),
            Some(smilax_compiler::ingest::account(&account)),
        );
        let service = serde_json::from_value(meta("service")).unwrap();
        index.set_service(
            "shop",
            "web".into(),
            Some(smilax_compiler::ingest::service(&service)),
        );
        let namespace = serde_json::from_value(meta("namespace")).unwrap();
        index.set_namespace("web", Some(smilax_compiler::ingest::namespace(&namespace)));
        for (kind, uid) in [
            ("ServiceAccount", "account"),
            ("Service", "service"),
            ("Namespace", "namespace"),
        ] {
            let diagnostic = Diagnostic::about(kind, "shop", "web", Reason::Invalid, String::new());
            assert_eq!(Finding::about(&index, diagnostic).uid(), uid);
        }
    }

    #[test]
    fn another_message_about_the_same_pod_is_another_finding() {
        let says = |message: &str| {
            Finding::Pod(PodFinding {
                namespace: String::new(),
                name: "web-1".to_owned(),
                uid: "1".to_owned(),
                reason: PodReason::InvalidAnnotation,
                message: message.to_owned(),
            })
        };
        assert_ne!(says("a").identity(), says("b").identity());
    }

    fn about(pod: &str) -> Finding {
        Finding::Pod(PodFinding {
            namespace: String::new(),
            name: pod.to_owned(),
            uid: pod.to_owned(),
            reason: PodReason::NotInjected,
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
