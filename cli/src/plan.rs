//! `smilax plan`: what applying objects would change, decided by compiling every account before and after.

mod admission;
pub(crate) mod facts;
mod overlay;
mod print;
mod reach;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::bail;
use clap_complete::ArgValueCompleter;
use serde_json::Value;
use smilax_compiler::index::Index;
use smilax_compiler::{Diagnostic, compile, workloads};
use smilax_core::Workload;
use smilax_core::config::InboundPolicy;

use crate::complete;
use crate::output::OutputArgs;
use crate::world::World;
use facts::Facts;
use reach::ReachChange;

pub(crate) use overlay::applied;
pub(crate) use print::{json, table};

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    /// Files or directories with the objects to apply: YAML or JSON; - is standard input.
    #[arg(
        short = 'f',
        long = "filename",
        required = true,
        value_name = "FILE",
        value_delimiter = ','
    )]
    pub(crate) files: Vec<PathBuf>,
    /// Files or directories with the objects that are there already, in place of a cluster. A Deployment or another workload
    /// counts as one pod with a sidecar.
    #[arg(long, value_name = "FILE", value_delimiter = ',')]
    pub(crate) against: Vec<PathBuf>,
    /// Namespace of objects that name none [default: that of the kubeconfig].
    #[arg(short = 'n', long, value_name = "NAMESPACE", add = ArgValueCompleter::new(complete::namespaces))]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Accounts whose configuration changes, by name.
    pub(crate) accounts: Vec<AccountChange>,
    /// Accounts that have a configuration afterwards.
    pub(crate) known: usize,
    /// Findings about objects that come.
    pub(crate) appearing: Vec<Diagnostic>,
    /// Findings about objects that go.
    pub(crate) disappearing: Vec<Diagnostic>,
}

/// What would change for the proxies of one account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountChange {
    pub(crate) workload: Workload,
    /// Pods that run a proxy under this account.
    pub(crate) pods: usize,
    pub(crate) change: Change,
    /// Who gains and who loses the right to call them.
    pub(crate) reach: ReachChange,
}

/// How a configuration changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// There was none.
    Added,
    /// There is none any more.
    Removed,
    /// In these places.
    Changed(Vec<Difference>),
}

/// One place where a configuration changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Which part: a port of a destination, or calls to the pods.
    pub(crate) subject: String,
    /// What of it.
    pub(crate) aspect: String,
    pub(crate) before: Option<String>,
    pub(crate) after: Option<String>,
}

impl Plan {
    /// Compares what two states of the cluster compile to.
    pub(crate) fn between(before: &mut World, after: &mut World) -> Self {
        let (old, old_findings) = compiled(before);
        let (new, new_findings) = compiled(after);
        let all: BTreeSet<&Workload> = old.keys().chain(new.keys()).collect();
        let callers: BTreeSet<Workload> = all.iter().copied().cloned().collect();
        let accounts = all
            .into_iter()
            .filter_map(|workload| {
                let mut reach = ReachChange::default();
                let (change, index) = match (old.get(workload), new.get(workload)) {
                    (None, _) => (Change::Added, &after.index),
                    (_, None) => (Change::Removed, &before.index),
                    (Some(old), Some(new)) if old.facts == new.facts => return None,
                    (Some(old), Some(new)) => {
                        reach = ReachChange::between(&old.inbound, &new.inbound, &callers);
                        (Change::Changed(differences(&old.facts, &new.facts)), &after.index)
                    }
                };
                Some(AccountChange {
                    workload: workload.clone(),
                    pods: pods(index, workload),
                    change,
                    reach,
                })
            })
            .collect();
        Self {
            accounts,
            known: new.len(),
            appearing: new_findings.difference(&old_findings).cloned().collect(),
            disappearing: old_findings.difference(&new_findings).cloned().collect(),
        }
    }

    /// Whether nothing would change, neither for a proxy nor in what is found wrong.
    pub(crate) fn is_empty(&self) -> bool {
        self.accounts.is_empty() && self.appearing.is_empty() && self.disappearing.is_empty()
    }
}

/// What the proxies of an account would be told.
struct Compiled {
    facts: Facts,
    inbound: Vec<InboundPolicy>,
}

/// What the proxies of every account would be told, and what would be found wrong with objects.
fn compiled(world: &mut World) -> (BTreeMap<Workload, Compiled>, BTreeSet<Diagnostic>) {
    let mut all = BTreeMap::new();
    let mut findings = BTreeSet::new();
    for namespace in world.namespaces.clone() {
        findings.extend(world.index.plan(&namespace).diagnostics.iter().cloned());
        for workload in workloads(&world.index, &namespace) {
            let (config, found) = compile(&mut world.index, &workload);
            findings.extend(found);
            let facts = facts::of(&config);
            let inbound = config.inbound;
            all.insert(workload, Compiled { facts, inbound });
        }
    }
    // The same finding about a later generation is the same to a reader.
    let findings = findings
        .into_iter()
        .map(|mut finding| {
            finding.object.generation = 0;
            finding
        })
        .collect();
    (all, findings)
}

fn differences(old: &Facts, new: &Facts) -> Vec<Difference> {
    let places: BTreeSet<_> = old.keys().chain(new.keys()).collect();
    places
        .into_iter()
        .filter(|place| old.get(*place) != new.get(*place))
        .map(|place| Difference {
            subject: place.subject.clone(),
            aspect: place.aspect.clone(),
            before: old.get(place).cloned(),
            after: new.get(place).cloned(),
        })
        .collect()
}

fn pods(index: &Index, workload: &Workload) -> usize {
    index
        .contents(&workload.namespace)
        .into_iter()
        .flat_map(|contents| contents.pods.values())
        .filter(|pod| pod.injected() && !pod.finished && pod.account == workload.account)
        .count()
}

/// The plan for objects that somebody wrote, against others of the same kind.
///
/// # Errors
/// An object that cannot be read.
pub(crate) fn written(against: Vec<Value>, files: Vec<Value>, namespace: &str) -> anyhow::Result<Plan> {
    let nothing = against.is_empty();
    let before = overlay::there(applied(Vec::new(), against, namespace)?);
    let after = planned(before.clone(), files, namespace)?;
    if nothing {
        bail!("--against holds no object to compare with; without it, the plan is made against the cluster");
    }
    Ok(Plan::between(
        &mut World::written(before)?,
        &mut World::written(after)?,
    ))
}

/// Objects as they would be, once the others are found worth applying.
fn planned(there: Vec<Value>, files: Vec<Value>, namespace: &str) -> anyhow::Result<Vec<Value>> {
    if files.is_empty() {
        bail!("the files hold no object to plan");
    }
    admission::judge(&applied(Vec::new(), files.clone(), namespace)?)?;
    applied(there, files, namespace)
}

/// The plan for objects that somebody wrote, against those of a cluster.
///
/// # Errors
/// As [`written`].
pub(crate) fn live(cluster: Vec<Value>, files: Vec<Value>, namespace: &str) -> anyhow::Result<Plan> {
    let after = planned(cluster.clone(), files, namespace)?;
    Ok(Plan::between(
        &mut World::live(cluster)?,
        &mut World::live(after)?,
    ))
}

#[cfg(test)]
mod tests;
