//! Findings to conditions and Events.
//!
//! Conditions are Gateway API's: `Accepted`, `ResolvedRefs`, `Programmed`, and `Ready` for tools that wait for one
//! word. The status remembers which findings Events have reported ([`REPORTED`]): after a restart nothing is told twice.

mod columns;
mod conditions;
mod enforcement;
mod ready;
mod telling;
mod uninjected;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smilax_core::{ObjectRef, Workload};

use crate::callers::Callers;
use crate::diagnostic::{Diagnostic, FindingId};
use crate::holders::{Holders, Workloads};
use crate::index::{Contents, Index};
use crate::model::Meta;
use crate::plan::{Effect, NamespacePlan, object};

use uninjected::UninjectedPods;

pub use conditions::{Condition, ConditionStatus, Stored, merge};
pub use enforcement::{Enforcement, Knowledge, MOST_NAMED, Rejection, differs_in_count_only};
pub use telling::{MOST_EVENTS, announcements};
pub use uninjected::Uninjected;

/// Field of the status with the identities of the findings that Events have reported.
pub const REPORTED: &str = "reported";

/// What an object's status should say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredStatus {
    /// The object.
    pub object: ObjectRef,
    /// Its conditions, in the order in which they are shown.
    pub conditions: Vec<Condition>,
    /// Printer columns that a list could not show otherwise, by field of status.
    pub columns: BTreeMap<&'static str, String>,
    /// What it does as it stands.
    effect: Effect,
    /// Findings about it.
    pub diagnostics: Vec<Diagnostic>,
    /// Those that Events have reported, as far as they still hold.
    pub reported: BTreeSet<FindingId>,
    /// The workloads whose configurations contain it.
    pub holders: Workloads,
    /// Other workloads that it counts for: their proxies learn it when they look up the address of what it is about.
    pub learners: Callers,
    /// Pods that should enforce it and have no proxy.
    pub uninjected: Uninjected,
}

/// The status of every SMI object of a namespace, as if no proxy had told anything yet.
pub fn statuses(index: &mut Index, namespace: &str) -> Vec<DesiredStatus> {
    let plan = index.plan(namespace);
    let holders = Holders::of(index, namespace);
    let Some(contents) = index.contents(namespace) else {
        return Vec::new();
    };
    let uninjected = UninjectedPods::of(index, namespace, contents, &plan);
    let mut proxies = Proxies {
        index,
        counted: BTreeMap::new(),
    };
    let mut all = Vec::new();
    let mut add = |kind, meta: &Meta, columns: &[(&'static str, String)]| {
        let status = Unsettled {
            object: object(kind, meta),
            holders: holders.get(kind, &meta.name),
            uninjected: uninjected.get(kind, &meta.name),
            columns: columns.iter().cloned().collect(),
        };
        all.push(status.desired(&mut proxies, &plan, contents));
    };
    for split in contents.splits.values() {
        add(
            "TrafficSplit",
            &split.meta,
            &[("backends", columns::backends(split))],
        );
    }
    for group in contents.groups.values() {
        let names = columns::joined(group.matches.iter().map(|one| one.name.clone()));
        add("HTTPRouteGroup", &group.meta, &[("matches", names)]);
    }
    for target in contents.targets.values() {
        let columns = [
            ("sources", columns::sources(target)),
            ("rules", columns::rules(target)),
        ];
        add("TrafficTarget", &target.meta, &columns);
    }
    for binding in contents.bindings.values() {
        let columns = [("identities", columns::identities(binding))];
        add("IdentityBinding", &binding.meta, &columns);
    }
    for route in contents.tcp_routes.values() {
        add(
            "TCPRoute",
            &route.meta,
            &[("ports", columns::ports(&route.ports))],
        );
    }
    for route in contents.udp_routes.values() {
        add(
            "UDPRoute",
            &route.meta,
            &[("ports", columns::ports(&route.ports))],
        );
    }
    all
}

impl DesiredStatus {
    /// Whether the strings in a stored status are those that it should have.
    pub fn columns_match(&self, stored: &BTreeMap<String, String>) -> bool {
        let reported = stored.get(REPORTED).map_or("", String::as_str);
        reported == joined(&self.reported)
            && self
                .columns
                .iter()
                .all(|(name, text)| stored.get(*name).is_some_and(|one| one == text))
    }

    /// Takes in what Events have reported: what the stored status remembers, and what was told since it was written.
    pub fn recall(&mut self, stored: &BTreeMap<String, String>, told: &BTreeSet<FindingId>) {
        let remembered = stored.get(REPORTED).map_or("", String::as_str);
        let remembered: BTreeSet<FindingId> = FindingId::list(remembered).collect();
        let is_reported = |one: &FindingId| remembered.contains(one) || told.contains(one);
        let all = telling::announcements(&self.diagnostics);
        self.reported = all.iter().map(Diagnostic::id).filter(is_reported).collect();
    }

    /// What Events have yet to report: each finding by itself, while they are few.
    pub fn untold(&self) -> Vec<Diagnostic> {
        let mut all = telling::announcements(&self.diagnostics);
        all.retain(|one| !self.reported.contains(&one.id()));
        all
    }

    /// The strings of the status, by field.
    pub fn texts(&self) -> BTreeMap<String, String> {
        let reported = (!self.reported.is_empty()).then(|| (REPORTED.to_owned(), joined(&self.reported)));
        self.columns
            .iter()
            .map(|(name, text)| ((*name).to_owned(), text.clone()))
            .chain(reported)
            .collect()
    }

    /// Adds findings that are made only when the configurations of the proxies are written. What they say of other
    /// objects is left out.
    pub fn add_withheld<'a>(&mut self, findings: impl IntoIterator<Item = &'a Diagnostic>) {
        let about = findings
            .into_iter()
            .filter(|one| one.object.is_same_object(&self.object));
        self.diagnostics.extend(about.cloned());
        conditions::withhold(&mut self.conditions, &self.diagnostics);
    }

    /// Says how far the proxies that hold it are, as far as that is known, and in keeping with what is stored.
    pub fn settle(&mut self, enforcement: &Enforcement, stored: &[Stored], knowledge: Knowledge) {
        conditions::program(
            &mut self.conditions,
            &self.diagnostics,
            self.effect,
            enforcement,
            &self.uninjected,
            stored,
            knowledge,
        );
        conditions::withhold(&mut self.conditions, &self.diagnostics);
    }
}

