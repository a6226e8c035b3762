//! What changed for those who follow endpoints and addresses, beside what the writer is told.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use super::Index;
use crate::callers::CallerRules;

type Name = Arc<str>;

/// What may be different since it was last asked. To name too much is only work; to name too little leaves somebody
/// with what is old.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Services, by namespace and name, whose endpoints may be.
    pub services: BTreeSet<(Name, Name)>,
    /// Namespaces in which the endpoints of every Service may be.
    pub modes: BTreeSet<Name>,
    /// Addresses with others behind them.
    pub addresses: BTreeSet<IpAddr>,
    /// Namespaces whose destinations may be, and so what stands behind the addresses of their Services.
    pub plans: BTreeSet<Name>,
    /// Namespaces whose workloads may let in other pods than before.
    pub members: BTreeSet<Name>,
    /// Nodes that may be in another zone.
    pub nodes: BTreeSet<Name>,
}

impl Moved {
    /// Whether nothing is.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Index {
    /// Pods that bindings mean may be others: for workloads of the namespace, and of those whose targets name something of
    /// it. Most targets name no bindings, and pods come and go all the time.
    pub(super) fn members_moved(&mut self, namespace: &Name) {
        let concerned = std::iter::once(namespace).chain(self.links.that_name(namespace));
        let concerned = concerned.filter(|name| self.links.names_bindings(name));
        self.moved.members.extend(concerned.cloned());
    }

    /// What a namespace says about callers of its pods.
    pub(crate) fn caller_rules(&mut self, namespace: &str) -> Arc<CallerRules> {
        if let Some(rules) = self.caller_rules.get(namespace) {
            return Arc::clone(rules);
        }
        let rules = Arc::new(CallerRules::of(self, namespace));
        self.caller_rules.insert(namespace.into(), Arc::clone(&rules));
        rules
    }

    /// Others may call the pods of a namespace than before, and are to be told more or less of them.
    pub(super) fn caller_rules_moved(&mut self, namespace: &Name) {
        if self.caller_rules.remove(namespace).is_some() {
            self.modes_moved(namespace);
        }
    }

    /// What a namespace asks of its callers may be another: told of its Services' endpoints, of its pods' addresses, and of
    /// endpoints made by hand there.
    pub(super) fn modes_moved(&mut self, namespace: &Name) {
        self.caller_rules.remove(namespace);
        self.moved.modes.insert(namespace.clone());
        let pods = self
            .contents
            .get(namespace)
            .map(|contents| contents.pods.values());
        for &address in pods.into_iter().flatten().flat_map(|pod| &pod.addresses) {
            self.moved.addresses.insert(address);
            self.moved.services.extend(self.by_hand.at(address).cloned());
        }
    }
}
