//! Findings to conditions and Events.
//!
//! Conditions are Gateway API's: `Accepted`, `ResolvedRefs`, `Programmed`, and `Ready` for tools that wait for one
//! word. Every finding stands in some condition's message, so what was told before can be read off the object: after
//! a restart nothing is told twice.

mod columns;
mod conditions;
mod used;

use std::collections::BTreeMap;

use smilax_core::ObjectRef;

use crate::compile::concerned_workloads;
use crate::diagnostic::{Diagnostic, Severity};
use crate::index::Index;
use crate::model::Meta;
use crate::plan::{NamespacePlan, object};

use used::Used;

pub use conditions::{Condition, ConditionStatus, Stored, merge, untold};

/// What an object's status should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredStatus {
    /// The object.
    pub object: ObjectRef,
    /// Its conditions, in the order in which they are shown.
    pub conditions: Vec<Condition>,
    /// Printer columns that a list could not show otherwise, by field of status.
    pub columns: BTreeMap<&'static str, String>,
    /// Findings about it, for Events.
    pub diagnostics: Vec<Diagnostic>,
}

/// How far the proxies that hold an object are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Not in force, so there is nothing to wait for.
    NotAccepted,
    /// No proxy holds it.
    NoProxies,
    /// Written for proxies that have not said that they enforce it.
    Pending,
}

/// The status of every SMI object of a namespace.
pub fn statuses(index: &mut Index, namespace: &str) -> Vec<DesiredStatus> {
    let plan = index.plan(namespace);
    let has_proxies = has_proxies(index, namespace);
    let used = Used::of(index, namespace);
    let Some(contents) = index.contents(namespace) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    let mut add = |kind, meta, held, columns: &[(&'static str, String)]| {
        all.push(desired(
            &plan,
            kind,
            meta,
            held,
            columns.iter().cloned().collect(),
        ));
    };
    for split in contents.splits.values() {
        let held = has_proxies && plan.splits.contains_key(&split.meta.name);
        add(
            "TrafficSplit",
            &split.meta,
            held,
            &[("backends", columns::backends(split))],
        );
    }
    for group in contents.groups.values() {
        let in_split = contents.splits.values().any(|split| {
            plan.splits.contains_key(&split.meta.name)
                && split
                    .matches
                    .iter()
                    .any(|reference| *reference.name == *group.meta.name)
        });
        let held = (has_proxies && in_split) || used.groups.contains(&*group.meta.name);
        let names = columns::joined(group.matches.iter().map(|one| one.name.clone()));
        add("HTTPRouteGroup", &group.meta, held, &[("matches", names)]);
    }
    for target in contents.targets.values() {
        let held = used.targets.contains(&target.meta.name);
        let columns = [
            ("sources", columns::sources(target)),
            ("rules", columns::rules(target)),
        ];
        add("TrafficTarget", &target.meta, held, &columns);
    }
    for binding in contents.bindings.values() {
        let held = used.bindings.contains(&*binding.meta.name);
        let columns = [("identities", columns::identities(binding))];
        add("IdentityBinding", &binding.meta, held, &columns);
    }
    for route in contents.tcp_routes.values() {
        let held = used.tcp_routes.contains(&*route.meta.name);
        add(
            "TCPRoute",
            &route.meta,
            held,
            &[("ports", columns::ports(&route.ports))],
        );
    }
    for route in contents.udp_routes.values() {
        add(
            "UDPRoute",
            &route.meta,
            false,
            &[("ports", columns::ports(&route.ports))],
        );
    }
    all
}

impl DesiredStatus {
    /// Adds findings that are made only when the configurations of the proxies are written. What they say of other
    /// objects is left out.
    pub fn add_withheld<'a>(&mut self, findings: impl IntoIterator<Item = &'a Diagnostic>) {
        let about = findings.into_iter().filter(|one| {
            (&one.object.kind, &one.object.namespace, &one.object.name)
                == (&self.object.kind, &self.object.namespace, &self.object.name)
        });
        self.diagnostics.extend(about.cloned());
        conditions::withhold(&mut self.conditions, &self.diagnostics);
    }
}

fn has_proxies(index: &Index, namespace: &str) -> bool {
    concerned_workloads(index, namespace).iter().any(|workload| {
        index.contents(&workload.namespace).is_some_and(|contents| {
            contents
                .pods
                .values()
                .any(|pod| pod.injected() && !pod.finished && pod.account == workload.account)
        })
    })
}

fn desired(
    plan: &NamespacePlan,
    kind: &str,
    meta: &Meta,
    held: bool,
    columns: BTreeMap<&'static str, String>,
) -> DesiredStatus {
    let object = object(kind, meta);
    let diagnostics: Vec<Diagnostic> = plan
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.object == object)
        .cloned()
        .collect();
    let rejected = diagnostics
        .iter()
        .any(|one| one.reason.severity() == Severity::Rejected);
    // A finding that leaves part of a split out does not undo the rest: it is in force as long as a proxy may hold it.
    let progress = match (rejected && !held, held) {
        (true, _) => Progress::NotAccepted,
        (false, false) => Progress::NoProxies,
        (false, true) => Progress::Pending,
    };
    DesiredStatus {
        conditions: conditions::of(meta.generation, &diagnostics, progress),
        object,
        columns,
        diagnostics,
    }
}

#[cfg(test)]
mod tests;
