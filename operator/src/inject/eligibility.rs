//! Which pods get a sidecar, which are left alone, and which cannot run with one.

use serde_json::Value;
use smilax_core::convention::{PROXY_PORTS, TOKEN_AUDIENCE, key};

use super::modes::{self, DISABLED, ENABLED};
use super::pod::{all_containers, annotation, label, list, name, text};
use super::settings::InjectSettings;
use super::{ports, probes, sidecar};
use crate::cluster_view::NamespaceView;

/// Namespaces of Kubernetes itself.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];
/// Annotation of pods that a kubelet made from a file; the API server only mirrors them.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Label with which Pod Security admission refuses pods.
const POD_SECURITY: &str = "pod-security.kubernetes.io/enforce";

/// Why a pod is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeftAlone {
    /// Neither it nor its Namespace asks for one.
    NotEnabled,
    /// It says no.
    OptedOut,
    /// It shares its node's network, whose traffic must not be redirected.
    HostNetwork,
    /// It is of a namespace that belongs to Kubernetes or to the mesh itself.
    SystemNamespace,
    /// A kubelet runs it from a file, whatever the API server says.
    MirrorPod,
    /// It runs on another operating system.
    NotLinux,
}

impl LeftAlone {
    /// Short name, for metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotEnabled => "not-enabled",
            Self::OptedOut => "opted-out",
            Self::HostNetwork => "host-network",
            Self::SystemNamespace => "system-namespace",
            Self::MirrorPod => "mirror-pod",
            Self::NotLinux => "not-linux",
        }
    }

    /// Whether the pod is none of ours to change, whatever it holds.
    pub(super) fn is_untouchable(self) -> bool {
        matches!(self, Self::SystemNamespace | Self::MirrorPod)
    }

    /// What is noted on the pod. `None` for pods that are not touched at all.
    pub fn status(self) -> Option<&'static str> {
        match self {
            Self::OptedOut => Some("left alone: it opted out"),
            Self::HostNetwork => Some("left alone: it uses the host network"),
            Self::NotLinux => Some("left alone: it does not run on Linux"),
            Self::NotEnabled | Self::SystemNamespace | Self::MirrorPod => None,
        }
    }
}

/// What decides whether a pod asks for a sidecar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Its own label.
    PodLabel,
    /// Its own annotation.
    PodAnnotation,
    /// The label of its Namespace.
    NamespaceLabel,
    /// The label of its Namespace; what the pod itself says does not count where its Namespace refuses calls.
    OptOutRefused,
    /// Neither it nor its Namespace says anything that counts.
    Nothing,
}

/// What a pod and its Namespace ask for.
#[derive(Debug)]
enum Wish {
    Join,
    StayOut,
    Nothing,
}

/// Why this pod is left alone, if it is, and warnings about how it asked.
pub(super) fn left_alone(
    pod: &Value,
    namespace: &NamespaceView,
    settings: &InjectSettings,
) -> (Option<LeftAlone>, Vec<String>) {
    if annotation(pod, MIRROR).is_some() {
        return (Some(LeftAlone::MirrorPod), Vec::new());
    }
    let name = namespace.name.as_str();
    if SYSTEM_NAMESPACES.contains(&name) || name == settings.installation_namespace {
        return (Some(LeftAlone::SystemNamespace), Vec::new());
    }
    let (wish, _, warnings) = wish(pod, namespace);
    let reason = match wish {
        Wish::Nothing => Some(LeftAlone::NotEnabled),
        Wish::StayOut => Some(LeftAlone::OptedOut),
        Wish::Join if host_network(pod) => Some(LeftAlone::HostNetwork),
        Wish::Join if !on_linux(pod) => Some(LeftAlone::NotLinux),
        Wish::Join => None,
    };
    (reason, warnings)
}

/// Everything that keeps a pod from running with a sidecar, each with what to do about it.
pub(super) fn obstacles(pod: &Value, namespace: &NamespaceView) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(level @ ("baseline" | "restricted")) = namespace.labels.get(POD_SECURITY).map(String::as_str)
    {
        found.push(format!(
            "namespace {} enforces Pod Security {level:?}, which forbids the NET_ADMIN that the redirect needs: set its \
             label {POD_SECURITY} to privileged, or the pod's label {} to {DISABLED}",
            namespace.name,
            key::INJECT
        ));
    }
    for container in all_containers(pod) {
        in_container(container, &mut found);
    }
    found.extend(tokens(pod));
    for volume in list(pod, "/spec/volumes").map(name) {
        if sidecar::VOLUMES.contains(&volume) {
            found.push(format!(
                "volume {volume:?} has a name that the sidecar needs: rename it"
            ));
        }
    }
    found
}

