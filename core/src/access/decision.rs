use std::fmt;

use crate::name::ObjectRef;
use crate::path::Ambiguity;

/// What was decided about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// It is allowed.
    Allowed(Grant<'a>),
    /// It is not.
    Denied(Denial<'a>),
    /// Its path could be read in two ways, and a rule on this port reads paths.
    AmbiguousPath(Ambiguity),
    /// A rule on this port reads the header of this name, and the request has it in another spelling.
    AmbiguousHeader(&'a str),
}

/// What allows a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant<'a> {
    /// Nothing restricts calls to this pod.
    Open,
    /// A target.
    Target(&'a ObjectRef),
    /// The caller's address.
    UnauthenticatedSource,
}

/// Why a call is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial<'a> {
    /// How far the nearest target went.
    pub reason: DenialReason,
    /// That target.
    pub nearest: Option<&'a ObjectRef>,
}

/// What a call lacks. The later in this order, the nearer it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DenialReason {
    /// No target names this pod.
    NoTarget,
    /// The caller proves no identity.
    Unauthenticated,
    /// No target names the caller.
    Source,
    /// A target names the caller, for other ports.
    Port,
    /// A target names caller and port for HTTP requests, and this is none.
    NotHttp,
    /// A target names caller and port, for other requests.
    Request,
}

impl Decision<'_> {
    /// Whether the call may go on as far as this decision goes.
    pub fn is_allowed(&self) -> bool {
        matches!(self, Self::Allowed(_))
    }
}

impl DenialReason {
    /// One word, for metrics and for the header that says it when asked to.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoTarget => "no_target",
            Self::Unauthenticated => "unauthenticated",
            Self::Source => "source",
            Self::Port => "port",
            Self::NotHttp => "not_http",
            Self::Request => "request",
        }
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoTarget => "no TrafficTarget names the called pod",
            Self::Unauthenticated => "the caller proves no identity",
            Self::Source => "no TrafficTarget names the caller",
            Self::Port => "no TrafficTarget allows the caller this port",
            Self::NotHttp => "what the TrafficTarget allows is HTTP, and this is not",
            Self::Request => "no TrafficTarget allows the caller this request",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_granted_may_go_on() {
        assert!(Decision::Allowed(Grant::Open).is_allowed());
        let denial = Denial {
            reason: DenialReason::NoTarget,
            nearest: None,
        };
        assert!(!Decision::Denied(denial).is_allowed());
        assert!(!Decision::AmbiguousPath(Ambiguity::Nul).is_allowed());
        assert!(!Decision::AmbiguousHeader("x-role").is_allowed());
    }

    #[test]
    fn a_denial_says_in_words_what_is_missing() {
        assert_eq!(
            DenialReason::Source.to_string(),
            "no TrafficTarget names the caller"
        );
    }
}
