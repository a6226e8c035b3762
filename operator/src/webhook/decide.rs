//! From a review to an answer. Pure; the second value is the outcome that is counted.

use serde_json::Value;
use smilax_compiler::keys::{self, Membership};
use smilax_compiler::model::Target;
use smilax_core::convention::key;
use smilax_core::probe::PathKey;

use super::review::{Answer, Operation, Request, Verdict};
use crate::cluster_view::{ClusterView, NamespaceView};
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

/// Says what is wrong with the labels and annotations of an object. Never refuses it.
pub(super) fn keys(request: &Request, namespace: Option<&NamespaceView>) -> Decision {
    if !is_written(request) {
        return (Answer::default(), "ignored");
    }
    let membership = if request.kind.kind == "Namespace" {
        let label = request
            .object
            .pointer("/metadata/labels")
            .and_then(|all| all.get(key::INJECT));
        Membership::labelled(label.and_then(Value::as_str))
    } else {
        let label = namespace.and_then(|namespace| namespace.labels.get(key::INJECT));
        Membership::labelled(label.map(String::as_str))
    };
    let findings = keys::judge(&request.kind.kind, &request.object, membership);
    verdict(&[], findings.iter().map(ToString::to_string).collect())
}

/// Decides about an SMI object or one of the mesh's own.
pub(super) fn policy(request: &Request, view: &dyn ClusterView) -> Decision {
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
    if let Some(found) = smilax_crds::room(&request.object) {
        let was_so =
            request.operation == Operation::Update && smilax_crds::room(&request.old_object).is_some();
        if was_so {
            warnings.push(found.to_string());
        } else {
            errors.push(found.to_string());
        }
    }
    if errors.is_empty() && request.kind.kind == "TrafficTarget" {
        warnings.extend(newest(request).map_or_else(Vec::new, |target| view.target_warnings(&target)));
    }
    verdict(&errors, warnings)
}

/// The target as it will be read from the API server.
fn newest(request: &Request) -> Option<Target> {
    let mut object = request.object.clone();
    object["metadata"]["namespace"] = request.namespace.as_str().into();
    let group = &request.kind.group;
    let converted = smilax_crds::convert(object, &format!("{group}/v1alpha4")).ok()?;
    Some(smilax_compiler::ingest::traffic_target(&converted.object))
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
