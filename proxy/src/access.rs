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
use smilax_core::{AccessTable, Members};

use crate::http::headers::View;
use crate::worker::{TableState, Worker};

pub use caller::{Caller, IdentityHeaders};
pub use report::Reports;

/// Why something may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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

/// What is known of the connection under one configuration.
struct Known {
    state: Rc<TableState>,
    members: Arc<Members>,
    plaintext: Option<Plaintext>,
    standing: Standing,
    /// The series of the grant that was given last.
    allowed: RefCell<Option<(&'static str, IntCounter)>>,
}

impl Refused {
    /// One word, for metrics and for the header that says it when asked to.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Denied(reason) => reason.as_str(),
            Self::Plaintext => "plaintext",
            Self::AmbiguousPath(_) => "ambiguous_path",
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
        let known = self.known();
        self.admit(&known)?;
        let access = &known.state.table.access;
        self.settle(&known, access, access.decide_connection(&known.standing), None)
    }

    /// Decides about a request, as the application would get it.
    ///
    /// # Errors
    /// [`Refused`], when that is to be carried out.
    pub fn request(&self, request: &Parts) -> Result<(), Refused> {
        let known = self.known();
        self.admit(&known)?;
        let access = &known.state.table.access;
        let decision = access.decide_request(&known.standing, &View(request));
        self.settle(&known, access, decision, Some(request))
    }

    /// Whether the connection, or this request, would be refused; nothing is counted or told.
    pub fn would_refuse(&self, request: Option<&Parts>) -> bool {
        let known = self.known();
        if known.plaintext == Some(Plaintext::Refused) || known.state.table.workload.is_none() {
            return true;
        }
        let access = &known.state.table.access;
        let allowed = match request {
            Some(request) => access
                .decide_request(&known.standing, &View(request))
                .is_allowed(),
            None => access.decide_connection(&known.standing).is_allowed(),
        };
        !allowed && access.enforcement() == Enforcement::Enforced
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
            if self.would_refuse(request) {
                let judged = match request {
                    Some(request) => self.request(request),
                    None => self.connection(),
                };
                if let Err(refused) = judged {
                    return refused;
                }
            }
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn known(&self) -> Rc<Known> {
        let state = self.worker.state();
        let members = self.worker.members();
        let mut known = self.known.borrow_mut();
        match &*known {
            Some(known) if Rc::ptr_eq(&known.state, &state) && Arc::ptr_eq(&known.members, &members) => {
                Rc::clone(known)
            }
            _ => Rc::clone(known.insert(Rc::new(self.learn(state, members)))),
        }
    }

    fn learn(&self, state: Rc<TableState>, members: Arc<Members>) -> Known {
        let access = &state.table.access;
        let caller = self.caller.view();
        Known {
            plaintext: caller
                .identity
                .is_none()
                .then(|| access.plaintext(caller.address, self.port)),
            standing: access.standing(caller, self.port, &members),
            allowed: RefCell::default(),
            state,
            members,
        }
    }

    /// What no rule can allow: a call before there are rules, and one that proves nothing where that must be proven. Its
    /// connection may have been made before.
    fn admit(&self, known: &Known) -> Result<(), Refused> {
        let refused = if known.state.table.workload.is_none() {
            Refused::NoPolicy
        } else if known.plaintext == Some(Plaintext::Refused) {
            Refused::Plaintext
        } else {
            return Ok(());
        };
        let metrics = &self.worker.shared.metrics.access;
        metrics
            .decision("denied", refused.as_str(), self.caller.name())
            .inc();
        Err(refused)
    }

    fn settle(
        &self,
        known: &Known,
        access: &AccessTable,
        decision: Decision<'_>,
        request: Option<&Parts>,
    ) -> Result<(), Refused> {
        let (refused, nearest) = match decision {
            Decision::Allowed(grant) => {
                self.count_allowed(known, grant);
                return Ok(());
            }
            Decision::Denied(denial) => (Refused::Denied(denial.reason), denial.nearest),
            Decision::AmbiguousPath(ambiguity) => (Refused::AmbiguousPath(ambiguity), None),
        };
        let enforcement = access.enforcement();
        let word = match enforcement {
            Enforcement::Enforced => "denied",
            Enforcement::Audited => "audited",
        };
        let metrics = &self.worker.shared.metrics.access;
        metrics.decision(word, refused.as_str(), self.caller.name()).inc();
        self.worker.reports.tell(&report::Report {
            caller: &self.caller,
            port: self.port,
            decision: word,
            refused,
            nearest,
            request,
        });
        match enforcement {
            Enforcement::Enforced => Err(refused),
            Enforcement::Audited => Ok(()),
        }
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
