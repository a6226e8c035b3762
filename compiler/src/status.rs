//! Findings to conditions and Events.
//!
//! Conditions are Gateway API's: `Accepted`, `ResolvedRefs`, `Programmed`, and `Ready` for tools that wait for one
//! word. Every finding stands in some condition's message, so what was told before can be read off the object: after
//! a restart nothing is told twice.

mod conditions;

use std::collections::BTreeMap;

use smilax_core::ObjectRef;

use crate::compile::concerned_workloads;
use crate::diagnostic::{Diagnostic, Severity};
use crate::index::Index;
use crate::model::{Meta, Split};
use crate::plan::{NamespacePlan, object};

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
    let Some(contents) = index.contents(namespace) else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for split in contents.splits.values() {
        let held = has_proxies && plan.splits.contains_key(&split.meta.name);
        all.push(desired(
            &plan,
            "TrafficSplit",
            &split.meta,
            held,
            BTreeMap::from([("backends", backends(split))]),
        ));
    }
    for group in contents.groups.values() {
        let used = contents.splits.values().any(|split| {
            plan.splits.contains_key(&split.meta.name)
                && split
                    .matches
                    .iter()
                    .any(|reference| *reference.name == *group.meta.name)
        });
        let names: Vec<&str> = group.matches.iter().map(|one| one.name.as_str()).collect();
        let columns = BTreeMap::from([("matches", names.join(" "))]);
        all.push(desired(
            &plan,
            "HTTPRouteGroup",
            &group.meta,
            has_proxies && used,
            columns,
        ));
    }
    for one in contents.unsupported.values() {
        all.push(desired(
            &plan,
            one.kind.as_str(),
            &one.meta,
            false,
            BTreeMap::new(),
        ));
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

fn backends(split: &Split) -> String {
    let shares: Vec<String> = split
        .backends
        .iter()
        .map(|backend| format!("{}={}", backend.service, backend.weight))
        .collect();
    shares.join(" ")
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
