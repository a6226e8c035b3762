//! From a review to an answer. Pure; the second value is the outcome that is counted.

use serde_json::{Map, Value};
use smilax_compiler::keys::{self, Membership};
use smilax_compiler::model::Target;
use smilax_core::convention::key;
use smilax_core::probe::PathKey;

use super::Webhook;
use super::review::{About, Answer, Life, Needs, Operation, Request, TooMuch, Verdict, Weighed};
use crate::cluster_view::{ClusterView, NamespaceView};
use crate::inject::{self, InjectRequest, InjectSettings, LeftAlone, Outcome};

/// An answer and the word under which it is counted.
pub(super) type Decision = (Answer, &'static str);

/// Which objects of a review are read. Without any, it is answered with [`ignored`].
pub(super) fn needs(webhook: Webhook, about: &About) -> Needs {
    let is_written =
        matches!(about.operation, Operation::Create | Operation::Update) && about.sub_resource.is_empty();
    let operation = about.operation;
    match webhook {
        Webhook::Inject if is_written && operation == Operation::Create && is_pod(about) => Needs::Object,
        Webhook::Validate if is_pod(about) => {
            let judged = matches!(about.sub_resource.as_str(), "" | "ephemeralcontainers");
            if operation == Operation::Update && judged {
                Needs::Both
            } else {
                Needs::Nothing
            }
        }
        Webhook::Validate if is_written && operation == Operation::Update => Needs::Comparison,
        Webhook::Validate | Webhook::Keys if is_written => Needs::Object,
        _ => Needs::Nothing,
    }
}

/// Memory that answering takes, for objects that take so much: what is read, and the copies that are made of it.
pub(super) fn memory(webhook: Webhook, weighed: Weighed) -> usize {
    let Weighed {
        object, old_object, ..
    } = weighed;
    match webhook {
        // The pod without an earlier injection, the one with its sidecar, and what lies between them in the patch.
        Webhook::Inject => 4 * object,
        // The object in the version of storage.
        Webhook::Validate => 2 * object + old_object,
        Webhook::Keys | Webhook::Convert => object,
    }
}

/// About what is not judged.
pub(super) fn ignored() -> Decision {
    (Answer::default(), "ignored")
}

/// About an object that is not read. What goes may go; a warning is no reason to refuse anything.
pub(super) fn too_much(webhook: Webhook, TooMuch { message, life }: TooMuch) -> Decision {
    match (webhook, life) {
        (Webhook::Keys, _) => verdict(&[], vec![message]),
        (Webhook::Validate, Life::Ends) => ignored(),
        _ => (
            denied(413, "RequestEntityTooLarge", message, Vec::new()),
            "too_much",
        ),
    }
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

/// Whether a review asks about a pod.
pub(super) fn is_pod(about: &About) -> bool {
    about.kind.group.is_empty() && about.kind.kind == "Pod"
}

/// Decides about a change of a pod, or of its ephemeral containers.
pub(super) fn pod_change(request: &Request, settings: &InjectSettings) -> Decision {
    let findings = inject::validate_running(&request.object, &request.old_object, settings);
    verdict(&findings.errors, findings.warnings)
}

/// Whether judging this object needs its Namespace.
pub(super) fn is_workload(about: &About) -> bool {
    matches!(about.kind.group.as_str(), "apps" | "batch")
}

/// Decides about a workload.
pub(super) fn workload(request: &Request, namespace: &NamespaceView, settings: &InjectSettings) -> Decision {
    if is_going(request) {
        return ignored();
    }
    let before = (request.about.operation == Operation::Update).then_some(&request.old_object);
    let findings = inject::validate_workload(&request.object, before, namespace, settings);
    verdict(&findings.errors, findings.warnings)
}

/// Says what is wrong with the labels and annotations of an object. Never refuses it.
pub(super) fn keys(request: &Request, namespace: &NamespaceView) -> Decision {
    if is_going(request) {
        return ignored();
    }
    let membership = if request.about.kind.kind == "Namespace" {
        let label = request
            .object
            .pointer("/metadata/labels")
            .and_then(|all| all.get(key::INJECT));
        Membership::labelled(label.and_then(Value::as_str))
    } else {
        let label = namespace.labels.get(key::INJECT);
        Membership::labelled(label.map(String::as_str))
    };
    let findings = keys::judge(&request.about.kind.kind, &request.object, membership);
    verdict(&[], findings.iter().map(ToString::to_string).collect())
}

/// Decides about an SMI object or one of the mesh's own.
///
/// What is being deleted may still change, and is watched until it is gone. So only its content is judged: removing a
/// finalizer passes whatever is stored.
pub(super) fn policy(request: &Request, view: &dyn ClusterView) -> Decision {
    if is_going(request) && same_content(&request.object, &request.old_object) {
        return ignored();
    }
    let found = smilax_crds::validate(&request.object);
    let mut errors: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
    let mut warnings = found.warnings;
    // What an earlier mesh let in must stay open to every other change: labels, finalizers, status.
    if request.about.operation == Operation::Update && same_content(&request.object, &request.old_object) {
        warnings.append(&mut errors);
    }
    if let Some(found) = smilax_crds::room(&request.object) {
        let was_so =
            request.about.operation == Operation::Update && smilax_crds::room(&request.old_object).is_some();
        if was_so {
            warnings.push(found.to_string());
        } else {
            errors.push(found.to_string());
        }
    }
    if errors.is_empty() && request.about.kind.kind == "TrafficTarget" {
        warnings.extend(newest(request).map_or_else(Vec::new, |target| view.target_warnings(&target)));
    }
    verdict(&errors, warnings)
}

/// The target as it will be read from the API server.
fn newest(request: &Request) -> Option<Target> {
    let mut object = request.object.clone();
    object["metadata"]["namespace"] = request.about.namespace.as_str().into();
    let group = &request.about.kind.group;
    let converted = smilax_crds::convert(object, &format!("{group}/v1alpha4")).ok()?;
    Some(smilax_compiler::ingest::traffic_target(&converted.object))
}

/// Whether an object is being deleted.
fn is_going(request: &Request) -> bool {
    request
        .object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null())
}

/// Whether two versions of an object differ at most in metadata and status.
fn same_content(one: &Value, other: &Value) -> bool {
    match (one.as_object(), other.as_object()) {
        (Some(one), Some(other)) => content_of(one).eq(content_of(other)),
        _ => one == other,
    }
}

fn content_of(object: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    object
        .iter()
        .filter(|(field, _)| !matches!(field.as_str(), "metadata" | "status"))
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
