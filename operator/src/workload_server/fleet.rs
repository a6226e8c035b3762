//! What every proxy has told: what it has in force, and which key signed its certificate.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use smilax_core::workload_connection::{Ack, CertificateInfo, Hello, Outcome, ProxyMessage, Subject};
use smilax_core::{Revision, Workload};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Bytes of a text of a proxy's that are kept.
const LONGEST_TEXT: usize = 512;

/// What one proxy has told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whose pod it is, by its certificate.
    pub workload: Workload,
    /// Name of the pod, by its own word.
    pub pod: String,
    /// Version of the proxy.
    pub version: String,
    /// Generation of the bundle in force.
    #[serde(default)]
    pub bundle: Option<u64>,
    /// Revision of the configuration in force.
    #[serde(default)]
    pub revision: Option<Revision>,
    /// What it did not take into force last, and why.
    #[serde(default)]
    pub rejected: Option<(Subject, String)>,
    /// The certificate that it uses.
    #[serde(default)]
    pub certificate: Option<CertificateInfo>,
    /// When its stream began, in seconds since the epoch.
    pub since: u64,
}

/// Reports by the UID of the pod. Pure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fleet(pub BTreeMap<Box<str>, Report>);

impl Report {
    /// From the beginning of a stream.
    pub fn new(workload: Workload, hello: Hello, since: u64) -> Self {
        Self {
            workload,
            pod: shortened(hello.pod),
            version: shortened(hello.version),
            bundle: hello.bundle,
            revision: hello.revision,
            rejected: None,
            certificate: hello.certificate,
            since,
        }
    }

    /// Takes in what the proxy says later.
    pub fn take(&mut self, message: ProxyMessage) {
        match message {
            ProxyMessage::Hello(hello) => {
                *self = Self::new(self.workload.clone(), hello, self.since);
            }
            ProxyMessage::Certificate(certificate) => self.certificate = Some(certificate),
            ProxyMessage::Subscribe(_) => {}
            ProxyMessage::Ack(Ack { subject, outcome }) => match outcome {
                Outcome::Applied => {
                    match subject {
                        Subject::Revision(revision) => self.revision = Some(revision),
                        Subject::Bundle(generation) => self.bundle = Some(generation),
                    }
                    self.rejected = None;
                }
                Outcome::Rejected { path, reason } => {
                    self.rejected = Some((subject, shortened(format!("{path}: {reason}"))));
                }
            },
        }
    }

    /// What both know of one proxy, whichever was heard first: bundles never go back, and of two certificates the one
    /// that lasts longer is the later.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let key = |report: &Self| (report.since, report.revision, report.pod.clone());
        let (newer, older) = if key(&self) >= key(&other) {
            (self, other)
        } else {
            (other, self)
        };
        let lasts = |certificate: &Option<CertificateInfo>| {
            certificate
                .as_ref()
                .map(|one| (one.not_after, one.issuer.clone()))
        };
        let certificate = if lasts(&newer.certificate) >= lasts(&older.certificate) {
            newer.certificate
        } else {
            older.certificate
        };
        Self {
            bundle: newer.bundle.max(older.bundle),
            certificate,
            ..newer
        }
    }
}

impl Fleet {
    /// Takes in what another replica heard.
    pub fn merge(&mut self, other: Self) {
        for (uid, report) in other.0 {
            let merged = match self.0.remove(&uid) {
                Some(known) => known.merge(report),
                None => report,
            };
            self.0.insert(uid, merged);
        }
    }
}

fn shortened(mut text: String) -> String {
    let end = (0..=LONGEST_TEXT.min(text.len()))
        .rev()
        .find(|&end| text.is_char_boundary(end));
    text.truncate(end.unwrap_or_default());
    text
}

/// The fleet as it is filled while the process runs.
#[derive(Debug)]
pub struct FleetStore {
    inner: Mutex<Inner>,
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Everything that was heard, here or there, of pods that may still live.
    known: Fleet,
    /// Streams that end here.
    streams: BTreeMap<Box<str>, (u64, CancellationToken)>,
    last: u64,
}

/// A stream's place. When it goes, so does the proxy's connectedness, but not what it told.
#[derive(Debug)]
pub(super) struct Place<'a> {
    store: &'a FleetStore,
    uid: Box<str>,
    number: u64,
    /// Cancelled when the pod opens another stream.
    pub(super) superseded: CancellationToken,
}

