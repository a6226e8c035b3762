//! Conditions, and how they change.

use crate::diagnostic::{Diagnostic, Reason, Severity};
use crate::plan::Effect;
use crate::status::enforcement::{self, Enforcement, Knowledge};
use crate::status::uninjected::Uninjected;
use crate::status::{ready, telling};

/// A condition as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `Accepted`, `ResolvedRefs`, `Programmed` or `Ready`.
    pub kind: &'static str,
    /// Whether it holds.
    pub status: ConditionStatus,
    /// PascalCase word.
    pub reason: &'static str,
    /// A sentence or more.
    pub message: String,
    /// Generation that this is about.
    pub observed_generation: i64,
}

/// A condition as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Type.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
    /// Generation.
    pub observed_generation: Option<i64>,
    /// When the status last changed, as RFC 3339 has it.
    pub last_transition: String,
}

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConditionStatus {
    /// It does.
    True,
    /// It does not.
    False,
    /// Nobody knows yet.
    Unknown,
}

impl ConditionStatus {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// The four conditions of an object.
pub(super) fn of(
    generation: i64,
    diagnostics: &[Diagnostic],
    effect: Effect,
    enforcement: &Enforcement,
    uninjected: &Uninjected,
) -> Vec<Condition> {
    let condition = |kind, status, reason, message| Condition {
        kind,
        status,
        reason,
        message,
        observed_generation: generation,
    };
    let accepted = match first(diagnostics, Severity::Rejected) {
        Some(reason) => condition(
            "Accepted",
            ConditionStatus::False,
            reason.as_str(),
            messages(diagnostics, Severity::Rejected),
        ),
        None => condition(
            "Accepted",
            ConditionStatus::True,
            "Accepted",
            or(messages(diagnostics, Severity::Notice), "the object is valid"),
        ),
    };
    let resolved = match first(diagnostics, Severity::Unresolved) {
        Some(reason) => condition(
            "ResolvedRefs",
            ConditionStatus::False,
            reason.as_str(),
            messages(diagnostics, Severity::Unresolved),
        ),
        None => condition(
            "ResolvedRefs",
            ConditionStatus::True,
            "ResolvedRefs",
            "every object that it refers to exists".to_owned(),
        ),
    };
    let standing = ready::standing(accepted.status, effect, diagnostics);
    let (status, reason, message) = enforcement::programmed(&standing, generation, enforcement, uninjected);
    let programmed = condition("Programmed", status, reason, message);
    let (status, reason, message) = ready::ready(&standing, &accepted, &resolved, &programmed);
    let ready = condition("Ready", status, reason, message);
    vec![accepted, resolved, programmed, ready]
}

/// Says how far the proxies are.
pub(super) fn program(
    conditions: &mut [Condition],
    diagnostics: &[Diagnostic],
    effect: Effect,
    enforcement: &Enforcement,
    uninjected: &Uninjected,
    stored: &[Stored],
    knowledge: Knowledge,
) {
    let [accepted, resolved, programmed, ready] = conditions else {
        return;
    };
    let standing = ready::standing(accepted.status, effect, diagnostics);
    (programmed.status, programmed.reason, programmed.message) =
        enforcement::programmed(&standing, programmed.observed_generation, enforcement, uninjected);
    enforcement::hold(programmed, stored, knowledge);
    (ready.status, ready.reason, ready.message) = ready::ready(&standing, accepted, resolved, programmed);
}

/// Says that some proxies are not given what these conditions are about.
pub(super) fn withhold(conditions: &mut [Condition], diagnostics: &[Diagnostic]) {
    let Some(reason) = first(diagnostics, Severity::Withheld) else {
        return;
    };
    for condition in conditions {
        let message = match condition.kind {
            "Programmed" => messages(diagnostics, Severity::Withheld),
            "Ready" if condition.status == ConditionStatus::True => {
                "some proxies are not given it".to_owned()
            }
            _ => continue,
        };
        condition.status = ConditionStatus::False;
        condition.reason = reason.as_str();
        condition.message = message;
    }
}

/// The conditions to store, or `None` when those stored say the same. The time of the last transition is kept unless
/// the status changed; conditions of others are kept as they are.
pub fn merge(stored: &[Stored], desired: &[Condition], now: &str) -> Option<Vec<Stored>> {
    let mut merged: Vec<Stored> = stored
        .iter()
        .filter(|one| desired.iter().all(|condition| condition.kind != one.kind))
        .cloned()
        .collect();
    for condition in desired {
        let before = stored.iter().find(|one| one.kind == condition.kind);
        let last_transition = match before {
            Some(before) if before.status == condition.status.as_str() => before.last_transition.clone(),
            _ => now.to_owned(),
        };
        merged.push(Stored {
            kind: condition.kind.to_owned(),
            status: condition.status.as_str().to_owned(),
            reason: condition.reason.to_owned(),
            message: condition.message.clone(),
            observed_generation: Some(condition.observed_generation),
            last_transition,
        });
    }
    let same = merged.len() == stored.len() && merged.iter().all(|one| stored.contains(one));
    (!same).then_some(merged)
}

fn first(diagnostics: &[Diagnostic], severity: Severity) -> Option<Reason> {
    diagnostics
        .iter()
        .map(|one| one.reason)
        .find(|reason| reason.severity() == severity)
}

fn messages(diagnostics: &[Diagnostic], severity: Severity) -> String {
    let all = diagnostics.iter().filter(|one| one.reason.severity() == severity);
    telling::quoted(all.map(|one| one.message.as_str()))
}

fn or(text: String, otherwise: &str) -> String {
    if text.is_empty() {
        otherwise.to_owned()
    } else {
        text
    }
}
