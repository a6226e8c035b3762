//! What has to happen to the authority, and when. Pure.

use std::fmt;
use std::str::FromStr;

use smilax_core::workload_connection::KeyId;
use time::{Duration, OffsetDateTime};

use super::material::{Authority, Given, Rotation, Signer};

/// A root this near to its end hands over even when some pod has not acknowledged the next: to wait on would be worse.
const LAST_CALL: Duration = Duration::days(30);

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing to do.
    Keep,
    /// A change is under way, and waits.
    Wait(Vec<Blocker>),
    /// A later generation than ours was seen: go behind it, so that proxies do not take ours for an old one.
    Raise,
    /// Let the mesh trust another root beside the one in use.
    Announce {
        /// Where it comes from.
        next: Next,
        /// The request that asked for it.
        request: Option<String>,
    },
    /// Sign with a new issuer below the same root.
    Reissue {
        /// Where it comes from.
        next: Next,
        /// The request that asked for it.
        request: Option<String>,
    },
    /// Let the issuer of the announced root sign.
    HandOver {
        /// A request that makes it go on without waiting.
        request: Option<String>,
    },
    /// Forget what was before: every pod has a certificate of the present issuer.
    Finish {
        /// A request that makes it go on without waiting.
        request: Option<String>,
    },
}

/// Where the next authority comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is made here.
    SelfMade,
    /// The user gives it.
    Given(Given),
}

/// Who decides what the mesh is signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The operator.
    SelfMade,
    /// The user, by a Secret; `None` while that cannot be used.
    Given(Option<Given>),
}

/// What is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The root, and with it the issuer.
    Root,
    /// The issuer only.
    Issuer,
}

/// Whether a change waits for every pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It does.
    Wait,
    /// It does not: pods that have not acknowledged lose their connections until they have.
    Force,
}

/// What somebody asked for, written `root/<id>` or `issuer/<id>`, and `/force` behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is to be changed.
    pub target: Target,
    /// Tells one request from the next.
    pub id: String,
    /// Whether it waits.
    pub patience: Patience,
}

/// What a Ready pod with a proxy has told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodState {
    /// `namespace/name`.
    pub name: String,
    /// Generation of the bundle in force there.
    pub bundle: Option<u64>,
    /// Which key signed its certificate.
    pub issuer: Option<KeyId>,
}

/// What a change waits for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Blocker {
    /// A ConfigMap that does not carry the bundle yet.
    Publication(String),
    /// A pod that never connected to the operator.
    Silent(String),
    /// A pod that does not have the bundle in force.
    Bundle(String),
    /// A pod that uses a certificate of the issuer before.
    Certificate(String),
}

/// Everything that decides beside the authority itself.
#[derive(Clone, Debug)]
pub struct Situation {
    /// Who decides what is signed with.
    pub source: Source,
    /// What somebody asked for.
    pub request: Option<Request>,
    /// Every Ready pod with a proxy.
    pub pods: Vec<PodState>,
    /// ConfigMaps, `namespace/name`, in which new pods would not find the bundle.
    pub unpublished: Vec<String>,
    /// The highest generation of a bundle that lies anywhere.
    pub highest: u64,
}

/// The next step.
pub fn plan(authority: &Authority, situation: &Situation, now: OffsetDateTime) -> Step {
    let material = &authority.material;
    if situation.highest > material.generation {
        return Step::Raise;
    }
    let hurry = situation.request.as_ref().filter(|request| {
        request.patience == Patience::Force
            && (material.running.as_ref() == Some(&request.id)
                || material.request.as_ref() != Some(&request.id))
    });
    // A request for what is under way is served by it; one for something else only lends its hurry.
    let served = hurry
        .filter(|request| material.target_of() == Some(request.target))
        .map(|request| request.id.clone());
    match &material.rotation {
        Rotation::None => begin(authority, situation, now),
        Rotation::Announced(next) => {
            if let Source::Given(Some(given)) = &situation.source
                && given.signer != *next
            {
                return Step::Announce {
                    next: Next::Given(given.clone()),
                    request: material.running.clone(),
                };
            }
            let blockers = blockers(situation, |pod| {
                (pod.bundle < Some(material.generation)).then(|| Blocker::Bundle(pod.name.clone()))
            });
            if blockers.is_empty() || hurry.is_some() || now >= last_call(authority) {
                Step::HandOver { request: served }
            } else {
                Step::Wait(blockers)
            }
        }
        Rotation::Renewing { .. } => {
            let blockers = blockers(situation, |pod| {
                if pod.bundle < Some(material.generation) {
                    Some(Blocker::Bundle(pod.name.clone()))
                } else if pod.issuer.as_ref() != Some(&authority.key_id) {
                    Some(Blocker::Certificate(pod.name.clone()))
                } else {
                    None
                }
            });
            if blockers.is_empty() || hurry.is_some() {
                Step::Finish { request: served }
            } else {
                Step::Wait(blockers)
            }
        }
    }
}