fn joined(ids: &BTreeSet<FindingId>) -> String {
    let ids: Vec<String> = ids.iter().map(FindingId::to_string).collect();
    ids.join(" ")
}

/// An object, and what there is to enforce it.
struct Unsettled {
    object: ObjectRef,
    holders: Workloads,
    uninjected: Uninjected,
    columns: BTreeMap<&'static str, String>,
}

impl Unsettled {
    fn desired(self, proxies: &mut Proxies<'_>, plan: &NamespacePlan, contents: &Contents) -> DesiredStatus {
        let diagnostics: Vec<Diagnostic> = plan.diagnostics_of(&self.object).cloned().collect();
        let effect = plan.effect(&self.object);
        let enforcement = Enforcement {
            of: self.holders.iter().map(|workload| proxies.of(workload)).sum(),
            ..Enforcement::default()
        };
        DesiredStatus {
            learners: learners(&self.object, plan, contents),
            conditions: conditions::of(
                self.object.generation,
                &diagnostics,
                effect,
                &enforcement,
                &self.uninjected,
            ),
            object: self.object,
            effect,
            columns: self.columns,
            diagnostics,
            reported: BTreeSet::new(),
            holders: self.holders,
            uninjected: self.uninjected,
        }
    }
}

/// Who may call the root of a split learns the split with it, and the groups that the split refers to; nothing else is learned
/// that way. What others claim to have learned does not count.
fn learners(object: &ObjectRef, plan: &NamespacePlan, contents: &Contents) -> Callers {
    let of_split = |name: &Arc<str>| {
        let root = plan.splits.get(name)?;
        Some(plan.callers.get(root).cloned().unwrap_or(Callers::All))
    };
    match &*object.kind {
        "TrafficSplit" => of_split(&object.name).unwrap_or_else(Callers::none),
        "HTTPRouteGroup" => {
            let mut learners = Callers::none();
            for split in contents.splits.values().filter(|one| one.refers_to(&object.name)) {
                if let Some(callers) = of_split(&split.meta.name) {
                    learners.add(&callers);
                }
            }
            learners
        }
        _ => Callers::none(),
    }
}

/// Pods with a proxy that have not ended, counted once for each namespace that is asked for.
struct Proxies<'a> {
    index: &'a Index,
    counted: BTreeMap<Arc<str>, BTreeMap<Arc<str>, usize>>,
}

impl Proxies<'_> {
    fn of(&mut self, workload: &Workload) -> usize {
        let index = self.index;
        let accounts = self.counted.entry(workload.namespace.clone());
        let accounts = accounts.or_insert_with(|| {
            let mut counted = BTreeMap::new();
            let contents = index.contents(&workload.namespace);
            let pods = contents.map(|contents| contents.pods.values());
            for pod in pods.into_iter().flatten() {
                if pod.injected() && !pod.finished {
                    *counted.entry(pod.account.clone()).or_default() += 1;
                }
            }
            counted
        });
        accounts.get(&workload.account).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
