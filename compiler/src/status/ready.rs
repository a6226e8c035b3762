//! `Ready`: the one word that tools wait for, and what an object does when it is not.

use super::conditions::{Condition, ConditionStatus};
use super::telling;
use crate::diagnostic::{Diagnostic, Reason, Severity};
use crate::plan::Effect;

/// How an object stands, whatever its proxies do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Standing<'a> {
    /// It is not accepted; what it does all the same.
    NotAccepted(Effect),
    /// Something is missing that it cannot do without; what it does all the same.
    Lacking(&'a Diagnostic, Effect),
    /// Proxies can enforce it.
    Sound,
}

pub(super) fn standing(
    accepted: ConditionStatus,
    effect: Effect,
    diagnostics: &[Diagnostic],
) -> Standing<'_> {
    if accepted != ConditionStatus::True {
        return Standing::NotAccepted(effect);
    }
    match indispensable(effect, diagnostics) {
        Some(missing) => Standing::Lacking(missing, effect),
        None => Standing::Sound,
    }
}

/// It does not wait for proxies, so that tools which apply an object before its pods do not wait for ever.
pub(super) fn ready(
    standing: &Standing<'_>,
    accepted: &Condition,
    resolved: &Condition,
    programmed: &Condition,
) -> (ConditionStatus, &'static str, String) {
    match standing {
        Standing::NotAccepted(effect) => {
            let message = match effect {
                Effect::ClosesOnly => format!("it is not accepted: {CLOSES_ONLY}; see Accepted"),
                Effect::AuditsOnly => format!("it is not accepted: {AUDITS_ONLY}; see Accepted"),
                Effect::Nothing | Effect::Works => "it is not accepted".to_owned(),
            };
            (ConditionStatus::False, accepted.reason, message)
        }
        Standing::Lacking(missing, effect) => {
            let does = match effect {
                Effect::Nothing => "it has no effect",
                Effect::ClosesOnly => CLOSES_ONLY,
                Effect::AuditsOnly => AUDITS_ONLY,
                Effect::Works => "it takes effect only in part",
            };
            let message = format!("{does}: {}", telling::shortened(&missing.message));
            (ConditionStatus::False, missing.reason.as_str(), message)
        }
        Standing::Sound if programmed.status == ConditionStatus::False => (
            ConditionStatus::False,
            programmed.reason,
            "it is not enforced everywhere: see Programmed".to_owned(),
        ),
        Standing::Sound if resolved.status == ConditionStatus::False => (
            ConditionStatus::True,
            "Ready",
            "it is accepted, and takes effect but for what ResolvedRefs names".to_owned(),
        ),
        Standing::Sound => (
            ConditionStatus::True,
            "Ready",
            "it is accepted, and nothing is in the way of its enforcement".to_owned(),
        ),
    }
}

const CLOSES_ONLY: &str =
    "it allows nobody, and closes its pods to callers that no other TrafficTarget allows";
const AUDITS_ONLY: &str = "it allows nobody, and the access mode audit lets its callers in all the same";

/// The finding for which an object does not do what it was made for. A target's sources may come later, from other namespaces,
/// and the other backends of a split take the place of a missing one.
fn indispensable(effect: Effect, diagnostics: &[Diagnostic]) -> Option<&Diagnostic> {
    let named = |reason: &Reason| {
        matches!(
            reason,
            Reason::RootNotFound
                | Reason::DestinationNotFound
                | Reason::RouteGroupNotFound
                | Reason::MatchNotFound
                | Reason::RouteNotFound
        )
    };
    let of_nothing = |reason: &Reason| match reason {
        Reason::AccountNotFound | Reason::BindingNotFound => false,
        Reason::NoUsableBackend => true,
        other => other.severity() == Severity::Unresolved,
    };
    let find = |is: &dyn Fn(&Reason) -> bool| diagnostics.iter().find(|one| is(&one.reason));
    find(&named).or_else(|| match effect {
        Effect::Works => None,
        Effect::Nothing | Effect::ClosesOnly | Effect::AuditsOnly => find(&of_nothing),
    })
}

#[cfg(test)]
mod tests;
