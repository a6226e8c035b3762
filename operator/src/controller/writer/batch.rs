//! What one pass wants to write. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smilax_compiler::{Diagnostic, Reason, compile, status, workloads};
use smilax_core::convention::config_map_name;
use smilax_core::{ProxyConfig, Workload};

use super::policy::Compiling;
use crate::controller::change::{MapChange, map_changes};
use crate::controller::findings::Finding;
use crate::controller::integrity::Integrity;
use crate::controller::report;
use crate::controller::state::Inner;
use crate::controller::statuses::Statuses;

/// Everything that one pass over the dirty namespaces wants to write.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) maps: Vec<(String, MapChange)>,
    pub(super) dirty: usize,
    /// ConfigMaps that somebody else wrote.
    pub(super) tampered: u64,
    pub(super) findings: Vec<(Arc<str>, Vec<Finding>)>,
    /// Whether some namespaces wait for the next pass.
    pub(super) more: bool,
    /// Who judged what is stored, and so signs what is written: another signer has not seen what it is compared with.
    pub(super) integrity: Option<Arc<Integrity>>,
}

/// Compiles dirty namespaces, those first whose turn it is, until it is `enough`, and compares with what is stored. The
/// others, and those that are not known whole yet, stay dirty.
pub(super) fn batch_of(
    inner: &mut Inner,
    compiling: &mut Compiling,
    statuses: &mut Statuses,
    enough: impl Fn() -> bool,
) -> Batch {
    let Compiling { sequence, pods, last } = compiling;
    let mut batch = Batch {
        integrity: inner.integrity().cloned(),
        ..Batch::default()
    };
    // Proxies would refuse what is signed for another trust domain than it names. A signer for the new one is on its way.
    let trust_domain = &inner.index.settings().trust_domain;
    let of_another = |integrity: &Arc<Integrity>| integrity.trust_domain() != trust_domain;
    if batch.integrity.as_ref().is_some_and(of_another) {
        return batch;
    }
    let all = inner.index.take_dirty();
    batch.dirty = all.len();
    let mut dirty = BTreeSet::new();
    let mut concerned = BTreeSet::new();
    for namespace in in_turn(&all, last.as_ref()) {
        if inner.is_incomplete(namespace) {
            inner.index.mark(namespace);
            continue;
        }
        if !dirty.is_empty() && enough() {
            inner.index.mark(namespace);
            batch.more = true;
            continue;
        }
        dirty.insert(namespace.clone());
        *last = Some(namespace.clone());
        pods.look_at(&inner.index, namespace);
        let before = inner.oversize.take(namespace);
        let mut desired: BTreeMap<String, ProxyConfig> = BTreeMap::new();
        let mut findings = Vec::new();
        for workload in workloads(&inner.index, namespace) {
            let (config, diagnostics) = compile(&mut inner.index, &workload);
            desired.insert(config_map_name(&workload.account), config);
            findings.extend(
                diagnostics
                    .into_iter()
                    .map(|one| Finding::about(&inner.index, one)),
            );
        }
        // In a namespace that is gone there is nothing to put right.
        if inner.index.namespace(namespace).is_some() {
            let stored = inner.maps.get(&**namespace).cloned().unwrap_or_default();
            sequence.raise(inner.verified_revision());
            let compared = map_changes(&stored, &desired, inner.bundle(), sequence);
            for (workload, revision) in &compared.kept {
                statuses.known.is_stored(workload, *revision);
            }
            for change in compared.changes {
                if let MapChange::Apply {
                    workload,
                    revision: Some(_),
                    ..
                } = &change
                {
                    statuses.known.is_behind(workload);
                }
                batch.maps.push((namespace.to_string(), change));
            }
            for (workload, message) in compared.tampered {
                batch.tampered += 1;
                findings.push(Finding::about(&inner.index, tampered(&workload, message)));
            }
            for (error, fitted) in &compared.too_large {
                let told = inner.oversize.insert(fitted, error);
                findings.push(Finding::about(&inner.index, told));
            }
            let services = smilax_compiler::plaintext_only(&inner.index, namespace);
            findings.extend(services.into_iter().map(|one| Finding::about(&inner.index, one)));
            findings.extend(
                report::findings(&inner.index, namespace)
                    .into_iter()
                    .map(Finding::Pod),
            );
        } else {
            inner.forget_revisions(namespace);
        }
        batch.findings.push((namespace.clone(), findings));
        concerned.extend(inner.oversize.changed(namespace, &before));
    }
    // The objects of a configuration that cannot be kept may be of other namespaces.
    dirty.append(&mut concerned);
    // Others elsewhere may hold them now.
    dirty.append(&mut inner.index.take_held_elsewhere());
    // Of those whose groups are not all measured yet, nothing true can be said. They come again.
    dirty.retain(|namespace| {
        let incomplete = inner.is_incomplete(namespace);
        if incomplete {
            inner.index.mark(namespace);
        }
        !incomplete
    });
    for namespace in &dirty {
        let mut all = Vec::new();
        // In one that is gone there is nothing left to be told.
        if inner.index.namespace(namespace).is_some() {
            let findings = inner.oversize.findings(namespace);
            all = status::statuses(&mut inner.index, namespace);
            for status in &mut all {
                status.add_withheld(&findings);
            }
        }
        statuses.set(namespace, all, &inner.objects);
    }
    for namespace in inner.take_moved_pods() {
        pods.look_at(&inner.index, &namespace);
        statuses
            .known
            .set_pods(&namespace, inner.counted_pods(&namespace));
    }
    batch
}

fn tampered(workload: &Workload, message: String) -> Diagnostic {
    let Workload { namespace, account } = workload.clone();
    Diagnostic::about("ServiceAccount", namespace, account, Reason::Tampered, message)
}

/// All of them, beginning behind the last whose turn it was.
fn in_turn<'a>(all: &'a BTreeSet<Arc<str>>, last: Option<&Arc<str>>) -> Vec<&'a Arc<str>> {
    let (before, after): (Vec<_>, Vec<_>) = all
        .iter()
        .partition(|namespace| last.is_some_and(|last| *namespace <= last));
    after.into_iter().chain(before).collect()
}

#[cfg(test)]
mod tests;
