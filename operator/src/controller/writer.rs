//! Writes what was compiled: ConfigMaps, status, Events. Only while leading, only what differs, each with a timeout.
//!
//! Three parts run beside each other: the policy, which traffic waits for, statuses, and Events. The latter two keep within
//! a budget each.

mod batch;
mod budget;
mod maps;
mod outcome;
mod policy;
mod retry;
mod status;
mod telling;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::change::Sequence;
use super::events::Events;
use super::findings::Findings;
use super::report::{PodCount, PodCounts};
use super::state::State;
use super::statuses::Statuses;
use crate::lease::Leadership;
use crate::metrics::Metrics;
use crate::workload_server::FleetStore;
use policy::Compiling;

pub(crate) use status::condition_json;

/// Field manager of every server-side apply of ours.
pub const FIELD_MANAGER: &str = "smilax-operator";
/// How long a burst of changes is gathered after its last one.
const SETTLE: Duration = Duration::from_millis(5);
/// How long a burst may hold a write back in all.
const SETTLE_AT_MOST: Duration = Duration::from_millis(50);
/// How long namespaces are compiled in one pass, before others see what changed meanwhile.
const TURN: Duration = Duration::from_millis(200);
/// How long acknowledgements are gathered.
const ACKNOWLEDGED: Duration = Duration::from_millis(200);
/// How long a new leader waits for somebody who signs.
const SIGNER_TIME: Duration = Duration::from_secs(5);
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

/// What the parts of a leader share for as long as it leads.
///
/// Locks are taken in this order: that of the [`State`], of the statuses, of the findings.
#[derive(Debug)]
struct Term {
    statuses: Mutex<Statuses>,
    findings: Mutex<Findings>,
    /// Statuses are to be looked at.
    statuses_moved: Notify,
    /// Findings are to be told.
    findings_moved: Notify,
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
            self.show_nothing();
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
            // What is written before anybody can sign it would be written twice.
            let signed = async {
                while self.state.read(|inner| !inner.knows_signer()) {
                    self.state.changed().await;
                }
            };
            if timeout(SIGNER_TIME, signed).await.is_err()
                || self.state.read(|inner| inner.integrity().is_none())
            {
                tracing::warn!(
                    "there is no authority that signs configurations; they are written without a signature"
                );
            }
            let sequence = self.state.update(|inner| {
                inner.mark_all();
                inner.mark_all_pods();
                Sequence::new(term, inner.highest_revision())
            });
            let compiling = Compiling {
                sequence,
                pods: PodCounts::default(),
                last: None,
            };
            let shared = Term {
                statuses: Mutex::new(Statuses::new(Instant::now())),
                findings: Mutex::default(),
                statuses_moved: Notify::new(),
                findings_moved: Notify::new(),
            };
            tracing::info!(term, "leading; writing what differs");
            tokio::join!(
                self.write_policy(compiling, &shared),
                self.tell_statuses(&shared),
                self.tell_events(&shared)
            );
        };
        tokio::select! {
            () = lost => {}
            () = work => {}
        }
    }

    /// What only a leader shows is nothing for another, so that nobody is woken by what a former leader saw.
    fn show_nothing(&self) {
        self.show_pods(PodCount::default());
        self.metrics.dirty_namespaces.set(0);
        self.metrics.statuses_waiting.set(0);
        self.metrics.kept.reset();
    }

    fn show_pods(&self, pods: PodCount) {
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

#[cfg(test)]
mod tests;
