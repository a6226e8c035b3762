//! What users read: statuses and Events. Beside the policy, each within a budget of its own: a thousand statuses hold no
//! policy up, a thousand Events no status, and neither floods the API server.

use smilax_core::ObjectRef;
use tokio::time::Instant;

use super::budget::Budget;
use super::retry::{Cause, Failed, Retry, until};
use super::{ACKNOWLEDGED, Term, Writer, as_i64};
use crate::controller::acknowledgement::Told;
use crate::controller::events::Outcome;
use crate::controller::findings::Finding;
use crate::controller::kinds::SmiKind;
use crate::controller::state::ObjectKey;
use crate::workload_server::{Seen, said};

/// The object that was learned, and its generation.
fn learned(object: &ObjectRef) -> Option<(ObjectKey, i64)> {
    let kind = SmiKind::from_kind(&object.kind)?;
    let key = (kind, object.namespace.clone(), object.name.clone());
    Some((key, object.generation))
}

impl Writer {
    /// Writes statuses that are due, for as long as this process leads.
    pub(super) async fn tell_statuses(&self, term: &Term) {
        let mut retry = Retry::default();
        let mut seen = Seen::default();
        let mut budget = Budget::of_statuses();
        let mut told = self.fleet.changes();
        told.mark_changed();
        // Acknowledgements come in bursts, and hold nothing else up.
        let mut acknowledged: Option<Instant> = None;
        loop {
            let waits = term.statuses.lock().is_waiting();
            let turn = waits.then(|| budget.next(Instant::now()));
            let later = term.statuses.lock().next();
            tokio::select! {
                () = term.statuses_moved.notified() => {}
                () = retry.due() => {}
                Ok(()) = told.changed(), if acknowledged.is_none() => {
                    acknowledged = Some(Instant::now() + ACKNOWLEDGED);
                    continue;
                }
                () = until(acknowledged) => {}
                () = until(later) => {}
                () = until(turn) => {}
            }
            if acknowledged.is_some_and(|due| due <= Instant::now()) {
                acknowledged = None;
                told.mark_unchanged();
            }
            for namespace in retry.take_due(Instant::now()) {
                term.statuses.lock().look_again(&namespace);
            }
            self.hear(term, &mut seen);
            let mut failed = Failed::new();
            let most = budget.turn(Instant::now());
            let writes = self.write_statuses(term, most, &mut failed).await;
            budget.spend(writes, Instant::now());
            announce(term);
            let statuses = term.statuses.lock();
            self.metrics.statuses_waiting.set(as_i64(statuses.waiting()));
            if statuses.is_waiting() {
                // What was to be tried again may wait for its turn yet.
                retry.failed(failed, Instant::now());
            } else {
                retry.after(failed, Instant::now());
            }
        }
    }

    /// Writes Events, one after the other, for as long as this process leads.
    pub(super) async fn tell_events(&self, term: &Term) {
        let mut retry = Retry::default();
        let mut budget = Budget::of_events();
        loop {
            let now = Instant::now();
            let next = term.findings.lock().next(now);
            let turn = next.map(|at| at.max(budget.next(now)));
            tokio::select! {
                () = term.findings_moved.notified() => {}
                () = retry.due() => {}
                () = until(turn) => {}
            }
            for namespace in retry.take_due(Instant::now()) {
                term.findings.lock().look_again(&namespace);
            }
            let mut failed = Failed::new();
            if budget.turn(Instant::now()) > 0 {
                let writes = self.tell_next(term, &mut failed).await;
                budget.spend(writes, Instant::now());
            }
            if term.findings.lock().is_empty() {
                retry.after(failed, Instant::now());
            } else {
                retry.failed(failed, Instant::now());
            }
        }
    }

    /// Tells the finding whose turn it is. How many writes that took.
    async fn tell_next(&self, term: &Term, failed: &mut Failed) -> usize {
        let next = term.findings.lock().take(Instant::now());
        let Some((namespace, finding)) = next else {
            return 0;
        };
        let told = self.events.about(&namespace, &finding).await;
        match told.outcome {
            Outcome::Failed | Outcome::Silence => {
                failed.insert(namespace.to_string(), Cause::Refused);
                let mut findings = term.findings.lock();
                findings.settled();
                findings.postpone(namespace, finding);
            }
            // Nothing is gained by telling again what may not be told.
            Outcome::Told | Outcome::Refused => settle(term, &finding),
        }
        told.writes
    }

    /// Takes in what proxies told.
    fn hear(&self, term: &Term, seen: &mut Seen) {
        let news = self.fleet.news(seen).0;
        let mut statuses = term.statuses.lock();
        for (uid, report) in news {
            let rejected = report.rejected_revision();
            let told = Told {
                revision: report.revision,
                rejected: rejected.map(|(revision, reason)| (revision, said(reason))),
                learned: report.learned.iter().filter_map(learned).collect(),
            };
            statuses.known.tell(&uid, told);
        }
    }
}

/// Hands over what Events are to tell of the objects whose statuses were looked at.
fn announce(term: &Term) {
    let mut statuses = term.statuses.lock();
    let untold = statuses.take_untold();
    if untold.is_empty() {
        return;
    }
    let mut findings = term.findings.lock();
    for (key, found) in untold {
        findings.set_object(key, found);
    }
    term.findings_moved.notify_one();
}

/// The status of the object is to remember that a finding was told, once nothing more is to be told of it.
fn settle(term: &Term, finding: &Finding) {
    let mut statuses = term.statuses.lock();
    let mut findings = term.findings.lock();
    findings.settled();
    let Finding::Smi { key, .. } = finding else {
        return;
    };
    statuses.told(finding);
    if !findings.waits(key) {
        statuses.look_at(key.clone());
        term.statuses_moved.notify_one();
    }
}
