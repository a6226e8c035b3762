//! What Events are still to tell, and whose turn it is. Pure: the time comes in.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use smilax_compiler::{Diagnostic, FindingId, Index, status};
use smilax_core::ObjectRef;
use tokio::time::Instant;

use super::report::PodFinding;
use super::state::ObjectKey;
use super::turns::Turns;
use crate::token_buckets::TokenBuckets;

/// Events that a namespace may cause at once, as when it joins the mesh. client-go bounds those about one object; a bound for
/// each namespace also holds for thousands of objects.
pub const BURST: u32 = 100;
/// After so long there is one more, up to [`BURST`].
pub const PERIOD: Duration = Duration::from_secs(1);

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
    /// About an SMI object, whose status remembers what was told.
    Smi {
        /// Which.
        key: ObjectKey,
        /// Identity of the object.
        uid: String,
        /// What is told.
        diagnostic: Diagnostic,
    },
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
            finding: self.id(),
        }
    }

    /// What tells it from every other about the same object.
    pub fn id(&self) -> FindingId {
        FindingId::new(self.reason(), self.message())
    }

    /// What it is about.
    pub fn object(&self) -> ObjectRef {
        match self {
            Self::Object { diagnostic, .. } | Self::Smi { diagnostic, .. } => diagnostic.object.clone(),
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
            Self::Object { uid, .. } | Self::Smi { uid, .. } => uid,
            Self::Pod(found) => &found.uid,
        }
    }

    /// Reason of the Event.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Object { diagnostic, .. } | Self::Smi { diagnostic, .. } => diagnostic.reason.as_str(),
            Self::Pod(found) => found.reason.as_str(),
        }
    }

    /// What the Event says.
    pub fn message(&self) -> &str {
        match self {
            Self::Object { diagnostic, .. } | Self::Smi { diagnostic, .. } => &diagnostic.message,
            Self::Pod(found) => &found.message,
        }
    }

    /// Version of the API that the object is of.
    pub fn api_version(&self) -> String {
        match self {
            Self::Object { .. } | Self::Pod(_) => "v1".to_owned(),
            Self::Smi { key, .. } => key.0.resource().api_version,
        }
    }

    fn source(&self, namespace: &Arc<str>) -> Source {
        match self {
            Self::Object { .. } | Self::Pod(_) => Source::Namespace(namespace.clone()),
            Self::Smi { key, .. } => Source::Object(key.clone()),
        }
    }
}

/// What several workloads find of the same object is one finding, and of one object no more is told than of an SMI object.
pub fn bounded(findings: Vec<Finding>) -> Vec<Finding> {
    let mut bounded = Vec::new();
    let mut by_object: BTreeMap<(ObjectRef, String), BTreeSet<Diagnostic>> = BTreeMap::new();
    for finding in findings {
        match finding {
            Finding::Object { diagnostic, uid } => {
                let object = (diagnostic.object.clone(), uid);
                by_object.entry(object).or_default().insert(diagnostic);
            }
            other => bounded.push(other),
        }
    }
    for ((_, uid), diagnostics) in by_object {
        let told = status::announcements(&diagnostics.into_iter().collect::<Vec<_>>());
        bounded.extend(told.into_iter().map(|diagnostic| Finding::Object {
            diagnostic,
            uid: uid.clone(),
        }));
    }
    bounded
}

/// What findings wait together, and are replaced together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// Those about objects of a namespace that have no status to say them.
    Namespace(Arc<str>),
    /// Those about an SMI object.
    Object(ObjectKey),
}

impl Source {
    fn namespace(&self) -> &Arc<str> {
        match self {
            Self::Namespace(namespace) | Self::Object((_, namespace, _)) => namespace,
        }
    }
}

