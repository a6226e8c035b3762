//! Whether a call is allowed: decided on the called side, for every request and every connection.
//!
//! ```text
//! Vec<InboundPolicy> ──lower(pod)──► AccessTable                                (once for a configuration)
//!                        caller, port ──standing──► Standing                    (once for a connection)
//!                                       request ──decide_request──► Decision    (each request)
//! ```
//!
//! Access is additive (SMI TrafficTarget v1alpha4): a call is allowed when any target allows it, and nothing that a
//! target says takes away what another gives. What cannot be judged is not allowed.

mod decision;
mod lower;

use std::net::IpAddr;

use crate::config::{AccessMode, SourceMatch, TlsMode, UnauthenticatedSource};
use crate::identity::Identity;
use crate::matching::{Matcher, RequestView};
use crate::members::Members;
use crate::name::ObjectRef;
use crate::path;
use crate::spelling::{self, HeaderNames};

pub use decision::{Decision, Denial, DenialReason, Grant};
pub use lower::lower;

/// Everything that is decided about calls to one pod, immutable.
#[derive(Debug, Default)]
pub struct AccessTable {
    mode: AccessMode,
    tls: TlsPolicy,
    unauthenticated: Box<[UnauthenticatedSource]>,
    targets: Box<[Target]>,
    /// The headers that targets read, on whatever port. One list for all connections, as it may be long.
    read_headers: HeaderNames,
}

/// Who calls, as far as it is proven.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// What its certificate says; `None` for a call from outside the mesh.
    pub identity: Option<&'a Identity>,
    /// Where the connection comes from.
    pub address: IpAddr,
}

/// What one caller may do on one port, as far as that can be said before it asks. It belongs to the table, and to the
/// members, that it was made with.
#[derive(Clone, Debug)]
pub struct Standing(State);

/// What becomes of a call without an identity, before any target is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// It may go on, and is judged as a call of nobody.
    Permitted,
    /// It comes from an address that is let in.
    UnauthenticatedSource,
    /// It is refused.
    Refused,
}

/// Whether what is decided is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enforcement {
    /// It is.
    Enforced,
    /// It is counted and logged only.
    Audited,
}

#[derive(Debug, Default)]
struct TlsPolicy {
    general: TlsMode,
    own: Option<TlsMode>,
    ports: std::collections::BTreeMap<u16, TlsMode>,
    own_ports: std::collections::BTreeMap<u16, TlsMode>,
    own_decides: bool,
}

#[derive(Debug)]
struct Target {
    source: ObjectRef,
    sources: Box<[SourceMatch]>,
    ports: Option<Box<[u16]>>,
    http: Option<Box<[Matcher]>>,
}

#[derive(Clone, Debug)]
enum State {
    /// Nothing restricts calls to this pod.
    Open,
    /// Let in by its address.
    UnauthenticatedSource,
    /// Targets decide.
    Judged(Judged),
}

#[derive(Clone, Debug)]
struct Judged {
    /// Targets that the caller and the port meet.
    applicable: Box<[u32]>,
    /// Why nothing is applicable, if nothing is, and the target that came nearest.
    otherwise: (DenialReason, Option<u32>),
    /// Whether some target reads paths on this port.
    reads_path: bool,
    /// The port, where some target reads headers on it.
    reads_headers: Option<u16>,
}

impl AccessTable {
    /// Whether denials are carried out.
    pub fn enforcement(&self) -> Enforcement {
        match self.mode {
            AccessMode::Audit => Enforcement::Audited,
            AccessMode::Allow | AccessMode::Deny => Enforcement::Enforced,
        }
    }

    /// Whether calls are restricted at all: always in `deny` and `audit`, in `allow` once a target names this pod.
    pub fn restricts(&self) -> bool {
        match self.mode {
            AccessMode::Deny | AccessMode::Audit => true,
            AccessMode::Allow => !self.targets.is_empty(),
        }
    }

    /// What calls from outside the mesh are to a port.
    pub fn tls_mode(&self, port: u16) -> TlsMode {
        self.tls.mode(port)
    }

    /// What becomes of a connection that proves no identity.
    pub fn plaintext(&self, address: IpAddr, port: u16) -> Plaintext {
        if self.lets_in(address, port) {
            Plaintext::UnauthenticatedSource
        } else {
            match self.tls_mode(port) {
                TlsMode::Permissive => Plaintext::Permitted,
                TlsMode::Strict => Plaintext::Refused,
            }
        }
    }

    /// What a caller may do on a port, as far as that can be said before it asks.
    pub fn standing(&self, caller: Caller<'_>, port: u16, members: &Members) -> Standing {
        if !self.restricts() {
            return Standing(State::Open);
        }
        if caller.identity.is_none() && self.lets_in(caller.address, port) {
            return Standing(State::UnauthenticatedSource);
        }
        let mut applicable = Vec::new();
        let mut nearest: Option<(DenialReason, u32)> = None;
        for (index, target) in (0u32..).zip(&self.targets) {
            let fails = match caller.identity {
                Some(identity) if target.admits(identity, members) => {
                    (!target.has_port(port)).then_some(DenialReason::Port)
                }
                Some(_) => Some(DenialReason::Source),
                None => Some(DenialReason::Unauthenticated),
            };
            match fails {
                None => applicable.push(index),
                Some(reason) if nearest.is_none_or(|(known, _)| known < reason) => {
                    nearest = Some((reason, index));
                }
                Some(_) => {}
            }
        }
        let otherwise = match (nearest, caller.identity) {
            (Some((reason, index)), _) => (reason, Some(index)),
            (None, Some(_)) => (DenialReason::NoTarget, None),
            (None, None) => (DenialReason::Unauthenticated, None),
        };
        Standing(State::Judged(Judged {
            applicable: applicable.into(),
            otherwise,
            reads_path: self.on_port(port).any(Target::reads_path),
            reads_headers: self.on_port(port).any(Target::reads_headers).then_some(port),
        }))
    }

