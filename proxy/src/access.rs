//! Whether what others send may reach the application: [`smilax_core::access`], applied to connections as they live.
//!
//! What can be said of a connection is worked out once for each configuration and list of members, and kept with the
//! connection; a request is then one look at what is kept.

mod caller;
mod report;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::request::Parts;
use prometheus::IntCounter;
use smilax_core::access::{Decision, DenialReason, Enforcement, Grant, Plaintext, Standing};
use smilax_core::path::Ambiguity;
use smilax_core::{AccessTable, Members, ObjectRef};

use crate::http::headers::View;
use crate::worker::{TableState, Worker};

pub use caller::{Caller, IdentityHeaders};
pub use report::Reports;

/// Why something may not go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No rule allows it.
    #[error("access is denied: {0}")]
    Denied(DenialReason),
    /// It would have to prove who it is.
    #[error("calls without an identity are refused on this port")]
    Plaintext,
    /// A rule reads paths, and this one can be read in two ways.
    #[error("the path is ambiguous: {0}")]
    AmbiguousPath(Ambiguity),
    /// A rule reads the header of this name, and the request has it in another spelling.
    #[error("the header {0} is spelled with another separator, which some servers take for the same")]
    AmbiguousHeader(Box<str>),
    /// Nobody has said yet who may call.
    #[error("there is no configuration yet that says who may call")]
    NoPolicy,
    /// Whoever vouches for the caller is no longer trusted.
    #[error("the caller's root is no longer trusted")]
    Distrusted,
}

/// Judges one connection of a caller to one port of the application, and what comes over it.
pub struct Judge {
    worker: Rc<Worker>,
    caller: Caller,
    port: u16,
    known: RefCell<Option<Rc<Known>>>,
}

/// What is known of the connection under one configuration. It keeps neither the configuration nor the members: an idle
/// connection would keep those of a time long past. Weak references are enough to tell whether they are still in force.
struct Known {
    state: std::rc::Weak<TableState>,
    members: std::sync::Weak<Members>,
    plaintext: Option<Plaintext>,
    standing: Standing,
    /// The series of the grant that was given last.
    allowed: RefCell<Option<(&'static str, IntCounter)>>,
}

impl Refused {
    /// One word, for metrics and for the header that says it when asked to.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Denied(reason) => reason.as_str(),
            Self::Plaintext => "plaintext",
            Self::AmbiguousPath(_) => "ambiguous_path",
            Self::AmbiguousHeader(_) => "ambiguous_header",
            Self::NoPolicy => "no_policy",
            Self::Distrusted => "distrusted",
        }
    }
}

impl Judge {
    /// A judge of what this caller does on this port.
    pub fn new(worker: Rc<Worker>, caller: Caller, port: u16) -> Self {
        Self {
            worker,
            caller,
            port,
            known: RefCell::default(),
        }
    }

    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Decides about the connection as bytes.
    ///
    /// # Errors
    /// [`Refused`], when that is to be carried out.
    pub fn connection(&self) -> Result<(), Refused> {
        self.decide(None)
    }

    /// Decides about a request, as the application would get it.
    ///
    /// # Errors
    /// [`Refused`], when that is to be carried out.
    pub fn request(&self, request: &Parts) -> Result<(), Refused> {
        self.decide(Some(request))
    }

    /// Whether the connection, or this request, would be refused; nothing is counted or told.
    pub fn would_refuse(&self, request: Option<&Parts>) -> bool {
        let state = self.worker.state();
        let known = self.known(&state);
        let access = &state.table.access;
        known.precludes(&state).is_some()
            || access.enforcement() == Enforcement::Enforced && !known.decision(access, request).is_allowed()
    }

