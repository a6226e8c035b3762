//! From a review to an answer. Pure; the second value is the outcome that is counted.

use serde_json::Value;
use smilax_core::probe::PathKey;

use super::review::{Answer, Operation, Request, Verdict};
use crate::cluster_view::NamespaceView;
use crate::inject::{self, InjectRequest, InjectSettings, LeftAlone, Outcome};

/// An answer and the word under which it is counted.
pub(super) type Decision = (Answer, &'static str);

/// Whether a review asks about something that gets sidecars.
pub(super) fn is_pod_creation(request: &Request) -> bool {
    request.operation == Operation::Create
        && request.kind.group.is_empty()
        && request.kind.kind == "Pod"
        && request.sub_resource.is_empty()
}

/// Whether the pod or its Namespace asks for a sidecar, or at least says something about it.
pub(super) fn joins(request: &Request, namespace: &NamespaceView, settings: &InjectSettings) -> bool {
    inject::left_alone(&request.object, namespace, settings) != Some(LeftAlone::NotEnabled)
}

/// Decides about a pod under creation.
pub(super) fn injection(
    request: &Request,
    namespace: &NamespaceView,
    settings: &InjectSettings,
    path_key: &PathKey,
) -> Decision {
    let pod = &request.object;
    let asked = InjectRequest {
        pod,
        namespace,
        settings,
        path_key,
    };
    match inject::inject(&asked) {
        Outcome::Injected {
            pod: mutated,
            warnings,
        } => (changed(pod, &mutated, warnings), "injected"),
        Outcome::LeftAlone {
            reason,
            pod: mutated,
            warnings,
        } => (
            changed(pod, mutated.as_ref().unwrap_or(pod), warnings),
            reason.as_str(),
        ),
        Outcome::Refused { message } => (denied(403, "Forbidden", message, Vec::new()), "refused"),
    }
}

/// Whether a review asks about a change of a pod.
pub(super) fn is_pod_change(request: &Request) -> bool {
    request.kind.group.is_empty() && request.kind.kind == "Pod"
}

/// Decides about a change of a pod, or of its ephemeral containers.
pub(super) fn pod_change(request: &Request, settings: &InjectSettings) -> Decision {
    let judged = matches!(request.sub_resource.as_str(), "" | "ephemeralcontainers");
    if request.operation != Operation::Update || !judged {
        return (Answer::default(), "ignored");
    }
    let findings = inject::validate_running(&request.object, &request.old_object, settings);
    verdict(&findings.errors, findings.warnings)
}

/// Whether judging this object needs its Namespace.
pub(super) fn is_workload(request: &Request) -> bool {
    matches!(request.kind.group.as_str(), "apps" | "batch")
}

/// Decides about a workload.
pub(super) fn workload(request: &Request, namespace: &NamespaceView, settings: &InjectSettings) -> Decision {
    if !is_written(request) {
        return (Answer::default(), "ignored");
    }
    let before = (request.operation == Operation::Update).then_some(&request.old_object);
    let findings = inject::validate_workload(&request.object, before, namespace, settings);
    verdict(&findings.errors, findings.warnings)
}

/// Decides about an SMI object or one of the mesh's own.
pub(super) fn policy(request: &Request) -> Decision {
    if !is_written(request) {
        return (Answer::default(), "ignored");
    }
    let found = smilax_crds::validate(&request.object);
    let mut errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let mut warnings = found.warnings;
    // What an earlier mesh let in must stay open to every other change: labels, finalizers, status.
    if request.operation == Operation::Update && same_content(&request.object, &request.old_object) {
        warnings.append(&mut errors);
    }
    verdict(&errors, warnings)
}

/// Whether something is stored that will stay.
fn is_written(request: &Request) -> bool {
    matches!(request.operation, Operation::Create | Operation::Update)
        && request.sub_resource.is_empty()
        && request
            .object
            .pointer("/metadata/deletionTimestamp")
            .is_none_or(Value::is_null)
}

/// Whether two versions of an object differ at most in metadata and status.
fn same_content(one: &Value, other: &Value) -> bool {
    let content = |object: &Value| {
        let mut object = object.clone();
        if let Some(fields) = object.as_object_mut() {
            fields.remove("metadata");
            fields.remove("status");
        }
        object
    };
    content(one) == content(other)
}

fn verdict(errors: &[String], warnings: Vec<String>) -> Decision {
    if errors.is_empty() {
        let answer = Answer {
            verdict: Verdict::Allowed,
            warnings,
        };
        (answer, "allowed")
    } else {
        (denied(422, "Invalid", errors.join("\n"), warnings), "denied")
    }
}

fn denied(code: u16, reason: &'static str, message: String, warnings: Vec<String>) -> Answer {
    Answer {
        verdict: Verdict::Denied {
            code,
            reason,
            message,
        },
        warnings,
    }
}

fn changed(raw: &Value, mutated: &Value, warnings: Vec<String>) -> Answer {
    let patch = inject::patch(raw, mutated);
    let verdict = if patch.0.is_empty() {
        Verdict::Allowed
    } else {
        Verdict::Changed(patch)
    };
    Answer { verdict, warnings }
}
