//! The fleet as it is filled while the process runs.

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use prometheus::Histogram;
use smilax_core::Revision;
use smilax_core::workload_connection::ProxyMessage;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::report::{Fleet, Moment, Report};

/// The fleet as it is filled while the process runs.
#[derive(Debug)]
pub struct FleetStore {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
    /// How long it takes from the write of a revision to an acknowledgement, in seconds.
    lag: Option<Histogram>,
    clock: fn() -> Moment,
}

/// Revisions whose acknowledgements are timed.
const TIMED: usize = 4096;

#[derive(Debug, Default)]
struct Inner {
    /// Everything that was heard, here or there, of pods that may still live.
    known: Fleet,
    /// Streams that end here.
    streams: BTreeMap<Box<str>, (u64, CancellationToken)>,
    last: u64,
    log: Log,
    /// When this process began to write a revision.
    written: BTreeMap<Revision, Instant>,
}

/// Which reports changed, in order; each stands there once, where it changed last.
#[derive(Debug, Default)]
struct Log {
    order: BTreeMap<u64, Box<str>>,
    places: HashMap<Box<str>, u64>,
    last: u64,
}

impl Log {
    fn put(&mut self, uid: &str) {
        self.remove(uid);
        self.last += 1;
        self.order.insert(self.last, uid.into());
        self.places.insert(uid.into(), self.last);
    }

    fn remove(&mut self, uid: &str) {
        if let Some(place) = self.places.remove(uid) {
            self.order.remove(&place);
        }
    }

    fn after(&self, seen: Seen) -> impl Iterator<Item = &Box<str>> {
        self.order.range(seen.0.saturating_add(1)..).map(|(_, uid)| uid)
    }
}

/// How far somebody has read the changes of a store. Begins with nothing read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u64);

/// A stream's place. When it goes, so does the proxy's connectedness, but not what it told.
#[derive(Debug)]
pub(in crate::workload_server) struct StreamPlace<'a> {
    store: &'a FleetStore,
    uid: Box<str>,
    number: u64,
    /// Cancelled when the pod opens another stream.
    pub(in crate::workload_server) superseded: CancellationToken,
}

impl FleetStore {
    /// Nobody is known yet.
    #[allow(clippy::new_without_default, reason = "it is a place, not a value")]
    pub fn new() -> Self {
        Self {
            inner: Mutex::default(),
            changed: watch::Sender::new(0),
            lag: None,
            clock: Moment::now,
        }
    }

    /// The same, with a histogram of how long it takes from the write of a revision to each acknowledgement, in seconds.
    pub fn timed(lag: Histogram) -> Self {
        Self {
            lag: Some(lag),
            ..Self::new()
        }
    }

    /// The same, by another clock than that of this machine.
    #[must_use]
    pub fn on_clock(self, clock: fn() -> Moment) -> Self {
        Self { clock, ..self }
    }

    /// What time it is for those who report here.
    pub(in crate::workload_server) fn now(&self) -> Moment {
        (self.clock)()
    }

    /// This process begins to write a revision.
    pub fn is_written(&self, revision: Revision) {
        let mut inner = self.inner.lock();
        inner.written.insert(revision, Instant::now());
        if inner.written.len() > TIMED {
            inner.written.pop_first();
        }
    }

    fn time(&self, inner: &Inner, before: Option<Revision>, after: Option<Revision>) {
        if before != after
            && let Some(written) = after.and_then(|revision| inner.written.get(&revision))
            && let Some(lag) = &self.lag
        {
            lag.observe(written.elapsed().as_secs_f64());
        }
    }

