//! What proxies wait for: compiles what is dirty and writes ConfigMaps. Never waits for what is only told.

use std::sync::Arc;

use tokio::time::Instant;

use super::batch::batch_of;
use super::retry::{Failed, Retry};
use super::{SETTLE, SETTLE_AT_MOST, TURN, Term, Writer, as_i64};
use crate::controller::change::{MapChange, Sequence};
use crate::controller::pace::Pace;
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
        let (mut retry, mut pace) = (Retry::default(), Pace::default());
        loop {
            tokio::select! {
                () = self.state.changed() => self.state.settled(SETTLE, SETTLE_AT_MOST).await,
                () = retry.due() => {}
            }
            for namespace in retry.take_due(Instant::now()) {
                self.state.read(|inner| inner.index.mark(&namespace));
            }
            let (failed, later) = self.pass(&mut compiling, &mut pace, term).await;
            retry.after(failed, Instant::now());
            for (namespace, at) in later {
                retry.wait(namespace, at);
            }
        }
    }

    /// Compiles what is dirty and writes what differs. Namespaces in which something failed come back, and those of which
    /// something was written too often, with the time when it may be written again.
    async fn pass(
        &self,
        compiling: &mut Compiling,
        pace: &mut Pace<(String, String)>,
        term: &Term,
    ) -> (Failed, Vec<(String, Instant)>) {
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
        let InPace { due, later } = in_pace(batch.maps, pace, Instant::now());
        self.write_maps(due, batch.integrity.as_deref(), term, &mut failed)
            .await;
        {
            let mut findings = term.findings.lock();
            for (namespace, found) in batch.findings {
                findings.set(&namespace, self.events.untold(&namespace, found));
            }
        }
        term.statuses_moved.notify_one();
        term.findings_moved.notify_one();
        if batch.more {
            // Whoever did not get a turn is next.
            self.state.update(|_| ());
        }
        (failed, later)
    }
}

/// Changes by when they may be written.
#[derive(Debug, Default)]
struct InPace {
    /// Now, each with its namespace.
    due: Vec<(String, MapChange)>,
    /// Namespaces of those that wait, and until when.
    later: Vec<(String, Instant)>,
}

/// What may be written now, and when the rest of it may: what is compiled then is newer.
fn in_pace(maps: Vec<(String, MapChange)>, pace: &mut Pace<(String, String)>, now: Instant) -> InPace {
    let mut sorted = InPace::default();
    for (namespace, change) in maps {
        let key = (namespace, change.name().to_owned());
        match pace.allows(&key, now) {
            Ok(()) => {
                pace.spend(key.clone(), now);
                sorted.due.push((key.0, change));
            }
            Err(at) => sorted.later.push((key.0, at)),
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::pace::{MOST, WINDOW};

    fn change(name: &str) -> (String, MapChange) {
        let change = MapChange::Delete {
            name: name.to_owned(),
            resource_version: "1".to_owned(),
        };
        ("shop".to_owned(), change)
    }

    #[test]
    fn f16_a_configuration_that_changes_without_end_waits_and_others_do_not() {
        let (now, mut pace) = (Instant::now(), Pace::default());
        for _ in 0..MOST {
            assert_eq!(in_pace(vec![change("smilax-hot")], &mut pace, now).due.len(), 1);
        }
        let both = vec![change("smilax-hot"), change("smilax-other")];
        let InPace { due, later } = in_pace(both, &mut pace, now);
        let names: Vec<&str> = due.iter().map(|(_, change)| change.name()).collect();
        assert_eq!(names, ["smilax-other"]);
        assert_eq!(later, [("shop".to_owned(), now + WINDOW)]);
    }
}
