//! What users read: statuses and Events. Beside the policy, and within a budget: a thousand statuses hold no policy up,
//! and do not flood the API server.

use smilax_core::ObjectRef;
use tokio::time::Instant;

use super::budget::Budget;
use super::retry::{Cause, Failed, Retry, until};
use super::{ACKNOWLEDGED, Term, Writer, as_i64};
use crate::controller::acknowledgement::Told;
use crate::controller::events::Outcome;
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
    /// Tells what is new, for as long as this process leads.
    pub(super) async fn tell(&self, term: &Term) {
        let mut retry = Retry::default();
        let mut seen = Seen::default();
        let mut budget = Budget::default();
        let mut told = self.fleet.changes();
        told.mark_changed();
        // Acknowledgements come in bursts, and hold nothing else up.
        let mut acknowledged: Option<Instant> = None;
        loop {
            let waits = !term.findings.lock().is_empty() || term.statuses.lock().is_waiting();
            let turn = waits.then(|| budget.next(Instant::now()));
            let later = term.statuses.lock().next();
            tokio::select! {
                () = term.compiled.notified() => {}
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
                term.findings.lock().look_again(&namespace);
            }
            self.hear(term, &mut seen);
            let failed = self.tell_some(term, &mut budget).await;
            let untold = !term.findings.lock().is_empty();
            let statuses = term.statuses.lock();
            self.metrics.statuses_waiting.set(as_i64(statuses.waiting()));
            if untold || statuses.is_waiting() {
                // What was to be tried again may wait for its turn yet.
                retry.failed(failed, Instant::now());
            } else {
                retry.after(failed, Instant::now());
            }
        }
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

    /// Tells as much as the budget allows; a finding beside the statuses, so that neither keeps the other silent.
    /// Namespaces in which something failed come back.
    async fn tell_some(&self, term: &Term, budget: &mut Budget) -> Failed {
        let mut failed = Failed::new();
        let statuses = budget.statuses(Instant::now());
        let writes = self.write_statuses(term, statuses, &mut failed).await;
        budget.spend(writes, Instant::now());
        if statuses > 0 {
            let finding = term.findings.lock().take();
            if let Some((namespace, finding)) = finding {
                let told = self.events.about(&namespace, &finding).await;
                budget.spend(told.writes, Instant::now());
                // What may not be told comes back when its namespace is compiled again.
                if matches!(told.outcome, Outcome::Failed | Outcome::Silence) {
                    failed.entry(namespace.to_string()).or_insert(Cause::Refused);
                    term.findings.lock().postpone(namespace, finding);
                }
            }
        }
        failed
    }
}
