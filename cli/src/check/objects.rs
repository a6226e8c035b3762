//! SMI objects: what their status says, and what is found about them now that no condition tells.

use std::collections::BTreeMap;

use serde_json::Value;
use smilax_compiler::status::statuses;
use smilax_compiler::{Diagnostic, Reason, Severity};

use super::{Finding, Snapshot, failed, good, notice};
use crate::world::{World, text};

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let mut found = noticed(snapshot, findings);
    let mut ready = 0;
    for object in &snapshot.objects {
        let kind = text(object, "/kind");
        let (namespace, name) = (
            text(object, "/metadata/namespace"),
            text(object, "/metadata/name"),
        );
        let subject = format!("{kind} {namespace}/{name}");
        if conditions(object, &subject, findings) == State::Ready {
            ready += 1;
        }
        let key = (kind.to_owned(), namespace.to_owned(), name.to_owned());
        for one in found.remove(&key).unwrap_or_default() {
            findings.push(notice(
                &subject,
                format!("{}: {}", one.reason.as_str(), one.message),
            ));
        }
    }
    findings.push(good(
        "objects",
        format!("{ready} of {} SMI objects are ready", snapshot.objects.len()),
    ));
}

/// What the status of an object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    NotReady,
}

fn conditions(object: &Value, subject: &str, findings: &mut Vec<Finding>) -> State {
    let all = object["status"]["conditions"].as_array();
    let all: Vec<&Value> = all.into_iter().flatten().collect();
    let status = |kind: &str| {
        let found = all.iter().find(|one| one["type"] == kind);
        found.map(|one| text(one, "/status"))
    };
    let Some(accepted) = status("Accepted") else {
        findings.push(notice(subject, "it has no status yet; the operator writes it"));
        return State::NotReady;
    };
    let ready = status("Ready").unwrap_or(accepted);
    let is_wrong = |one: &&&Value| one["status"] == "False";
    let mut wrong: Vec<&&Value> = all
        .iter()
        .filter(is_wrong)
        .filter(|one| one["type"] != "Ready")
        .collect();
    // It follows from the others, which say more, where one of them is wrong.
    if wrong.is_empty() {
        wrong = all.iter().filter(is_wrong).collect();
    }
    for one in wrong {
        let message = format!("{}: {}", text(one, "/reason"), text(one, "/message"));
        // Nothing carries UDP yet: no mistake of whoever wrote the route.
        let in_force = ready != "False" || object["kind"] == "UDPRoute";
        findings.push(if in_force {
            notice(subject, message)
        } else {
            failed(subject, message)
        });
    }
    if ready == "True" {
        State::Ready
    } else {
        State::NotReady
    }
}

/// Findings that leave every condition as it is, though traffic may not go as the object says. Those about settings that somebody chose are left out.
fn is_told_by_events_only(reason: Reason) -> bool {
    let is_chosen = matches!(
        reason,
        Reason::Audited | Reason::PlaintextOnly | Reason::Tampered | Reason::MoreFindings
    );
    reason.severity() == Severity::Notice && !is_chosen
}

/// By kind, namespace and name.
type Noticed = BTreeMap<(String, String, String), Vec<Diagnostic>>;

/// What the operator tells of objects by Events only, such as a backend that answers its share with 503. Events end; this is asked anew.
fn noticed(snapshot: &Snapshot, findings: &mut Vec<Finding>) -> Noticed {
    if snapshot.objects.is_empty() {
        return Noticed::new();
    }
    let mut world = match World::live(snapshot.policy()) {
        Ok(world) => world,
        Err(error) => {
            findings.push(notice(
                "objects",
                format!("not looked at beyond their status: {error:#}"),
            ));
            return Noticed::new();
        }
    };
    let mut all = Noticed::new();
    for namespace in world.namespaces.clone() {
        for status in statuses(&mut world.index, &namespace) {
            let object = status.object;
            let notices = status.diagnostics.into_iter();
            let notices = notices.filter(|one| is_told_by_events_only(one.reason));
            let key = (
                object.kind.to_string(),
                object.namespace.to_string(),
                object.name.to_string(),
            );
            all.entry(key).or_default().extend(notices);
        }
    }
    all
}