    /// Decides about a connection whose content is not looked into.
    pub fn decide_connection(&self, standing: &Standing) -> Decision<'_> {
        let judged = match &standing.0 {
            State::Open => return Decision::Allowed(Grant::Open),
            State::UnauthenticatedSource => return Decision::Allowed(Grant::UnauthenticatedSource),
            State::Judged(judged) => judged,
        };
        match self.applicable(judged).find(|target| target.http.is_none()) {
            Some(target) => Decision::Allowed(Grant::Target(&target.source)),
            None => self.denied(judged, DenialReason::NotHttp),
        }
    }

    /// Decides about a request.
    pub fn decide_request(&self, standing: &Standing, request: &impl RequestView) -> Decision<'_> {
        let judged = match &standing.0 {
            State::Open => return Decision::Allowed(Grant::Open),
            State::UnauthenticatedSource => return Decision::Allowed(Grant::UnauthenticatedSource),
            State::Judged(judged) => judged,
        };
        if judged.reads_path
            && let Err(ambiguity) = path::check(request.path())
        {
            return Decision::AmbiguousPath(ambiguity);
        }
        if let Some(port) = judged.reads_headers
            && let Some(read) = self.ambiguous_header(port, request)
        {
            return Decision::AmbiguousHeader(read);
        }
        match self.applicable(judged).find(|target| target.allows(request)) {
            Some(target) => Decision::Allowed(Grant::Target(&target.source)),
            None => self.denied(judged, DenialReason::Request),
        }
    }

    /// The header that a target reads on this port and that the request has in another spelling.
    fn ambiguous_header(&self, port: u16, request: &impl RequestView) -> Option<&str> {
        request
            .header_names()
            // Few names are in doubt on any port, so that the targets are seldom looked through.
            .filter(|name| self.read_headers.has_other_spelling_of(name))
            .find_map(|name| {
                self.on_port(port)
                    .flat_map(Target::header_names)
                    .find(|read| spelling::are_confusable(read, name))
            })
    }

    fn on_port(&self, port: u16) -> impl Iterator<Item = &Target> {
        self.targets.iter().filter(move |target| target.has_port(port))
    }

    fn applicable<'a>(&'a self, judged: &Judged) -> impl Iterator<Item = &'a Target> {
        judged
            .applicable
            .iter()
            .filter_map(|&index| self.targets.get(usize::try_from(index).ok()?))
    }

    /// `reason` when a caller and its port were fine, and otherwise what was wrong with them.
    fn denied(&self, judged: &Judged, reason: DenialReason) -> Decision<'_> {
        let (reason, nearest) = match judged.applicable.first() {
            Some(&index) => (reason, Some(index)),
            None => judged.otherwise,
        };
        let nearest = nearest
            .and_then(|index| self.targets.get(usize::try_from(index).ok()?))
            .map(|target| &target.source);
        Decision::Denied(Denial { reason, nearest })
    }

    fn lets_in(&self, address: IpAddr, port: u16) -> bool {
        self.unauthenticated.iter().any(|source| {
            (source.ports.is_empty() || source.ports.contains(&port))
                && source.cidrs.iter().any(|cidr| cidr.contains(&address))
        })
    }
}

impl Target {
    fn admits(&self, identity: &Identity, members: &Members) -> bool {
        self.sources.iter().any(|source| match source {
            SourceMatch::Account(account) => identity.workload.as_ref() == Some(account),
            SourceMatch::Spiffe(id) => identity.id == *id,
            SourceMatch::Binding(binding) => identity
                .pod_uid
                .as_deref()
                .is_some_and(|uid| members.contains(binding, uid)),
        })
    }

    fn has_port(&self, port: u16) -> bool {
        self.ports.as_ref().is_none_or(|ports| ports.contains(&port))
    }

    fn reads_path(&self) -> bool {
        self.http.iter().flatten().any(Matcher::reads_path)
    }

    fn reads_headers(&self) -> bool {
        self.header_names().next().is_some()
    }

    fn header_names(&self) -> impl Iterator<Item = &str> {
        self.http.iter().flatten().flat_map(Matcher::header_names)
    }

    fn allows(&self, request: &impl RequestView) -> bool {
        self.http
            .as_ref()
            .is_none_or(|matchers| matchers.iter().any(|matcher| matcher.matches(request)))
    }
}

impl TlsPolicy {
    fn mode(&self, port: u16) -> TlsMode {
        let given = self.ports.get(&port).copied().unwrap_or(self.general);
        let own = self.own_ports.get(&port).copied().or(self.own);
        match own {
            None => given,
            Some(own) if self.own_decides => own,
            Some(own) => own.max(given),
        }
    }
}

#[cfg(test)]
mod tests;