fn begin(authority: &Authority, situation: &Situation, now: OffsetDateTime) -> Step {
    let material = &authority.material;
    match &situation.source {
        Source::Given(None) => Step::Keep,
        Source::Given(Some(given)) => given_differs(&material.signer, given),
        Source::SelfMade => {
            let asked = situation
                .request
                .as_ref()
                .filter(|request| material.request.as_ref() != Some(&request.id));
            let target = match asked {
                Some(request) => Some(request.target),
                // What the user gave before is no longer wanted.
                None if material.signer.root_key.is_none() => Some(Target::Root),
                None if now >= authority.root.two_thirds() => Some(Target::Root),
                None if now >= authority.issuer.two_thirds() => Some(Target::Issuer),
                None => None,
            };
            let request = asked.map(|request| request.id.clone());
            let next = Next::SelfMade;
            match target {
                None => Step::Keep,
                Some(Target::Issuer) if material.signer.root_key.is_some() => Step::Reissue { next, request },
                Some(Target::Root | Target::Issuer) => Step::Announce { next, request },
            }
        }
    }
}

fn given_differs(signer: &Signer, given: &Given) -> Step {
    let next = Next::Given(given.clone());
    let request = None;
    if given.signer.root != signer.root {
        Step::Announce { next, request }
    } else if given.signer.issuer != signer.issuer {
        Step::Reissue { next, request }
    } else {
        Step::Keep
    }
}

fn blockers(situation: &Situation, lacks: impl Fn(&PodState) -> Option<Blocker>) -> Vec<Blocker> {
    let unpublished = situation.unpublished.iter().cloned().map(Blocker::Publication);
    let pods = situation.pods.iter().filter_map(|pod| {
        if pod.bundle.is_none() && pod.issuer.is_none() {
            Some(Blocker::Silent(pod.name.clone()))
        } else {
            lacks(pod)
        }
    });
    unpublished.chain(pods).collect()
}

fn last_call(authority: &Authority) -> OffsetDateTime {
    let root = authority.root;
    root.not_after - LAST_CALL.min((root.not_after - root.not_before) / 10)
}

impl Target {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Issuer => "issuer",
        }
    }
}

/// A request that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a request: write root/<id> or issuer/<id>, and /force behind it to go on without waiting for pods"
)]
pub struct InvalidRequest(String);

impl FromStr for Request {
    type Err = InvalidRequest;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidRequest(text.to_owned());
        let mut parts = text.split('/');
        let target = match parts.next() {
            Some("root") => Target::Root,
            Some("issuer") => Target::Issuer,
            _ => return Err(invalid()),
        };
        let id = parts
            .next()
            .filter(|id| !id.is_empty() && id.len() <= 64)
            .ok_or_else(invalid)?;
        let patience = match (parts.next(), parts.next()) {
            (None, None) => Patience::Wait,
            (Some("force"), None) => Patience::Force,
            _ => return Err(invalid()),
        };
        Ok(Self {
            target,
            id: id.to_owned(),
            patience,
        })
    }
}

impl fmt::Display for Blocker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publication(map) => write!(f, "ConfigMap {map} does not carry the bundle yet"),
            Self::Silent(pod) => write!(f, "{pod} is not connected"),
            Self::Bundle(pod) => write!(f, "{pod} does not trust the new root yet"),
            Self::Certificate(pod) => write!(f, "{pod} has a certificate of the issuer before"),
        }
    }
}
