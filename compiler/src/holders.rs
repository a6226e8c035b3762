//! Which workloads' configurations contain an object.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smilax_core::{DestinationName, Workload};

use crate::compile::{Wanted, imports, workloads};
use crate::index::{Contents, Index};
use crate::model::{Rule, Rules, Target};
use crate::plan::NamespacePlan;

/// Workloads; shared, since most objects of a namespace are held by the same ones.
pub type Workloads = Arc<BTreeSet<Workload>>;

/// Who holds the objects of a namespace, by their names.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    splits: BTreeMap<Arc<str>, Workloads>,
    targets: BTreeMap<Arc<str>, Workloads>,
    groups: BTreeMap<String, Workloads>,
    tcp_routes: BTreeMap<String, Workloads>,
    bindings: BTreeMap<String, Workloads>,
}

impl Holders {
    pub(crate) fn of(index: &mut Index, namespace: &str) -> Self {
        let mut holders = Self::default();
        let plan = index.plan(namespace);
        let naming: Vec<Arc<str>> = index
            .that_name(namespace)
            .filter(|other| ***other != *namespace)
            .cloned()
            .collect();
        if let Some(contents) = index.contents(namespace) {
            holders.splits = of_splits(index, namespace, &plan);
            holders.targets = of_targets(index, namespace, &plan, contents);
            holders.take_references(namespace, contents);
        }
        for other in naming {
            let plan = index.plan(&other);
            let Some(contents) = index.contents(&other) else {
                continue;
            };
            let targets = of_targets(index, &other, &plan, contents);
            for target in contents.targets.values() {
                if let Some(of_target) = targets.get(&target.meta.name) {
                    take_sources(&mut holders.bindings, target, namespace, of_target);
                }
            }
        }
        holders
    }

    /// The workloads that hold an object.
    pub(crate) fn get(&self, kind: &str, name: &str) -> Workloads {
        let found = match kind {
            "TrafficSplit" => self.splits.get(name),
            "TrafficTarget" => self.targets.get(name),
            "HTTPRouteGroup" => self.groups.get(name),
            "TCPRoute" => self.tcp_routes.get(name),
            "IdentityBinding" => self.bindings.get(name),
            _ => None,
        };
        found.cloned().unwrap_or_default()
    }

    /// What is referred to is held by those who hold what refers to it.
    fn take_references(&mut self, namespace: &str, contents: &Contents) {
        for split in contents.splits.values() {
            let Some(of_split) = self.splits.get(&split.meta.name) else {
                continue;
            };
            for reference in &split.matches {
                add(&mut self.groups, &reference.name, of_split);
            }
        }
        for target in contents.targets.values() {
            let Some(of_target) = self.targets.get(&target.meta.name) else {
                continue;
            };
            if target.destination.kind == "IdentityBinding" {
                add(&mut self.bindings, &target.destination.name, of_target);
            }
            take_sources(&mut self.bindings, target, namespace, of_target);
            for rule in rules(target) {
                match rule.kind.as_str() {
                    "HTTPRouteGroup" => add(&mut self.groups, &rule.name, of_target),
                    "TCPRoute" => add(&mut self.tcp_routes, &rule.name, of_target),
                    _ => {}
                }
            }
        }
    }
}

/// Every workload of the namespace holds all its destinations with their routes; others hold what they import.
fn of_splits(index: &Index, namespace: &str, plan: &NamespacePlan) -> BTreeMap<Arc<str>, Workloads> {
    if plan.splits.is_empty() {
        return BTreeMap::new();
    }
    let own = Workloads::new(workloads(index, namespace));
    let (everywhere, of_root) = elsewhere(index, namespace);
    plan.splits
        .iter()
        .map(|(split, root)| {
            let mut holders = own.clone();
            for others in [Some(&everywhere), of_root.get(root)].into_iter().flatten() {
                // Who may not call it has no routes of it.
                let told = others.iter().filter(|one| plan.may_call(one, root)).cloned();
                unite(&mut holders, &told.collect());
            }
            (split.clone(), holders)
        })
        .collect()
}

/// Workloads of other namespaces that hold every destination of a namespace, and those that hold one with its routes.
fn elsewhere(
    index: &Index,
    namespace: &str,
) -> (BTreeSet<Workload>, BTreeMap<DestinationName, BTreeSet<Workload>>) {
    let mut everywhere = BTreeSet::new();
    let mut of_root: BTreeMap<DestinationName, BTreeSet<Workload>> = BTreeMap::new();
    let importing = index
        .that_import(namespace)
        .filter(|other| ***other != *namespace);
    for workload in importing.flat_map(|other| workloads(index, other)) {
        let wanted = imports(index, &workload).into_iter().flatten();
        for (_, wanted) in wanted.filter(|(from, _)| from == namespace) {
            match wanted {
                Wanted::All => everywhere.insert(workload.clone()),
                Wanted::One(root) => of_root.entry(root).or_default().insert(workload.clone()),
            };
        }
    }
    (everywhere, of_root)
}

/// A target is held by the workloads whose pods it closes.
fn of_targets(
    index: &Index,
    namespace: &str,
    plan: &NamespacePlan,
    contents: &Contents,
) -> BTreeMap<Arc<str>, Workloads> {
    let all = workloads(index, namespace);
    let of_target = |target: &Target| {
        let closed = plan.access.destinations.get(&target.meta.name)?;
        let selected = contents
            .pods
            .values()
            .filter(|pod| {
                !closed.labels.is_empty() && pod.injected() && !pod.finished && closed.contains(pod)
            })
            .map(|pod| &pod.account);
        let holders = closed
            .accounts
            .iter()
            .chain(selected)
            .map(|account| Workload::new(namespace, account.clone()))
            .filter(|workload| all.contains(workload));
        Some((target.meta.name.clone(), Workloads::new(holders.collect())))
    };
    contents.targets.values().filter_map(of_target).collect()
}

/// The bindings of a namespace that a target names as sources.
fn take_sources(
    bindings: &mut BTreeMap<String, Workloads>,
    target: &Target,
    namespace: &str,
    of_target: &Workloads,
) {
    for source in &target.sources {
        let of = source.namespace.as_deref().unwrap_or(&target.meta.namespace);
        if source.kind == "IdentityBinding" && of == namespace {
            add(bindings, &source.name, of_target);
        }
    }
}

fn add(to: &mut BTreeMap<String, Workloads>, name: &str, more: &Workloads) {
    match to.get_mut(name) {
        Some(known) => unite(known, more),
        None => {
            to.insert(name.to_owned(), more.clone());
        }
    }
}

fn unite(known: &mut Workloads, more: &BTreeSet<Workload>) {
    if !more.is_subset(known) {
        Arc::make_mut(known).extend(more.iter().cloned());
    }
}

fn rules(target: &Target) -> &[Rule] {
    match &target.rules {
        Rules::Listed(rules) => rules,
        Rules::Nothing | Rules::Everything => &[],
    }
}

#[cfg(test)]
mod tests;