impl FleetStore {
    /// Nobody is known yet.
    #[allow(clippy::new_without_default, reason = "it is a place, not a value")]
    pub fn new() -> Self {
        Self {
            inner: Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// A pod's stream begins; an earlier one of the same pod ends.
    pub(super) fn begin(&self, uid: &str, report: Report) -> Place<'_> {
        let mut inner = self.inner.lock();
        inner.last += 1;
        let (number, superseded) = (inner.last, CancellationToken::new());
        let before = inner.streams.insert(uid.into(), (number, superseded.clone()));
        if let Some((_, before)) = before {
            before.cancel();
        }
        inner.known.0.insert(uid.into(), report);
        drop(inner);
        self.tell();
        Place {
            store: self,
            uid: uid.into(),
            number,
            superseded,
        }
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

    /// Takes in what another replica heard.
    pub fn merge(&self, other: Fleet) {
        self.inner.lock().known.merge(other);
        self.tell();
    }

    /// Forgets pods that are gone.
    pub fn retain(&self, lives: impl Fn(&str) -> bool) {
        let mut inner = self.inner.lock();
        let Inner { known, streams, .. } = &mut *inner;
        known.0.retain(|uid, _| streams.contains_key(uid) || lives(uid));
    }

    /// Rises with every change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }
}

impl Place<'_> {
    /// Takes in what the proxy says.
    pub(super) fn take(&self, message: ProxyMessage) {
        if let Some(report) = self.store.inner.lock().known.0.get_mut(&self.uid) {
            report.take(message);
        }
        self.store.tell();
    }
}

impl Drop for Place<'_> {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use smilax_core::workload_connection::KeyId;

    use super::*;

    fn report(bundle: u64, not_after: u64, since: u64) -> Report {
        Report {
            workload: Workload::new("shop", "web"),
            pod: "web-1".to_owned(),
            version: "1".to_owned(),
            bundle: Some(bundle),
            revision: None,
            rejected: None,
            certificate: Some(CertificateInfo {
                issuer: KeyId(format!("key {not_after}")),
                not_after,
            }),
            since,
        }
    }

    #[test]
    fn an_acknowledgement_counts_and_a_rejection_leaves_what_was_in_force() {
        let mut report = report(7, 1, 1);
        report.take(ProxyMessage::Ack(Ack {
            subject: Subject::Bundle(8),
            outcome: Outcome::Rejected {
                path: "roots".to_owned(),
                reason: "x".repeat(9999),
            },
        }));
        assert_eq!(report.bundle, Some(7));
        assert_eq!(report.rejected.as_ref().unwrap().1.len(), LONGEST_TEXT);
        report.take(ProxyMessage::Ack(Ack {
            subject: Subject::Bundle(8),
            outcome: Outcome::Applied,
        }));
        assert_eq!((report.bundle, &report.rejected), (Some(8), &None));
    }

    #[test]
    fn a_pods_new_stream_ends_its_old_one_and_the_old_ones_end_changes_nothing() {
        let store = FleetStore::new();
        let old = store.begin("u", report(1, 1, 1));
        let new = store.begin("u", report(2, 1, 2));
        assert!(old.superseded.is_cancelled() && !new.superseded.is_cancelled());
        drop(old);
        assert_eq!(store.connected().0["u"].bundle, Some(2));
        drop(new);
        assert_eq!(store.connected(), Fleet::default());
        assert_eq!(store.known().0["u"].bundle, Some(2), "what it told is still true");
        store.retain(|_| false);
        assert_eq!(store.known(), Fleet::default());
    }

    proptest! {
        #[test]
        fn what_replicas_tell_each_other_is_the_same_in_any_order(
            reports in prop::collection::vec((0u64..4, 0u64..4, 0u64..4), 1..6).prop_shuffle(),
        ) {
            let merged = |reports: &[(u64, u64, u64)]| {
                let mut fleet = Fleet::default();
                for &(bundle, not_after, since) in reports {
                    fleet.merge(Fleet(BTreeMap::from([("u".into(), report(bundle, not_after, since))])));
                }
                fleet
            };
            let mut reversed = reports.clone();
            reversed.reverse();
            prop_assert_eq!(merged(&reports), merged(&reversed));
            let highest = reports.iter().map(|(bundle, _, _)| *bundle).max();
            prop_assert_eq!(merged(&reports).0["u"].bundle, highest);
        }
    }
}
