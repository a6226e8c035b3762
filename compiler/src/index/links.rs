//! Which namespaces look at which others, kept from both ends so that a change is not looked for everywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smilax_core::convention::key;

use super::Contents;
use crate::model::Namespace;

type Name = Arc<str>;

/// Kind of a source that means pods by what they are, and not by their account alone.
const IDENTITY_BINDING: &str = "IdentityBinding";

/// Links between namespaces.
#[derive(Debug, Default)]
pub(super) struct Links {
    refers: BTreeMap<Name, Refers>,
    imported_by: BTreeMap<Name, BTreeSet<Name>>,
    named_by: BTreeMap<Name, BTreeSet<Name>>,
}

/// Other namespaces that one speaks of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Refers {
    /// Its workloads call Services of these.
    imports: BTreeSet<Name>,
    /// Its TrafficTargets have sources in these.
    sources: BTreeSet<Name>,
    /// Of these sources, some are IdentityBindings.
    bindings: bool,
}

impl Refers {
    /// What a namespace speaks of.
    pub(super) fn of(namespace: Option<&Namespace>, contents: Option<&Contents>) -> Self {
        let own = namespace.and_then(|one| one.annotations.get(key::DESTINATIONS));
        let accounts = contents
            .into_iter()
            .flat_map(|contents| contents.accounts.values())
            .filter_map(|account| account.annotations.get(key::DESTINATIONS));
        let imports = own
            .into_iter()
            .chain(accounts)
            .flat_map(|list| list.split(','))
            .filter_map(|entry| Some(entry.trim().split_once('/')?.0.into()))
            .collect();
        let sources = contents
            .into_iter()
            .flat_map(|contents| contents.targets.values())
            .flat_map(|target| {
                target.sources.iter().map(|source| {
                    source
                        .namespace
                        .as_deref()
                        .map_or_else(|| target.meta.namespace.clone(), Name::from)
                })
            })
            .collect();
        let bindings = contents
            .into_iter()
            .flat_map(|contents| contents.targets.values())
            .flat_map(|target| &target.sources)
            .any(|source| source.kind == IDENTITY_BINDING);
        Self {
            imports,
            sources,
            bindings,
        }
    }
}

impl Links {
    /// Takes in what a namespace speaks of. Gives the namespaces that its TrafficTargets name, now or before.
    pub(super) fn set(&mut self, namespace: &Name, refers: Refers) -> BTreeSet<Name> {
        let before = self.refers.remove(namespace).unwrap_or_default();
        relink(&mut self.imported_by, namespace, &before.imports, &refers.imports);
        relink(&mut self.named_by, namespace, &before.sources, &refers.sources);
        let named = before.sources.union(&refers.sources).cloned().collect();
        if refers != Refers::default() {
            self.refers.insert(namespace.clone(), refers);
        }
        named
    }

    /// Namespaces whose Services the workloads of this one call.
    pub(super) fn imported_by(&self, namespace: &str) -> impl Iterator<Item = &Name> {
        self.refers
            .get(namespace)
            .into_iter()
            .flat_map(|one| &one.imports)
    }

    /// Namespaces whose workloads call Services of this one.
    pub(super) fn that_import(&self, namespace: &str) -> impl Iterator<Item = &Name> {
        self.imported_by.get(namespace).into_iter().flatten()
    }

    /// Whether TrafficTargets of a namespace have IdentityBindings as sources.
    pub(super) fn names_bindings(&self, namespace: &str) -> bool {
        self.refers.get(namespace).is_some_and(|refers| refers.bindings)
    }

    /// Namespaces whose TrafficTargets have sources in this one.
    pub(super) fn that_name(&self, namespace: &str) -> impl Iterator<Item = &Name> {
        self.named_by.get(namespace).into_iter().flatten()
    }
}

fn relink(
    backwards: &mut BTreeMap<Name, BTreeSet<Name>>,
    from: &Name,
    before: &BTreeSet<Name>,
    after: &BTreeSet<Name>,
) {
    for gone in before.difference(after) {
        if let Some(all) = backwards.get_mut(gone) {
            all.remove(from);
            if all.is_empty() {
                backwards.remove(gone);
            }
        }
    }
    for new in after.difference(before) {
        backwards.entry(new.clone()).or_default().insert(from.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refers(sources: &[&str]) -> Refers {
        Refers {
            sources: sources.iter().map(|&name| name.into()).collect(),
            ..Refers::default()
        }
    }

    fn names<'a>(found: impl Iterator<Item = &'a Name>) -> Vec<&'a str> {
        found.map(|name| &**name).collect()
    }

    #[test]
    fn a_link_is_known_from_both_ends_until_it_is_gone() {
        let mut links = Links::default();
        links.set(&"shop".into(), refers(&["client", "batch"]));
        links.set(&"bank".into(), refers(&["client"]));
        assert_eq!(names(links.that_name("client")), ["bank", "shop"]);
        let told = links.set(&"shop".into(), refers(&["batch"]));
        assert_eq!(names(told.iter()), ["batch", "client"]);
        assert_eq!(names(links.that_name("client")), ["bank"]);
    }
}
