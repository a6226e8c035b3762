//! Why pods have a sidecar or have none. Pure: the decision is the one that the operator's webhook makes about new pods.

use std::collections::BTreeMap;

use serde_json::Value;
use smilax_core::convention::{container, key};
use smilax_core::probe::PathKey;
use smilax_operator::cluster_view::NamespaceView;
use smilax_operator::inject::{self, InjectRequest, InjectSettings, LeftAlone, Outcome, Rule};

use crate::controller::{Controller, is_gone};
use crate::remedies;
use crate::sidecars;
use crate::trouble;
use crate::world::text;

/// How the mesh injects.
#[derive(Clone, Debug)]
pub(crate) struct Mesh {
    pub(crate) settings: InjectSettings,
    pub(crate) access: smilax_compiler::index::Settings,
    pub(crate) webhook: Webhook,
    /// What of it the user may not see, as sentences.
    pub(crate) unseen: Vec<String>,
}

/// The webhook that asks the operator about new pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Webhook {
    Missing,
    /// The API server cannot trust it yet.
    Unpublished,
    /// Since this time, as far as it is known.
    Registered(Option<String>),
}

/// A namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    pub(crate) view: NamespaceView,
    /// When its label was last written, as far as it is known.
    pub(crate) labelled: Option<String>,
}

/// Whether pods have a sidecar, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Why {
    pub(crate) controller: Controller,
    pub(crate) pods: Vec<String>,
    pub(crate) sidecar: Sidecar,
    pub(crate) rule: String,
    pub(crate) reason: String,
    /// What to do about it; `None` where nothing is wrong.
    pub(crate) next: Option<String>,
}

/// How pods stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sidecar {
    /// They have one.
    Present,
    /// They have one, whose container does not start.
    Failing,
    /// They have none, as they should.
    LeftAlone,
    /// They have none, though they should.
    Lacking,
    /// They are not admitted.
    Refused,
    /// There is no pod yet; a new one gets one.
    Expected,
}

/// What there is of pods: those that run, and the templates of controllers without any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Running,
    Template,
}

/// Whether some pods lack a sidecar that they should have.
pub(crate) fn is_lacking(all: &[Why]) -> bool {
    all.iter().any(|one| {
        matches!(
            one.sidecar,
            Sidecar::Failing | Sidecar::Lacking | Sidecar::Refused
        )
    })
}

/// Pods that are alike stand together, by what makes them.
pub(crate) fn all(pods: &[Value], places: &BTreeMap<String, Place>, mesh: &Mesh) -> Vec<Why> {
    let mut all: Vec<Why> = Vec::new();
    for pod in pods.iter().filter(|pod| !is_gone(pod)) {
        let Some(place) = places.get(text(pod, "/metadata/namespace")) else {
            continue;
        };
        let mut new = why(pod, place, mesh);
        let alike = all.iter_mut().find(|known| {
            (&known.controller, known.sidecar, &known.reason) == (&new.controller, new.sidecar, &new.reason)
        });
        match alike {
            Some(known) => known.pods.append(&mut new.pods),
            None => all.push(new),
        }
    }
    all.sort_by(|a, b| (&a.controller, a.sidecar).cmp(&(&b.controller, b.sidecar)));
    all
}

