//! Writes what was compiled: ConfigMaps, status, Events. Only while leading, only what differs, each with a timeout.

mod batch;
mod maps;
mod outcome;
mod retry;
mod status;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::acknowledgement::Told;
use super::change::Sequence;
use super::events::Events;
use super::report;
use super::state::State;
use super::statuses::Statuses;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::workload_server::{FleetStore, Seen};
use batch::{Batch, batch_of};
use retry::{Failed, Retry, until};

pub(crate) use status::condition_json;

/// Field manager of every server-side apply of ours.
pub const FIELD_MANAGER: &str = "smilax-operator";
/// How long a burst of changes is gathered after its last one.
const SETTLE: Duration = Duration::from_millis(5);
/// How long a burst may hold a write back in all.
const SETTLE_AT_MOST: Duration = Duration::from_millis(50);
/// How long acknowledgements are gathered.
const ACKNOWLEDGED: Duration = Duration::from_millis(200);
/// How many calls are under way at once.
const CONCURRENCY: usize = 8;

/// The shell around the compiler.
pub struct Writer {
    /// What was seen.
    pub state: Arc<State>,
    /// Access to the API server.
    pub client: Client,
    /// Whether this process may write.
    pub leadership: watch::Receiver<Leadership>,
    /// Where Events go.
    pub events: Events,
    /// What is counted.
    pub metrics: Metrics,
    /// What proxies told.
    pub fleet: Arc<FleetStore>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("leadership", &self.leadership)
            .finish_non_exhaustive()
    }
}

/// What a leader remembers for as long as it leads.
#[derive(Debug)]
struct Term {
    sequence: Sequence,
    statuses: Statuses,
    /// What was heard of the fleet.
    seen: Seen,
    pods: report::PodCounts,
}

/// What one pass has to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dirty {
    /// What was seen of the cluster.
    Objects,
    /// Only what proxies told, and what waited for its time.
    Acknowledgements,
}

impl Writer {
    /// Writes until shutdown, whenever this process leads.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let term = tokio::select! {
                () = shutdown.cancelled() => return,
                term = self.until_leading() => term,
            };
            let Some(term) = term else { return };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.lead(term) => tracing::info!("no longer leading; writing stopped"),
            }
        }
    }

    async fn until_leading(&mut self) -> Option<u64> {
        loop {
            if let Leadership::Leader { term } = *self.leadership.borrow_and_update() {
                return Some(term);
            }
            self.leadership.changed().await.ok()?;
        }
    }

    /// One term of leadership; returns when it ends.
    async fn lead(&mut self, term: u64) {
        let mut leadership = self.leadership.clone();
        let lost = async move {
            while matches!(*leadership.borrow_and_update(), Leadership::Leader { .. }) {
                if leadership.changed().await.is_err() {
                    return;
                }
            }
        };
        let work = async {
            while !self.state.unlisted().is_empty() {
                self.state.changed().await;
            }
            let sequence = self.state.update(|inner| {
                inner.mark_all();
                inner.mark_all_pods();
                Sequence::new(term, inner.highest_revision())
            });
            let mut term_state = Term {
                sequence,
                statuses: Statuses::new(Instant::now()),
                seen: Seen::default(),
                pods: report::PodCounts::default(),
            };
            tracing::info!(term, "leading; writing what differs");
            // What failed waits for its time without holding up what did not.
            let mut retry = Retry::default();
            let mut told = self.fleet.changes();
            told.mark_changed();
            // Acknowledgements come in bursts, and hold nothing else up.
            let mut acknowledged: Option<Instant> = None;
            loop {
                let mut dirty = tokio::select! {
                    () = self.state.changed() => {
                        self.state.settled(SETTLE, SETTLE_AT_MOST).await;
                        Dirty::Objects
                    }
                    () = retry.due() => Dirty::Objects,
                    Ok(()) = told.changed(), if acknowledged.is_none() => {
                        acknowledged = Some(Instant::now() + ACKNOWLEDGED);
                        continue;
                    }
                    () = until(acknowledged) => Dirty::Acknowledgements,
                    () = until(term_state.statuses.next()) => Dirty::Acknowledgements,
                };
                if acknowledged.is_some_and(|due| due <= Instant::now()) {
                    acknowledged = None;
                    told.mark_unchanged();
                }
                for namespace in retry.take_due(Instant::now()) {
                    self.state.read(|inner| inner.index.mark(&namespace));
                    dirty = Dirty::Objects;
                }
                let failed = self.pass(&mut term_state, dirty).await;
                retry.after(failed, Instant::now());
            }
        };
        tokio::select! {
            () = lost => {}
            () = work => {}
        }
    }

    /// Compiles what is dirty and writes what differs. Namespaces in which something failed come back.
    async fn pass(&self, term: &mut Term, dirty: Dirty) -> Failed {
        let mut failed = Failed::new();
        let mut batch = Batch::default();
        if dirty == Dirty::Objects {
            let timer = self.metrics.compile_seconds.start_timer();
            batch = self.state.read(|inner| batch_of(inner, term));
            timer.observe_duration();
            self.show_pods(term.pods.all());
            self.metrics.dirty_namespaces.set(as_i64(batch.dirty));
            self.show_sizes();
            let maps = std::mem::take(&mut batch.maps);
            self.write_maps(maps, &mut term.statuses, &mut failed).await;
        }
        for (uid, report) in self.fleet.news(&mut term.seen).0 {
            let rejected = report.rejected_revision();
            let told = Told {
                revision: report.revision,
                rejected: rejected.map(|(revision, reason)| (revision, reason.to_owned())),
            };
            term.statuses.known.tell(&uid, told);
        }
        self.write_statuses(&mut term.statuses, &mut failed).await;
        self.metrics.statuses_waiting.set(as_i64(term.statuses.waiting()));
        self.events.about_accounts(&batch.about_accounts).await;
        for finding in &batch.about_pods {
            self.events.about_pod(finding).await;
        }
        failed
    }

    fn show_pods(&self, pods: report::PodCount) {
        self.metrics.injected_pods.set(as_i64(pods.injected));
        self.metrics.uninjected_pods.set(as_i64(pods.uninjected));
    }

    fn show_sizes(&self) {
        let (maps, objects) = self.state.read(|inner| {
            let maps = inner.maps.values().map(BTreeMap::len).sum();
            (maps, inner.objects.len())
        });
        for (what, count) in [
            ("ConfigMaps", maps),
            ("SMI objects", objects),
            ("proxies", self.fleet.len()),
        ] {
            self.metrics.kept.with_label_values(&[what]).set(as_i64(count));
        }
    }
}

fn as_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
