//! Who may call the pods of a namespace, as far as that follows from accounts: what decides how much a proxy is told of
//! them.
//!
//! Too many callers tell somebody more than they need; too few would take routes away from somebody who may call. So in
//! doubt, as where a TrafficTarget selects its sources by labels, a caller is among them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smilax_core::Workload;
use smilax_core::config::{AccessMode, SourceMatch};
use smilax_core::convention::key;

use crate::index::Index;
use crate::model::Pod;
use crate::modes::Modes;
use crate::plan::{Closed, Names, subjects};

type Name = Arc<str>;

/// Workloads that may call something on some port by some request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callers {
    /// All of them.
    All,
    /// These.
    Only {
        /// Workloads.
        workloads: BTreeSet<Workload>,
        /// Every workload of these namespaces.
        namespaces: BTreeSet<Name>,
    },
}

impl Callers {
    /// No workload at all.
    pub fn none() -> Self {
        Self::Only {
            workloads: BTreeSet::new(),
            namespaces: BTreeSet::new(),
        }
    }

    /// Whether a workload is among them.
    pub fn contains(&self, caller: &Workload) -> bool {
        match self {
            Self::All => true,
            Self::Only {
                workloads,
                namespaces,
            } => namespaces.contains(&caller.namespace) || workloads.contains(caller),
        }
    }

    /// Takes others in.
    pub(crate) fn add(&mut self, others: &Self) {
        match (&mut *self, others) {
            (Self::All, _) => {}
            (_, Self::All) => *self = Self::All,
            (
                Self::Only {
                    workloads,
                    namespaces,
                },
                Self::Only {
                    workloads: more,
                    namespaces: of_more,
                },
            ) => {
                workloads.extend(more.iter().cloned());
                namespaces.extend(of_more.iter().cloned());
            }
        }
    }

    fn add_namespace(&mut self, namespace: &Name) {
        match self {
            Self::All => {}
            Self::Only { namespaces, .. } => {
                namespaces.insert(namespace.clone());
            }
        }
    }

    fn add_sources(&mut self, sources: &[SourceMatch]) {
        for source in sources {
            self.add_source(source);
        }
    }

    fn add_source(&mut self, source: &SourceMatch) {
        match (self, source) {
            (Self::All, _) => {}
            (Self::Only { workloads, .. }, SourceMatch::Account(workload)) => {
                workloads.insert(workload.clone());
            }
            (Self::Only { workloads, .. }, SourceMatch::Spiffe(id)) => {
                workloads.extend(id.workload());
            }
            // Pods of any account may have the labels.
            (Self::Only { namespaces, .. }, SourceMatch::Binding(name)) => {
                let namespace = name.split('/').next().unwrap_or_default();
                namespaces.insert(namespace.into());
            }
        }
    }
}

/// What a namespace says about callers of its pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallerRules {
    namespace: Name,
    modes: Modes,
    by_account: BTreeMap<Name, Callers>,
    by_labels: BTreeMap<BTreeMap<String, String>, Callers>,
}

impl CallerRules {
    pub(crate) fn of(index: &Index, namespace: &str) -> Self {
        let none = BTreeMap::new();
        let annotations = index.namespace(namespace).map_or(&none, |one| &one.annotations);
        let mut rules = Self {
            namespace: namespace.into(),
            modes: Modes::of(index.settings(), annotations).0,
            by_account: BTreeMap::new(),
            by_labels: BTreeMap::new(),
        };
        let Some(contents) = index.contents(namespace) else {
            return rules;
        };
        let names = Names {
            index,
            namespace,
            contents,
        };
        for target in contents.targets.values() {
            if let Some((closed, sources)) = subjects(names, target) {
                rules.take(closed, &sources);
            }
        }
        rules
    }

    fn take(&mut self, closed: Closed, sources: &[SourceMatch]) {
        for account in closed.accounts {
            let callers = self.by_account.entry(account).or_insert_with(Callers::none);
            callers.add_sources(sources);
        }
        for labels in closed.labels {
            let callers = self.by_labels.entry(labels).or_insert_with(Callers::none);
            callers.add_sources(sources);
        }
    }

    /// Who may call a pod. Its own namespace is among them always: what lies there is no secret from it.
    pub(crate) fn callers_of(&self, pod: &Pod) -> Callers {
        let by_labels = self
            .by_labels
            .iter()
            .filter(|(labels, _)| pod.is_selected_by(labels))
            .map(|(_, callers)| callers);
        let named = union(self.by_account.get(&pod.account).into_iter().chain(by_labels));
        let own = pod
            .annotations
            .get(key::ACCESS_MODE)
            .and_then(|mode| mode.parse().ok());
        self.restricted(self.modes.access_of(own), named)
    }

    /// Who may call a Service with these pods. One without any leads to what the mesh knows nothing of.
    pub(crate) fn callers_of_all<'a>(&self, pods: impl IntoIterator<Item = &'a Pod>) -> Callers {
        let mut all: Option<Callers> = None;
        for pod in pods {
            let callers = self.callers_of(pod);
            match &mut all {
                Some(Callers::All) => break,
                Some(known) => known.add(&callers),
                None => all = Some(callers),
            }
        }
        all.unwrap_or_else(|| self.restricted(self.modes.access, None))
    }

    fn restricted(&self, mode: AccessMode, named: Option<Callers>) -> Callers {
        match (mode, named) {
            (AccessMode::Audit, _) | (AccessMode::Allow, None) => Callers::All,
            (AccessMode::Allow | AccessMode::Deny, named) => {
                let mut callers = named.unwrap_or_else(Callers::none);
                callers.add_namespace(&self.namespace);
                callers
            }
        }
    }
}

fn union<'a>(all: impl Iterator<Item = &'a Callers>) -> Option<Callers> {
    all.fold(None, |known, callers| match known {
        None => Some(callers.clone()),
        Some(mut known) => {
            known.add(callers);
            Some(known)
        }
    })
}

#[cfg(test)]
mod tests;