/// Volumes with a token for the mesh that are not the sidecar's: whoever mounts one could ask for the pod's certificate.
pub(super) fn tokens(pod: &Value) -> Vec<String> {
    let is_token = |volume: &&Value| {
        list(volume, "/projected/sources")
            .any(|source| text(source, "/serviceAccountToken/audience") == Some(TOKEN_AUDIENCE))
    };
    let told = |volume: &Value| {
        format!(
            "volume {:?} has a token for the audience {TOKEN_AUDIENCE}, which is for the sidecar alone: remove the volume",
            name(volume)
        )
    };
    list(pod, "/spec/volumes").filter(is_token).map(told).collect()
}

/// What a container takes of the sidecar's: its name, its volumes.
pub(super) fn claims(container: &Value) -> Vec<String> {
    let container_name = name(container);
    let mut found = Vec::new();
    if sidecar::CONTAINERS.contains(&container_name) {
        found.push(format!(
            "container {container_name:?} has a name that the sidecar needs: rename it"
        ));
    }
    let mounts = list(container, "/volumeMounts").map(name);
    // Whoever mounts the proxy's memory could read its key one day.
    for volume in mounts.filter(|volume| sidecar::VOLUMES.contains(volume)) {
        found.push(format!(
            "container {container_name:?} mounts {volume:?}, which belongs to the sidecar: remove the mount"
        ));
    }
    found
}

fn in_container(container: &Value, found: &mut Vec<String>) {
    let container_name = name(container);
    found.extend(claims(container));
    let listened = list(container, "/ports").filter_map(ports::number);
    let mut taken: Vec<u16> = listened
        .chain(probes::ports(container))
        .filter(|port| PROXY_PORTS.contains(port))
        .collect();
    taken.sort_unstable();
    taken.dedup();
    for port in taken {
        found.push(format!(
            "container {container_name:?} uses port {port}, which is the proxy's: choose another"
        ));
    }
}

/// What decides whether a pod asks for a sidecar.
pub(super) fn rule(pod: &Value, namespace: &NamespaceView) -> Rule {
    wish(pod, namespace).1
}

fn wish(pod: &Value, namespace: &NamespaceView) -> (Wish, Rule, Vec<String>) {
    let mut warnings = Vec::new();
    let mut read = |place: &str, value: Option<&str>| match value {
        Some(ENABLED) => Some(Wish::Join),
        Some(DISABLED) => Some(Wish::StayOut),
        Some(other) => {
            warnings.push(format!(
                "{place} {}: {other:?} has no effect: write {ENABLED} or {DISABLED}",
                key::INJECT
            ));
            None
        }
        None => None,
    };
    let by_label = read("label", label(pod, key::INJECT));
    let by_annotation = read("annotation", annotation(pod, key::INJECT));
    let of_namespace = namespace.labels.get(key::INJECT).map(String::as_str);
    let by_label = by_label.map(|wish| (wish, Rule::PodLabel));
    let by_annotation = by_annotation.map(|wish| (wish, Rule::PodAnnotation));
    let (wish, rule) = match (by_label.or(by_annotation), of_namespace) {
        (Some((Wish::StayOut, _)), _) if modes::keeps_pods_in(namespace) => {
            warnings.push(format!(
                "{}: {DISABLED} is not allowed: {}",
                key::INJECT,
                modes::reserved(namespace)
            ));
            (Wish::Join, Rule::OptOutRefused)
        }
        (Some(own), _) => own,
        (None, Some(ENABLED)) => (Wish::Join, Rule::NamespaceLabel),
        (None, _) => (Wish::Nothing, Rule::Nothing),
    };
    (wish, rule, warnings)
}

fn host_network(pod: &Value) -> bool {
    pod.pointer("/spec/hostNetwork").and_then(Value::as_bool) == Some(true)
}

fn on_linux(pod: &Value) -> bool {
    let named = text(pod, "/spec/os/name").or_else(|| {
        pod.pointer("/spec/nodeSelector")?
            .get("kubernetes.io/os")?
            .as_str()
    });
    named.is_none_or(|system| system == "linux")
}
