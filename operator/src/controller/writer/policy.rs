//! What proxies wait for: compiles what is dirty and writes ConfigMaps. Never waits for what is only told.

use std::sync::Arc;

use tokio::time::Instant;

use super::batch::batch_of;
use super::retry::{Failed, Retry};
use super::{SETTLE, SETTLE_AT_MOST, TURN, Term, Writer, as_i64};
use crate::controller::change::Sequence;
use crate::controller::report::PodCounts;

/// What the compiling half of a term remembers.
#[derive(Debug)]
pub(super) struct Compiling {
    pub(super) sequence: Sequence,
    pub(super) pods: PodCounts,
    /// The namespace whose turn it was.
    pub(super) last: Option<Arc<str>>,
}

impl Writer {
    /// Compiles and writes what differs, for as long as this process leads.
    pub(super) async fn write_policy(&self, mut compiling: Compiling, term: &Term) {
        // What failed waits for its time without holding up what did not.
        let mut retry = Retry::default();
        loop {
            tokio::select! {
                () = self.state.changed() => self.state.settled(SETTLE, SETTLE_AT_MOST).await,
                () = retry.due() => {}
            }
            for namespace in retry.take_due(Instant::now()) {
                self.state.read(|inner| inner.index.mark(&namespace));
            }
            let failed = self.pass(&mut compiling, term).await;
            retry.after(failed, Instant::now());
        }
    }

    /// Compiles what is dirty and writes what differs. Namespaces in which something failed come back.
    async fn pass(&self, compiling: &mut Compiling, term: &Term) -> Failed {
        let mut failed = Failed::new();
        let timer = self.metrics.compile_seconds.start_timer();
        let begin = Instant::now();
        let batch = self.state.read(|inner| {
            batch_of(inner, compiling, &mut term.statuses.lock(), || {
                begin.elapsed() > TURN
            })
        });
        timer.observe_duration();
        self.show_pods(compiling.pods.all());
        self.metrics.tampered.inc_by(batch.tampered);
        self.metrics.dirty_namespaces.set(as_i64(batch.dirty));
        self.show_sizes();
        self.write_maps(batch.maps, batch.integrity.as_deref(), term, &mut failed)
            .await;
        {
            let mut findings = term.findings.lock();
            for (namespace, found) in batch.findings {
                let untold = found.into_iter().filter(|one| !self.events.is_told(one));
                findings.set(&namespace, untold);
            }
        }
        term.compiled.notify_one();
        if batch.more {
            // Whoever did not get a turn is next.
            self.state.update(|_| ());
        }
        failed
    }
}