    /// A pod's stream begins; an earlier one of the same pod ends.
    pub(in crate::workload_server) fn begin(&self, uid: &str, mut report: Report) -> StreamPlace<'_> {
        let mut inner = self.inner.lock();
        inner.last += 1;
        let (number, superseded) = (inner.last, CancellationToken::new());
        let before = inner.streams.insert(uid.into(), (number, superseded.clone()));
        if let Some((_, before)) = before {
            before.cancel();
        }
        if let Some(before) = inner.known.0.get(uid) {
            report.carry_over(before);
        }
        inner.known.0.insert(uid.into(), report);
        inner.log.put(uid);
        drop(inner);
        self.tell();
        StreamPlace {
            store: self,
            uid: uid.into(),
            number,
            superseded,
        }
    }

    /// How many proxies are known.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks that")]
    pub fn len(&self) -> usize {
        self.inner.lock().known.0.len()
    }

    /// What is known of every proxy.
    pub fn known(&self) -> Fleet {
        self.inner.lock().known.clone()
    }

    /// What is known of the proxies whose stream ends here.
    pub fn connected(&self) -> Fleet {
        let inner = self.inner.lock();
        let connected = inner.streams.keys().filter_map(|uid| {
            let report = inner.known.0.get(uid)?;
            Some((uid.clone(), report.clone()))
        });
        Fleet(connected.collect())
    }

    /// What changed of all proxies since `seen`, which then stands at the end.
    pub fn news(&self, seen: &mut Seen) -> Fleet {
        self.changed_since(seen, |_, _| true)
    }

    /// What changed of the proxies whose stream ends here since `seen`, which then stands at the end.
    pub fn news_of_connected(&self, seen: &mut Seen) -> Fleet {
        self.changed_since(seen, |inner, uid| inner.streams.contains_key(uid))
    }

    fn changed_since(&self, seen: &mut Seen, concerns: impl Fn(&Inner, &str) -> bool) -> Fleet {
        let inner = self.inner.lock();
        let changed = inner.log.after(*seen).filter(|uid| concerns(&inner, uid));
        let reports = changed.filter_map(|uid| Some((uid.clone(), inner.known.0.get(uid)?.clone())));
        let fleet = Fleet(reports.collect());
        *seen = Seen(inner.log.last);
        fleet
    }

    /// Takes in what another replica heard.
    pub fn merge(&self, other: Fleet) {
        let mut inner = self.inner.lock();
        let before = inner.log.last;
        for (uid, report) in other.0 {
            let known = inner.known.0.get(&uid);
            let merged = match known.cloned() {
                Some(known) => known.merge(report),
                None => report,
            };
            if known != Some(&merged) {
                let before = known.and_then(|known| known.revision);
                self.time(&inner, before, merged.revision);
                inner.log.put(&uid);
                inner.known.0.insert(uid, merged);
            }
        }
        let changed = inner.log.last != before;
        drop(inner);
        if changed {
            self.tell();
        }
    }

    /// Forgets pods that are gone.
    pub fn retain(&self, mut lives: impl FnMut(&str) -> bool) {
        let mut inner = self.inner.lock();
        let Inner {
            known, streams, log, ..
        } = &mut *inner;
        known.0.retain(|uid, _| {
            let kept = streams.contains_key(uid) || lives(uid);
            if !kept {
                log.remove(uid);
            }
            kept
        });
    }

    /// Rises with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl StreamPlace<'_> {
    /// Takes in what the proxy says.
    pub(in crate::workload_server) fn take(&self, message: ProxyMessage) {
        let mut inner = self.store.inner.lock();
        if let Some(report) = inner.known.0.get_mut(&self.uid) {
            let before = report.revision;
            report.take(message, self.store.now());
            let after = report.revision;
            inner.log.put(&self.uid);
            self.store.time(&inner, before, after);
        }
        drop(inner);
        self.store.tell();
    }
}

impl Drop for StreamPlace<'_> {
    fn drop(&mut self) {
        let mut inner = self.store.inner.lock();
        if inner
            .streams
            .get(&self.uid)
            .is_some_and(|(number, _)| *number == self.number)
        {
            inner.streams.remove(&self.uid);
        }
        drop(inner);
        self.store.tell();
    }
}
