//! What one proxy has told, and what several replicas know of it. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use smilax_core::workload_connection::{
    Ack, CertificateInfo, Hello, MOST_LEARNED, Outcome, ProxyMessage, Subject,
};
use smilax_core::{ObjectRef, Revision, Workload};

use super::said::said;

/// What one proxy has told. Replicas tell it each other, also those of another version: a field may be added, never
/// changed.
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
    /// What it did not take into force last, and why; a configuration before a bundle.
    #[serde(default)]
    pub rejected: Option<(Subject, String)>,
    /// The certificate that it uses.
    #[serde(default)]
    pub certificate: Option<CertificateInfo>,
    /// The objects that it enforces because it looked up addresses, each with its generation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learned: Vec<ObjectRef>,
    /// When its stream began, in seconds since the epoch.
    pub since: u64,
    /// When the revision in force, or what is rejected, last became another, in seconds since the epoch, as far as this
    /// is known.
    #[serde(default)]
    pub changed: Option<u64>,
    /// Place among the reports of one second.
    #[serde(default)]
    pub place: Place,
}

/// Which of two reports about streams that began in the same second is the later one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// Milliseconds of that second when the stream began.
    pub millis: u16,
    /// Messages that were heard on it.
    pub heard: u64,
}

/// Reports by the UID of the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fleet(pub BTreeMap<Box<str>, Report>);

/// A time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// Seconds since the epoch.
    pub seconds: u64,
    /// Milliseconds of that second.
    pub millis: u16,
}

impl Moment {
    /// This one.
    pub fn now() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            seconds: now.as_secs(),
            millis: u16::try_from(now.subsec_millis()).unwrap_or_default(),
        }
    }
}

impl Report {
    /// From the beginning of a stream.
    pub fn new(workload: Workload, hello: Hello, now: Moment) -> Self {
        Self {
            workload,
            pod: said(&hello.pod),
            version: said(&hello.version),
            bundle: hello.bundle,
            revision: hello.revision,
            rejected: None,
            certificate: hello.certificate,
            learned: bounded(hello.learned),
            since: now.seconds,
            changed: None,
            place: Place {
                millis: now.millis,
                heard: 0,
            },
        }
    }

    /// Takes in what the proxy says later.
    pub fn take(&mut self, message: ProxyMessage, now: Moment) {
        let before = (self.revision, self.rejected.clone());
        match message {
            ProxyMessage::Hello(hello) => {
                let (since, place, changed) = (self.since, self.place, self.changed);
                *self = Self {
                    since,
                    place,
                    changed,
                    rejected: self.rejected.take(),
                    ..Self::new(self.workload.clone(), hello, now)
                };
            }
            ProxyMessage::Certificate(certificate) => self.certificate = Some(certificate),
            ProxyMessage::Learned(learned) => self.learned = bounded(learned),
            ProxyMessage::Subscribe(_) => {}
            ProxyMessage::Ack(Ack { subject, outcome }) => match outcome {
                Outcome::Applied => match subject {
                    Subject::Revision(revision) => self.revision = Some(revision),
                    Subject::Bundle(generation) => self.bundle = Some(generation),
                },
                Outcome::Rejected { path, reason } => {
                    let counts_more = matches!(
                        (self.outstanding(), subject),
                        (Some((Subject::Revision(_), _)), Subject::Bundle(_))
                    );
                    if !counts_more {
                        self.rejected = Some((subject, said(&format!("{path}: {reason}"))));
                    }
                }
            },
        }
        if self.outstanding().is_none() {
            self.rejected = None;
        }
        self.place.heard = self.place.heard.saturating_add(1);
        if before != (self.revision, self.rejected.clone()) {
            self.changed = Some(now.seconds);
        }
    }

    /// What it did not take into force, and has taken nothing later of the same kind since.
    pub fn outstanding(&self) -> Option<&(Subject, String)> {
        self.rejected.as_ref().filter(|(subject, _)| match subject {
            Subject::Revision(revision) => self.revision < Some(*revision),
            Subject::Bundle(generation) => self.bundle < Some(*generation),
        })
    }

    /// The revision that it did not take into force, and why.
    pub fn rejected_revision(&self) -> Option<(Revision, &str)> {
        match self.outstanding()? {
            (Subject::Revision(revision), reason) => Some((*revision, reason)),
            (Subject::Bundle(_), _) => None,
        }
    }

    /// What was heard on an earlier stream and still holds on this one.
    pub(super) fn carry_over(&mut self, before: &Self) {
        if self.rejected.is_none() {
            self.rejected.clone_from(&before.rejected);
        }
        if self.outstanding().is_none() {
            self.rejected = None;
        }
        if self.revision == before.revision {
            self.changed = before.changed;
        }
    }

    /// What both know of one proxy, whichever was heard first: bundles never go back, of two certificates the one that
    /// lasts longer is the later, and a rejection holds until something later is in force, on whichever stream it was
    /// told.
    #[must_use]
    pub fn merge(self, other: Self) -> Self {
        let key = |report: &Self| {
            let when = (report.since, report.place, report.revision, report.changed);
            (when, report.pod.clone(), report.version.clone())
        };
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
        let rejected = if rank(newer.rejected.as_ref()) >= rank(older.rejected.as_ref()) {
            newer.rejected
        } else {
            older.rejected
        };
        Self {
            bundle: newer.bundle.max(older.bundle),
            certificate,
            rejected,
            ..newer
        }
    }
}

/// Rejections in the order of what counts: configurations before bundles, then the later one.
fn rank(rejected: Option<&(Subject, String)>) -> Option<(Option<Revision>, u64, Reverse<&str>)> {
    rejected.map(|(subject, reason)| match subject {
        Subject::Revision(revision) => (Some(*revision), 0, Reverse(reason.as_str())),
        Subject::Bundle(generation) => (None, *generation, Reverse(reason.as_str())),
    })
}

fn bounded(mut learned: Vec<ObjectRef>) -> Vec<ObjectRef> {
    learned.truncate(MOST_LEARNED);
    learned
}
