//! Conditions of the MeshConfig: whether its fields are in force, and the state of the authority.

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use smilax_compiler::status::{Condition, ConditionStatus};
use time::OffsetDateTime;

use super::material::{Authority, Rotation};
use super::plan::{Blocker, Step};

/// Blockers that are named; more are counted.
const NAMED: usize = 10;

/// Whether every field of a MeshConfig is in force. A field that is not valid is ignored, and the value of the installation stands: the webhook refuses
/// such an object, but may have been away when it was written.
pub(super) fn accepted(mesh: &Value, rotate: Result<(), String>, generation: i64) -> Condition {
    let mut faults: Vec<String> = smilax_crds::validate(mesh)
        .errors
        .iter()
        .map(ToString::to_string)
        .collect();
    faults.extend(rotate.err());
    let (status, reason, message) = if faults.is_empty() {
        let message = "every field is in force".to_owned();
        (ConditionStatus::True, "Accepted", message)
    } else {
        let message = format!(
            "ignored, so that the value of the installation applies: {}",
            faults.join("; ")
        );
        (ConditionStatus::False, "Invalid", message)
    };
    Condition {
        kind: "Accepted",
        status,
        reason,
        message,
        observed_generation: generation,
    }
}

/// Conditions of the authority, from what is in use, what is wrong with the Secrets, the user's Secret, and the step that is due.
pub(super) fn conditions(
    authority: Option<&Authority>,
    faults: &[String],
    signer_fault: Option<&str>,
    given: Option<&str>,
    step: &Step,
    generation: i64,
) -> [Condition; 3] {
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
                rfc3339(authority.root.within(authority.issuer).not_after)
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
        None | Some(Rotation::None) => ("Steady", steady(given)),
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
    let rotating = condition("AuthorityRotating", rotating, reason, message);
    let (status, reason, message) = match (authority, signer_fault) {
        (None, _) => (
            ConditionStatus::False,
            "NoAuthority",
            "configurations are not signed".to_owned(),
        ),
        (Some(_), Some(fault)) => (
            ConditionStatus::False,
            "SignerUnusable",
            format!(
                "configurations are signed by the authority before, or by nobody: {fault}. An issuer with extended key usages \
                 must allow any, or none may be named; it is tried again"
            ),
        ),
        (Some(_), None) => (
            ConditionStatus::True,
            "Signed",
            "configurations are signed by this authority".to_owned(),
        ),
    };
    [
        ready,
        rotating,
        condition("ConfigurationsSigned", status, reason, message),
    ]
}

fn rfc3339(time: OffsetDateTime) -> String {
    // Certificates have whole seconds, and years that jiff knows.
    Timestamp::from_second(time.unix_timestamp()).map_or_else(|_| time.to_string(), |time| time.to_string())
}

fn steady(given: Option<&str>) -> String {
    match given {
        None => "root and issuer are not being changed".to_owned(),
        Some(name) => format!(
            "root and issuer are not being changed; they follow Secret {name}, and no request: change that Secret"
        ),
    }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::material::Material;
    use super::*;

    fn authority() -> Authority {
        let now = OffsetDateTime::from_unix_timestamp(1_800_000_000).unwrap();
        Authority::examine(Material::create(7, now).unwrap(), now).unwrap()
    }

    fn told(authority: Option<&Authority>, faults: &[String], step: &Step) -> [(&'static str, String); 2] {
        let [ready, rotating, _] =
            conditions(authority, faults, None, None, step, 1).map(|one| (one.reason, one.message));
        [ready, rotating]
    }

    #[test]
    fn s3_it_is_told_whether_configurations_are_signed() {
        let signed = |authority, fault| {
            let [_, _, signed] = conditions(authority, &[], fault, None, &Step::Keep, 1);
            (signed.kind, signed.status, signed.reason, signed.message)
        };
        let authority = authority();
        let (kind, status, reason, _) = signed(Some(&authority), None);
        assert_eq!(
            (kind, status, reason),
            ("ConfigurationsSigned", ConditionStatus::True, "Signed")
        );
        let (_, status, reason, message) = signed(Some(&authority), Some("no usage of ours"));
        assert_eq!((status, reason), (ConditionStatus::False, "SignerUnusable"));
        assert!(message.contains("no usage of ours"), "{message}");
        let (_, status, reason, _) = signed(None, None);
        assert_eq!((status, reason), (ConditionStatus::False, "NoAuthority"));
    }

    #[test]
    fn who_holds_a_change_up_is_named_ten_at_most() {
        let authority = authority();
        let now = authority.root.not_before;
        let announce = Step::Announce {
            next: super::super::Next::SelfMade,
            request: None,
        };
        let announced = authority.material.carry_out(&announce, 0, now).unwrap();
        let announced = Authority::examine(announced, now).unwrap();
        let blockers = (0..12).map(|pod| Blocker::Silent(format!("shop/web-{pod}")));
        let [_, (reason, message)] = told(Some(&announced), &[], &Step::Wait(blockers.collect()));
        assert_eq!(reason, "TrustingBoth");
        assert!(
            message.contains("it waits for 12: shop/web-0 is not connected"),
            "{message}"
        );
        assert!(
            message.ends_with("and 2 more") && !message.contains("web-10"),
            "{message}"
        );
    }

    #[test]
    fn a_mesh_config_says_which_of_its_fields_are_ignored() {
        let mesh = |spec| json!({"apiVersion": "mesh.smilax.dev/v1alpha1", "kind": "MeshConfig", "metadata": {"name": "default"}, "spec": spec});
        let told = accepted(&mesh(json!({"tlsMode": "strict"})), Ok(()), 3);
        assert_eq!(
            (told.status, told.observed_generation),
            (ConditionStatus::True, 3)
        );
        let told = accepted(
            &mesh(json!({"tlsMode": "open", "clusterDomain": "a b"})),
            Err("metadata.annotations[smilax.dev/rotate]: no request".to_owned()),
            4,
        );
        assert_eq!((told.status, told.reason), (ConditionStatus::False, "Invalid"));
        for part in ["spec.tlsMode", "spec.clusterDomain", "smilax.dev/rotate"] {
            assert!(told.message.contains(part), "{}", told.message);
        }
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_told_whether_or_not_something_is_in_use() {
        let fault = ["Secret smilax-ca: entry issuer.key is malformed: x".to_owned()];
        let [(reason, message), _] = told(Some(&authority()), &fault, &Step::Keep);
        assert_eq!(reason, "SecretUnusable");
        assert!(message.contains(&fault[0]));
        let [(reason, message), _] = told(None, &fault, &Step::Keep);
        assert_eq!(reason, "NoAuthority");
        assert!(message.contains(&fault[0]));
        let [(reason, _), (rotating, _)] = told(Some(&authority()), &[], &Step::Keep);
        assert_eq!((reason, rotating), ("Ready", "Steady"));
        let [(_, message), _] = told(Some(&authority()), &[], &Step::Keep);
        let until = message.split(" until ").nth(1).unwrap();
        assert!(
            until.contains('T') && until.ends_with('Z'),
            "not RFC 3339: {message}"
        );
    }
}
