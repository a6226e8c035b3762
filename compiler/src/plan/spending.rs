//! What the rules of a namespace may take in the configurations of its workloads, as text.
//!
//! A match is repeated for every target, split and port that uses it, in the configuration of every account, so a group
//! that is small by itself may be large there. What an account enforces and what it carries out have budgets of their own:
//! routes cannot keep a right from being taken away. Older objects come first.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use super::{NamespacePlan, Routes, Scope, by_age, object};
use crate::diagnostic::{Diagnostic, Reason};
use crate::model::Split;

/// What the routes of a namespace may take, in bytes of text.
pub(super) const MOST_OF_ROUTES: usize = 1536 * 1024;
/// What the targets about one account may take, in bytes of text.
pub(super) const MOST_OF_ACCOUNT: usize = 512 * 1024;
/// What the targets about labels may take, which every account of the namespace has, in bytes of text.
pub(super) const MOST_OF_LABELS: usize = 256 * 1024;

/// Bytes that something takes as text.
pub(super) fn text_size(value: &impl Serialize) -> usize {
    struct Counter(usize);
    impl Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // Counting does not fail, and strings, numbers and lists can be written.
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX / 4,
    }
}

/// Takes out the routes of the younger splits, as far as the routes of the namespace are too large in all.
pub(super) fn limit_routes(scope: &Scope<'_>, routes: &mut Routes, plan: &mut NamespacePlan) {
    let mut sizes: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    for route in routes.values().flat_map(BTreeMap::values).flatten() {
        *sizes.entry(route.source.name.clone()).or_default() += text_size(route);
    }
    if sizes.values().sum::<usize>() <= MOST_OF_ROUTES {
        return;
    }
    let mut splits: Vec<&Split> = scope.contents.splits.values().collect();
    by_age(&mut splits);
    let mut size = 0;
    let mut over = BTreeSet::new();
    for split in splits {
        let more = sizes.get(&split.meta.name).copied().unwrap_or_default();
        if more == 0 {
            continue;
        }
        if size + more <= MOST_OF_ROUTES {
            size += more;
            continue;
        }
        over.insert(split.meta.name.clone());
        plan.splits.remove(&split.meta.name);
        plan.diagnostics.insert(Diagnostic {
            object: object("TrafficSplit", &split.meta),
            reason: Reason::OverBudget,
            message: format!(
                "its routes take {} KiB, and with those of the older splits of the namespace more than the {} KiB that there \
                 are, so it is not carried out; refer to fewer or smaller HTTPRouteGroups, or split fewer ports",
                more.div_ceil(1024),
                MOST_OF_ROUTES / 1024
            ),
        });
    }
    for route in routes.values_mut().flat_map(BTreeMap::values_mut) {
        route.retain(|route| !over.contains(&route.source.name));
    }
}

/// What targets may still take, by whom they are about.
#[derive(Debug, Default)]
pub(super) struct Enforced {
    accounts: BTreeMap<Arc<str>, usize>,
    labels: usize,
}

impl Enforced {
    /// Whether a target of this size fits wherever it is to stand. It then takes its room.
    pub(super) fn take(&mut self, closed: &super::Closed, size: usize) -> Fits {
        let of_account = |account: &Arc<str>| self.accounts.get(account).copied().unwrap_or_default();
        let accounts = closed
            .accounts
            .iter()
            .all(|account| of_account(account) + size <= MOST_OF_ACCOUNT);
        let labels = size.saturating_mul(closed.labels.len());
        if !accounts || self.labels.saturating_add(labels) > MOST_OF_LABELS {
            return Fits::No;
        }
        for account in &closed.accounts {
            *self.accounts.entry(account.clone()).or_default() += size;
        }
        self.labels += labels;
        Fits::Yes
    }
}

/// Whether something fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fits {
    /// It does.
    Yes,
    /// It does not.
    No,
}
