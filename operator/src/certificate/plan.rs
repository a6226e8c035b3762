//! What has to happen to the certificate, and when. Pure: the state is read out of the certificates themselves.

use time::{Duration, OffsetDateTime};

use super::stored::Stored;
use crate::pki::{BACK_DATED, Validity};

/// A clock that is off by more than this makes certificates that nobody else accepts.
const CLOCK_SKEW: Duration = Duration::days(1);
/// How long an announced authority waits until every API server has surely read of it.
const SETTLE: Duration = Duration::minutes(10);
/// How long the authority before stays published: replicas load the new certificate within seconds.
const OVERLAP: Duration = Duration::days(1);
/// An authority this near to its end hands over even when a configuration could not be told.
const LAST_CALL: Duration = Duration::days(7);

/// The next step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Nothing to do.
    Keep,
    /// Issue a new serving certificate from the same authority.
    Renew {
        /// Why.
        reason: String,
    },
    /// Start over with a new authority: what is there cannot be used.
    Recreate {
        /// Why.
        reason: String,
    },
    /// Make the next authority and publish it beside the present one.
    Announce,
    /// Let the announced authority sign.
    HandOver,
    /// Stop publishing the authority before.
    Forget,
}

/// Whether the API server was told of everything that the Secret says to trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// Every configuration that exists carries it.
    Complete,
    /// One does not yet.
    Pending,
}

/// The next step for what is stored, given the names to serve and the time.
pub fn plan(stored: &Stored, names: &[String], publication: Publication, now: OffsetDateTime) -> Plan {
    let authority = match &stored.authority {
        Ok(authority) => *authority,
        Err(fault) => return recreate(fault.to_string()),
    };
    if let Some(reason) = unusable(authority, now) {
        return recreate(format!("the authority {reason}"));
    }
    let serving = match &stored.serving {
        Ok((serving, served)) if same_names(served, names) => *serving,
        Ok((_, served)) => return renew(format!("it is for {}", served.join(", "))),
        Err(fault) => return renew(fault.to_string()),
    };
    if let Some(reason) = unusable(serving, now) {
        return renew(format!("it {reason}"));
    }
    match handover(stored, authority, serving, publication, now) {
        Plan::Keep if now >= serving.two_thirds() => renew("two thirds of its time are over".to_owned()),
        plan => plan,
    }
}

fn handover(
    stored: &Stored,
    authority: Validity,
    serving: Validity,
    publication: Publication,
    now: OffsetDateTime,
) -> Plan {
    use super::stored::Handover;
    match (&stored.material.handover, &stored.next) {
        (Handover::Announced(_), Some(Ok(next))) => {
            let settled =
                now >= next.not_before + BACK_DATED + SETTLE && publication == Publication::Complete;
            if settled || now >= authority.not_after - LAST_CALL {
                Plan::HandOver
            } else {
                Plan::Keep
            }
        }
        // What was announced cannot be used: announce another.
        (Handover::Announced(_), _) => Plan::Announce,
        (Handover::Done { .. }, _) if now >= serving.not_before + BACK_DATED + OVERLAP => Plan::Forget,
        (Handover::None, _) if now >= authority.two_thirds() => Plan::Announce,
        (Handover::Done { .. } | Handover::None, _) => Plan::Keep,
    }
}

fn recreate(reason: String) -> Plan {
    Plan::Recreate { reason }
}

fn renew(reason: String) -> Plan {
    Plan::Renew { reason }
}

fn unusable(validity: Validity, now: OffsetDateTime) -> Option<String> {
    if now >= validity.not_after {
        Some(format!("expired at {}", validity.not_after))
    } else if now + CLOCK_SKEW < validity.not_before {
        Some(format!("is not valid before {}", validity.not_before))
    } else {
        None
    }
}

fn same_names(one: &[String], other: &[String]) -> bool {
    let sorted = |names: &[String]| {
        let mut names = names.to_vec();
        names.sort_unstable();
        names
    };
    sorted(one) == sorted(other)
}