/// What waits to be told. Namespaces take turns, and objects within them, and each namespace has its own allowance: one with
/// thousands of findings does not keep another silent.
#[derive(Debug)]
pub struct Findings {
    waiting: BTreeMap<Source, VecDeque<Finding>>,
    turns: Turns<Arc<str>, Source>,
    /// Could not be told, and wait until it is tried again.
    postponed: BTreeMap<Arc<str>, Vec<Finding>>,
    /// What is being told: it is neither told nor waits.
    under_way: Option<Identity>,
    allowance: TokenBuckets<Arc<str>>,
}

impl Default for Findings {
    fn default() -> Self {
        Self {
            waiting: BTreeMap::new(),
            turns: Turns::default(),
            postponed: BTreeMap::new(),
            under_way: None,
            allowance: TokenBuckets::new(BURST, PERIOD),
        }
    }
}

impl Findings {
    /// Replaces what waits of a namespace beside its SMI objects: what no longer holds is not told.
    pub fn set(&mut self, namespace: &Arc<str>, findings: impl IntoIterator<Item = Finding>) {
        self.replace(Source::Namespace(namespace.clone()), findings);
    }

    /// Replaces what waits of an SMI object.
    pub fn set_object(&mut self, key: ObjectKey, findings: impl IntoIterator<Item = Finding>) {
        self.replace(Source::Object(key), findings);
    }

    fn replace(&mut self, source: Source, findings: impl IntoIterator<Item = Finding>) {
        let namespace = source.namespace().clone();
        if let Some(postponed) = self.postponed.get_mut(&namespace) {
            postponed.retain(|one| one.source(&namespace) != source);
            if postponed.is_empty() {
                self.postponed.remove(&namespace);
            }
        }
        let findings = findings.into_iter();
        let findings: VecDeque<Finding> = findings
            .filter(|one| self.under_way.as_ref() != Some(&one.identity()))
            .collect();
        if findings.is_empty() {
            self.turns.remove(&namespace, &source);
            self.waiting.remove(&source);
        } else {
            self.turns.insert(&namespace, source.clone());
            self.waiting.insert(source, findings);
        }
    }

    /// The next to be told, with its namespace, until it is [`Self::settled`]. It is taken from the allowance of that
    /// namespace.
    pub fn take(&mut self, now: Instant) -> Option<(Arc<str>, Finding)> {
        let allowance = &self.allowance;
        let source = self.turns.take(|namespace| allowance.allows(namespace, now))?;
        let namespace = source.namespace().clone();
        let waiting = self.waiting.get_mut(&source)?;
        let finding = waiting.pop_front();
        self.under_way = finding.as_ref().map(Finding::identity);
        if waiting.is_empty() {
            self.waiting.remove(&source);
        } else {
            self.turns.insert(&namespace, source);
        }
        self.allowance.forget_full(now);
        self.allowance.spend(namespace.clone(), now);
        Some((namespace, finding?))
    }

    /// When the next may be told, if there is one.
    pub fn next(&self, now: Instant) -> Option<Instant> {
        let groups = self.turns.groups();
        groups.map(|namespace| self.allowance.next(namespace, now)).min()
    }

    /// Whether something more is to be told of an SMI object.
    pub fn waits(&self, key: &ObjectKey) -> bool {
        self.waiting.contains_key(&Source::Object(key.clone()))
    }

    /// What was taken last is told, or cannot be.
    pub fn settled(&mut self) {
        self.under_way = None;
    }

    /// Takes back what could not be told, until [`Self::look_again`].
    pub fn postpone(&mut self, namespace: Arc<str>, finding: Finding) {
        self.postponed.entry(namespace).or_default().push(finding);
    }

    /// What was postponed of a namespace is to be told now.
    pub fn look_again(&mut self, namespace: &str) {
        let Some((namespace, findings)) = self.postponed.remove_entry(namespace) else {
            return;
        };
        for finding in findings {
            let source = finding.source(&namespace);
            self.turns.insert(&namespace, source.clone());
            self.waiting.entry(source).or_default().push_back(finding);
        }
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests;
