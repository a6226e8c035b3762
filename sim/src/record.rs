//! What was seen in a run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smilax_core::{Resource, Revision, Workload};

/// What was seen in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Policies in the order in which they were written.
    pub written: Vec<Written>,
    /// Whose proxy every pod had, by its UID.
    pub pods: BTreeMap<String, Workload>,
    /// Policies in force, as soon as they were.
    pub in_force: Vec<InForce>,
    /// What the client that is no proxy heard.
    pub heard: Vec<Heard>,
    /// How things stood in the end.
    pub end: End,
}

/// A policy that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// When.
    pub at: Duration,
    /// Whose it is.
    pub workload: Workload,
    /// Its revision.
    pub revision: Revision,
    /// Whether it can be used.
    pub usable: Usable,
}

/// Whether a policy can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usable {
    /// It can.
    Yes,
    /// Every proxy must reject it.
    No,
}

/// A policy in force in a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Since when.
    pub at: Duration,
    /// UID of the pod.
    pub uid: String,
    /// Whose policy it is, by its own word.
    pub workload: Workload,
    /// Its revision.
    pub revision: Revision,
}

/// A message that the client that is no proxy heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// When.
    pub at: Duration,
    /// On which of its streams.
    pub stream: u64,
    /// What.
    pub message: Message,
}

/// What a message was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// The stream began; this was asked for, and this revision was named.
    Began(Option<Revision>, BTreeSet<Resource>),
    /// Whom to trust.
    Bundle(u64),
    /// Who the members of bindings are.
    Members,
    /// Where the pod is.
    Locality,
    /// A policy.
    Policy(Workload, Revision),
    /// Something that was asked for.
    Update(Resource),
}

/// How things stood in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// How long it took after the last fault until everything was as it should be; `None` when it never was.
    pub settled: Option<Duration>,
    /// What was still missing, when it never was.
    pub missing: Vec<String>,
    /// Messages, by kind, that were sent while nothing changed.
    pub idle: BTreeMap<String, u64>,
    /// Policies that were sent when every proxy had come back to another replica and nothing had changed.
    pub resent: u64,
}