    /// Completes when a connection that is carried as bytes has lost its right: one that began with `request`, or one
    /// that was bytes from its beginning.
    pub async fn right_is_gone(&self, request: Option<&Parts>) -> Refused {
        let mut changes = self.worker.shared.changes.watch();
        loop {
            // What was decided before this began may be out of date already.
            if let Some(peer) = &self.caller.peer
                && !self.worker.shared.trusts(peer)
            {
                return Refused::Distrusted;
            }
            if self.would_refuse(request)
                && let Err(refused) = self.decide(request)
            {
                return refused;
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn known(&self, state: &Rc<TableState>) -> Rc<Known> {
        let members = self.worker.members();
        let mut known = self.known.borrow_mut();
        match &*known {
            Some(known)
                if known.state.as_ptr() == Rc::as_ptr(state)
                    && known.members.as_ptr() == Arc::as_ptr(&members) =>
            {
                Rc::clone(known)
            }
            _ => Rc::clone(known.insert(Rc::new(self.learn(state, &members)))),
        }
    }

    fn learn(&self, state: &Rc<TableState>, members: &Arc<Members>) -> Known {
        let access = &state.table.access;
        let caller = self.caller.view();
        Known {
            state: Rc::downgrade(state),
            members: Arc::downgrade(members),
            plaintext: caller
                .identity
                .is_none()
                .then(|| access.plaintext(caller.address, self.port)),
            standing: access.standing(caller, self.port, members),
            allowed: RefCell::default(),
        }
    }

    fn decide(&self, request: Option<&Parts>) -> Result<(), Refused> {
        let state = self.worker.state();
        let known = self.known(&state);
        let access = &state.table.access;
        if let Some(refused) = known.precludes(&state) {
            self.tell(Enforcement::Enforced, &refused, None, request);
            return Err(refused);
        }
        let (refused, nearest) = match known.decision(access, request) {
            Decision::Allowed(grant) => {
                self.count_allowed(&known, grant);
                return Ok(());
            }
            Decision::Denied(denial) => (Refused::Denied(denial.reason), denial.nearest),
            Decision::AmbiguousPath(ambiguity) => (Refused::AmbiguousPath(ambiguity), None),
            Decision::AmbiguousHeader(read) => (Refused::AmbiguousHeader(read.into()), None),
        };
        self.tell(access.enforcement(), &refused, nearest, request);
        match access.enforcement() {
            Enforcement::Enforced => Err(refused),
            Enforcement::Audited => Ok(()),
        }
    }

    /// Counts and tells that something is not allowed.
    fn tell(
        &self,
        enforcement: Enforcement,
        refused: &Refused,
        nearest: Option<&ObjectRef>,
        request: Option<&Parts>,
    ) {
        let decision = match enforcement {
            Enforcement::Enforced => "denied",
            Enforcement::Audited => "audited",
        };
        let metrics = &self.worker.shared.metrics.access;
        metrics
            .decision(decision, refused.as_str(), self.caller.name())
            .inc();
        self.worker.reports.tell(&report::Report {
            caller: &self.caller,
            port: self.port,
            decision,
            refused,
            nearest,
            request,
        });
    }

    fn count_allowed(&self, known: &Known, grant: Grant<'_>) {
        let reason = match grant {
            Grant::Open => "open",
            Grant::Target(_) => "target",
            Grant::UnauthenticatedSource => "unauthenticated_source",
        };
        let mut allowed = known.allowed.borrow_mut();
        match &*allowed {
            Some((last, series)) if *last == reason => series.inc(),
            _ => {
                let metrics = &self.worker.shared.metrics.access;
                let series = metrics.decision("allowed", reason, self.caller.name());
                series.inc();
                *allowed = Some((reason, series));
            }
        }
    }
}

impl Known {
    /// What no rule can allow: a call before there are rules, and one that proves nothing where that must be proven. Its
    /// connection may have been made before.
    fn precludes(&self, state: &TableState) -> Option<Refused> {
        if state.table.workload.is_none() {
            Some(Refused::NoPolicy)
        } else if self.plaintext == Some(Plaintext::Refused) {
            Some(Refused::Plaintext)
        } else {
            None
        }
    }

    fn decision<'a>(&self, access: &'a AccessTable, request: Option<&Parts>) -> Decision<'a> {
        match request {
            Some(request) => access.decide_request(&self.standing, &View(request)),
            None => access.decide_connection(&self.standing),
        }
    }
}
