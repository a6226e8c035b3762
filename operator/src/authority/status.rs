//! What people are told about the authority: two conditions of the MeshConfig.

use smilax_compiler::status::{Condition, ConditionStatus};

use super::material::{Authority, Rotation};
use super::plan::{Blocker, Step};

/// Blockers that are named; more are counted.
const NAMED: usize = 10;

/// The conditions, from what is in use, what is wrong with the Secrets, and the step that is due.
pub(super) fn conditions(
    authority: Option<&Authority>,
    faults: &[String],
    step: &Step,
    generation: i64,
) -> [Condition; 2] {
    let condition = |kind, status, reason, message| Condition {
        kind,
        status,
        reason,
        message,
        observed_generation: generation,
    };
    let ready = match (authority, faults) {
        (None, faults) => condition(
            "AuthorityReady",
            ConditionStatus::False,
            "NoAuthority",
            format!("no certificates are signed: {}", faults.join("; ")),
        ),
        (Some(authority), []) => condition(
            "AuthorityReady",
            ConditionStatus::True,
            "Ready",
            format!(
                "certificates are signed by {} until {}",
                authority.key_id.0.get(..16).unwrap_or_default(),
                authority.root.within(authority.issuer).not_after
            ),
        ),
        (Some(_), faults) => condition(
            "AuthorityReady",
            ConditionStatus::False,
            "SecretUnusable",
            format!("what was used before stays in use: {}", faults.join("; ")),
        ),
    };
    let (reason, message) = match authority.map(|authority| &authority.material.rotation) {
        None | Some(Rotation::None) => ("Steady", "root and issuer are not being changed".to_owned()),
        Some(Rotation::Announced(_)) => (
            "TrustingBoth",
            format!("the next root is trusted beside the present one; {}", waits(step)),
        ),
        Some(Rotation::Renewing { previous: Some(_) }) => (
            "Renewing",
            format!(
                "certificates are renewed from the new root, the old one is still trusted; {}",
                waits(step)
            ),
        ),
        Some(Rotation::Renewing { previous: None }) => (
            "Renewing",
            format!("certificates are renewed from the new issuer; {}", waits(step)),
        ),
    };
    let rotating = match reason {
        "Steady" => ConditionStatus::False,
        _ => ConditionStatus::True,
    };
    [ready, condition("AuthorityRotating", rotating, reason, message)]
}

fn waits(step: &Step) -> String {
    let Step::Wait(blockers) = step else {
        return "the next step follows".to_owned();
    };
    let named: Vec<String> = blockers.iter().take(NAMED).map(Blocker::to_string).collect();
    let more = match blockers.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    format!("it waits for {}: {}{more}", blockers.len(), named.join(", "))
}