fn why(pod: &Value, place: &Place, mesh: &Mesh) -> Why {
    let namespace = &place.view;
    let stage = match text(pod, "/kind") {
        "PodTemplate" => Stage::Template,
        _ => Stage::Running,
    };
    let controller = match stage {
        Stage::Running => Controller::of(pod),
        Stage::Template => Controller::of_template(pod),
    };
    let rule = inject::rule(pod, namespace);
    let left_alone = inject::left_alone(pod, namespace, &mesh.settings);
    let (sidecar, reason, next) = match (sidecars::version_of(pod), left_alone) {
        (Some(version), because) => present(pod, version, because, &controller, (rule, namespace)),
        (None, Some(reason)) => (
            Sidecar::LeftAlone,
            because(reason).to_owned(),
            remedy(reason, rule, namespace, &controller),
        ),
        (None, None) if is_unheard(rule, namespace) => {
            (Sidecar::Lacking, unheard(namespace), Some(by_label(&controller)))
        }
        (None, None) => match (refusal(pod, namespace, mesh), stage) {
            (Some(message), _) => (
                Sidecar::Refused,
                message,
                Some("correct the pod template as the message says".to_owned()),
            ),
            (None, Stage::Template) => uncreated(pod, &controller),
            (None, Stage::Running) => lacking(pod, place, mesh, &controller),
        },
    };
    Why {
        pods: match stage {
            Stage::Running => vec![text(pod, "/metadata/name").to_owned()],
            Stage::Template => Vec::new(),
        },
        rule: described(rule, namespace),
        controller,
        sidecar,
        reason,
        next,
    }
}

/// A pod that has a sidecar: whether it runs, and whether a new pod would have one.
fn present(
    pod: &Value,
    version: &str,
    left_alone: Option<LeftAlone>,
    controller: &Controller,
    (rule, namespace): (Rule, &NamespaceView),
) -> (Sidecar, String, Option<String>) {
    if let Some(why) = trouble::of_container(pod, container::PROXY) {
        let next = "correct the value proxy.image of the chart if its image cannot be pulled; else see the log of the container";
        return (
            Sidecar::Failing,
            format!("injected, version {version}; {why}"),
            Some(next.to_owned()),
        );
    }
    let none = match left_alone {
        Some(reason) => Some((because(reason).to_owned(), controller.restart())),
        None if is_unheard(rule, namespace) => Some((unheard(namespace), by_label(controller))),
        None => None,
    };
    match none {
        Some((why, next)) => (
            Sidecar::Present,
            format!("injected, version {version}; a new pod gets none: {why}"),
            Some(next),
        ),
        None => (Sidecar::Present, format!("injected, version {version}"), None),
    }
}

/// Whether the webhook is never asked about a pod that asks for a sidecar: the API server selects by labels, and sees no annotation.
fn is_unheard(rule: Rule, namespace: &NamespaceView) -> bool {
    let label = namespace.labels.get(key::INJECT).map(String::as_str);
    rule == Rule::PodAnnotation && label != Some("enabled")
}

fn unheard(namespace: &NamespaceView) -> String {
    format!(
        "the API server asks the webhook by labels, and neither the pod nor namespace {} has the label {}=enabled",
        namespace.name,
        key::INJECT
    )
}

fn by_label(controller: &Controller) -> String {
    let Controller {
        namespace,
        kind,
        name,
    } = controller;
    match *kind {
        "deployment" | "statefulset" | "daemonset" => remedies::join_by_label(namespace, kind, name),
        _ => format!(
            "write the annotation {} as a label, then {}",
            key::INJECT,
            controller.restart()
        ),
    }
}

/// A workload without pods, none of which the webhook would refuse.
fn uncreated(template: &Value, controller: &Controller) -> (Sidecar, String, Option<String>) {
    match text(template, "/status/message") {
        "" => (Sidecar::Expected, "there is no pod yet".to_owned(), None),
        message => (
            Sidecar::Refused,
            message.to_owned(),
            Some(format!(
                "{} shows Events with the reason; correct the pod template or what they name",
                remedies::describe(&controller.namespace, controller.kind, &controller.name)
            )),
        ),
    }
}

