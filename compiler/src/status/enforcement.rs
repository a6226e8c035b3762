//! How far the proxies that hold an object are, in words.

use super::conditions::{Condition, ConditionStatus, Stored};
use super::ready::Standing;
use super::uninjected::Uninjected;
use crate::plan::Effect;

/// Pods that a message names at most.
pub const MOST_NAMED: usize = 3;

/// How many of the proxies that hold an object enforce its generation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Enforcement {
    /// Those that do.
    pub enforced: usize,
    /// All that count.
    pub of: usize,
    /// Some of those that refuse a configuration with it, [`MOST_NAMED`] at most.
    pub rejections: Vec<Rejection>,
    /// How many refuse it beside these.
    pub more_rejections: usize,
}

/// A proxy that does not take a configuration into force.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rejection {
    /// Its pod, `namespace/name`.
    pub pod: String,
    /// Path of the field, and what is wrong there: the words of the proxy.
    pub reason: String,
}

/// Whether every proxy has had time to tell what it enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// This operator leads only since a moment ago: who has told nothing may yet do so.
    Gathering,
    /// Who has told nothing does not enforce it.
    Complete,
}

/// `Programmed`, from what is known now.
pub(super) fn programmed(
    standing: &Standing<'_>,
    generation: i64,
    enforcement: &Enforcement,
    uninjected: &Uninjected,
) -> (ConditionStatus, &'static str, String) {
    let Enforcement {
        enforced,
        of,
        rejections,
        more_rejections,
    } = enforcement;
    match standing {
        Standing::NotAccepted(_) if *of == 0 => {
            return (
                ConditionStatus::Unknown,
                "NotAccepted",
                "it is not accepted, so no proxy is given it".to_owned(),
            );
        }
        Standing::Lacking(_, Effect::Nothing) if *of == 0 => {
            return (
                ConditionStatus::Unknown,
                "NoEffect",
                "it has no effect as it stands, so there is nothing to enforce: see Ready".to_owned(),
            );
        }
        Standing::NotAccepted(_) | Standing::Lacking(..) | Standing::Sound => {}
    }
    if rejections.is_empty()
        && !matches!(standing, Standing::NotAccepted(_))
        && let Some(fault) = uninjected.fault(*of)
    {
        return (ConditionStatus::False, "NotInjected", fault);
    }
    if *of == 0 {
        return (
            ConditionStatus::Unknown,
            "NoProxies",
            "no pod needs it at present, so there is nothing to enforce".to_owned(),
        );
    }
    let count = format!("generation {generation} enforced by {enforced}/{of} proxies");
    if !rejections.is_empty() {
        let named: Vec<String> = rejections
            .iter()
            .map(|one| format!("{}, which says \"{}\"", one.pod, one.reason))
            .collect();
        let others = match more_rejections {
            0 => String::new(),
            more => format!("; and {more} more"),
        };
        let message = format!("{count}; rejected by {}{others}", named.join("; "));
        return (ConditionStatus::False, "Rejected", message);
    }
    if enforced == of {
        (ConditionStatus::True, "Programmed", count)
    } else {
        (ConditionStatus::Unknown, PENDING, count)
    }
}

const PENDING: &str = "Pending";

/// What was true of this generation stays true until a proxy rejects it: proxies that come, go or are not heard for a
/// while undo nothing. As long as not every proxy has been heard, what is stored stays as it stands.
pub(super) fn hold(programmed: &mut Condition, stored: &[Stored], knowledge: Knowledge) {
    let before = stored.iter().find(|one| {
        one.kind == programmed.kind && one.observed_generation == Some(programmed.observed_generation)
    });
    let Some(before) = before.filter(|_| programmed.reason == PENDING) else {
        return;
    };
    let Some((status, reason)) = known(before) else {
        return;
    };
    match (knowledge, status) {
        (Knowledge::Gathering, _) => {
            programmed.status = status;
            programmed.reason = reason;
            programmed.message.clone_from(&before.message);
        }
        (Knowledge::Complete, ConditionStatus::True) => {
            programmed.status = ConditionStatus::True;
            programmed.reason = "Programmed";
        }
        (Knowledge::Complete, ConditionStatus::False | ConditionStatus::Unknown) => {}
    }
}

/// What the acknowledgements of proxies, and nothing else, once led to. Where no proxy was concerned, none has told
/// anything: the first ones that are make it pending.
fn known(stored: &Stored) -> Option<(ConditionStatus, &'static str)> {
    let one = match (stored.status.as_str(), stored.reason.as_str()) {
        ("True", "Programmed") => (ConditionStatus::True, "Programmed"),
        ("False", "Rejected") => (ConditionStatus::False, "Rejected"),
        ("Unknown", PENDING) => (ConditionStatus::Unknown, PENDING),
        _ => return None,
    };
    Some(one)
}

/// Whether nothing but the words of `Programmed` differs from what is stored: how many proxies, and which.
pub fn differs_in_count_only(stored: &[Stored], desired: &[Condition]) -> bool {
    let mut count = false;
    for condition in desired {
        let same_state = |one: &&Stored| {
            one.kind == condition.kind
                && one.status == condition.status.as_str()
                && one.reason == condition.reason
                && one.observed_generation == Some(condition.observed_generation)
        };
        let Some(before) = stored.iter().find(same_state) else {
            return false;
        };
        if before.message != condition.message {
            if condition.kind != "Programmed" {
                return false;
            }
            count = true;
        }
    }
    count
}

#[cfg(test)]
mod tests;