/// Why a pod that should have a sidecar has none.
fn lacking(
    pod: &Value,
    place: &Place,
    mesh: &Mesh,
    controller: &Controller,
) -> (Sidecar, String, Option<String>) {
    let restart = controller.restart();
    let created = text(pod, "/metadata/creationTimestamp");
    // Times of one form, all in UTC.
    let is_older = |than: &Option<String>| {
        let than = than.as_deref().unwrap_or_default();
        !created.is_empty() && created < than
    };
    let (reason, next) = match &mesh.webhook {
        Webhook::Missing => (
            "the webhook smilax-inject is not registered".to_owned(),
            format!(
                "{}, then {restart}",
                remedies::install(&mesh.settings.installation_namespace)
            ),
        ),
        Webhook::Unpublished => (
            "the API server cannot call the webhook smilax-inject: the operator has not published its certificate"
                .to_owned(),
            format!("smilax check tells whether the operator runs; then {restart}"),
        ),
        Webhook::Registered(since) if is_older(since) => (
            format!("the pod, of {created}, is older than the webhook smilax-inject"),
            restart,
        ),
        Webhook::Registered(_) if is_older(&place.labelled) => (
            format!(
                "the pod, of {created}, is older than the label of its namespace, of {}",
                place.labelled.as_deref().unwrap_or_default()
            ),
            restart,
        ),
        Webhook::Registered(_) => (
            "the webhook did not answer when the pod was created, or what it decides by has changed since"
                .to_owned(),
            restart,
        ),
    };
    (Sidecar::Lacking, reason, Some(next))
}

/// Why a new pod like this one would not be admitted.
fn refusal(pod: &Value, namespace: &NamespaceView, mesh: &Mesh) -> Option<String> {
    let request = InjectRequest {
        pod,
        namespace,
        settings: &mesh.settings,
        // It stands in paths that nobody asks for here.
        path_key: &PathKey::new([0; 16]),
    };
    match inject::inject(&request) {
        Outcome::Refused { message } => Some(message),
        Outcome::Injected { .. } | Outcome::LeftAlone { .. } => None,
    }
}

fn described(rule: Rule, namespace: &NamespaceView) -> String {
    let inject = key::INJECT;
    let name = &namespace.name;
    match rule {
        Rule::PodLabel => format!("label {inject} of the pod"),
        Rule::PodAnnotation => format!("annotation {inject} of the pod"),
        Rule::NamespaceLabel => format!("label {inject}=enabled of namespace {name}"),
        Rule::OptOutRefused => {
            format!(
                "label {inject}=enabled of namespace {name}, which refuses calls, so pods may not opt out"
            )
        }
        Rule::Nothing => format!("neither the pod nor namespace {name} sets {inject}"),
    }
}

fn because(reason: LeftAlone) -> &'static str {
    match reason {
        LeftAlone::NotEnabled => "nothing asks for a sidecar",
        LeftAlone::OptedOut => "the pod opted out",
        LeftAlone::HostNetwork => {
            "the pod uses the network of its node, whose traffic must not be redirected"
        }
        LeftAlone::SystemNamespace => "the namespace belongs to Kubernetes or to Smilax itself",
        LeftAlone::MirrorPod => "the pod is a static pod, which no webhook can change",
        LeftAlone::NotLinux => "the pod does not run on Linux",
    }
}

/// How such a pod gets a sidecar; `None` where it never does.
fn remedy(
    reason: LeftAlone,
    rule: Rule,
    namespace: &NamespaceView,
    controller: &Controller,
) -> Option<String> {
    let inject = key::INJECT;
    match reason {
        LeftAlone::NotEnabled => Some(format!(
            "{}, then {}",
            remedies::join(&namespace.name),
            controller.restart()
        )),
        LeftAlone::OptedOut => {
            let what = match rule {
                Rule::PodAnnotation => "annotation",
                Rule::PodLabel | Rule::NamespaceLabel | Rule::OptOutRefused | Rule::Nothing => "label",
            };
            Some(format!("remove the {what} {inject} from the pod template"))
        }
        LeftAlone::HostNetwork => Some("remove hostNetwork from the pod template".to_owned()),
        LeftAlone::SystemNamespace | LeftAlone::MirrorPod | LeftAlone::NotLinux => None,
    }
}
