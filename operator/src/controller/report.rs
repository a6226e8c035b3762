//! What is told of pods: that they should have a proxy and have none, that something they ask for is ignored, and that
//! they must be made again for a setting to count.

mod pod_reason;

use std::collections::BTreeMap;
use std::sync::Arc;

use smilax_compiler::compile::is_enabled;
use smilax_compiler::model::Pod;
use smilax_compiler::modes::InboundUdp;
use smilax_compiler::{Index, Modes, judge_token};
use smilax_core::convention::key;

pub use pod_reason::PodReason;

/// Something to be told of a pod, once in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodFinding {
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// Identity of the pod.
    pub uid: String,
    /// Reason of the Event.
    pub reason: PodReason,
    /// What the Event says.
    pub message: String,
}

const NOT_INJECTED_MESSAGE: &str = "the pod runs without a proxy though its namespace is in the mesh: it was made while no operator \
         answered, or before the namespace joined; delete it so that it is made again";

impl PodFinding {
    fn new(pod: &Pod, reason: PodReason, message: String) -> Self {
        Self {
            namespace: pod.meta.namespace.to_string(),
            name: pod.meta.name.to_string(),
            uid: pod.meta.uid.clone(),
            reason,
            message,
        }
    }
}

/// Everything that is to be told of the pods of a namespace.
pub fn findings(index: &Index, namespace: &str) -> Vec<PodFinding> {
    let mut findings = uninjected(index, namespace);
    findings.extend(outdated(index, namespace));
    findings.extend(unreachable(index, namespace));
    findings.extend(without_certificate(index, namespace));
    let pods = index.contents(namespace).map(|contents| contents.pods.values());
    findings.extend(pods.into_iter().flatten().filter_map(ignored));
    findings
}

/// What injection noted as ignored.
fn ignored(pod: &Pod) -> Option<PodFinding> {
    let note = pod.inject_status.as_deref()?.strip_prefix("injected; ")?;
    pod.injected()
        .then(|| PodFinding::new(pod, PodReason::InvalidAnnotation, note.to_owned()))
}

/// Pods that let UDP in, or keep it out, as an earlier access mode had it.
fn outdated(index: &Index, namespace: &str) -> Vec<PodFinding> {
    let (Some(contents), Some(found)) = (index.contents(namespace), index.namespace(namespace)) else {
        return Vec::new();
    };
    let (modes, _) = Modes::of(index.settings(), &found.annotations);
    let living = contents.pods.values().filter(|pod| !pod.finished);
    living.filter_map(|pod| restart(pod, &modes)).collect()
}

/// Pods left alone on purpose to which a Service of a strict namespace leads. Those that slipped past injection are told of
/// that instead.
fn unreachable(index: &Index, namespace: &str) -> Vec<PodFinding> {
    let membership = Membership::of(index, namespace);
    smilax_compiler::uncallable(index, namespace)
        .filter(|pod| !wants_proxy(pod, membership))
        .map(|pod| {
            let why = if pod.host_network {
                "it uses the host network"
            } else {
                "it was left alone"
            };
            let message = format!(
                "the pod has no proxy ({why}), and namespace {namespace} accepts nothing but mutual TLS \
                 ({}: strict), so pods of the mesh refuse to call it; run it in a permissive namespace, or annotate the \
                 Namespace with {}: \"true\" and the pod with {}, which lists its ports",
                key::TLS_MODE,
                key::ALLOW_RELAX,
                key::SKIP_INBOUND_PORTS
            );
            PodFinding::new(pod, PodReason::UnreachableFromMesh, message)
        })
        .collect()
}

/// Pods with a token for the mesh that get no certificate for it. One without any token does not ask for one.
fn without_certificate(index: &Index, namespace: &str) -> Vec<PodFinding> {
    let pods = index.contents(namespace).map(|contents| contents.pods.values());
    let living = pods
        .into_iter()
        .flatten()
        .filter(|pod| !pod.finished && !pod.token_holders.is_empty());
    living
        .filter_map(|pod| {
            let why = judge_token(pod, &index.settings().sidecar_images).err()?;
            Some(PodFinding::new(
                pod,
                PodReason::NoCertificate,
                format!("no certificate is given to the pod: {why}"),
            ))
        })
        .collect()
}

fn restart(pod: &Pod, modes: &Modes) -> Option<PodFinding> {
    let sidecar = pod.sidecar.as_ref()?;
    let message = match (modes.inbound_udp(sidecar.access), sidecar.inbound_udp) {
        (InboundUdp::Drop, InboundUdp::Open) => {
            "the access mode is deny by now, but the pod lets new inbound UDP in, as it did when it was made; restart it"
        }
        (InboundUdp::Open, InboundUdp::Drop) => {
            "the access mode is deny no more, but the pod drops new inbound UDP, as it did when it was made; restart it"
        }
        (InboundUdp::Drop, InboundUdp::Drop) | (InboundUdp::Open, InboundUdp::Open) => return None,
    };
    Some(PodFinding::new(pod, PodReason::RestartNeeded, message.to_owned()))
}

/// Pods of a namespace that should have a proxy and have none.
fn uninjected(index: &Index, namespace: &str) -> Vec<PodFinding> {
    let Some(contents) = index.contents(namespace) else {
        return Vec::new();
    };
    let membership = Membership::of(index, namespace);
    contents
        .pods
        .values()
        .filter(|pod| wants_proxy(pod, membership) && !pod.injected())
        .map(|pod| PodFinding::new(pod, PodReason::NotInjected, NOT_INJECTED_MESSAGE.to_owned()))
        .collect()
}

/// Which pods of a namespace are to have a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    /// Those that ask for one.
    Outside,
    /// All but those that stay out on purpose.
    Joined,
    /// All of them: the namespace enforces something that pods must not get around by themselves.
    Bound,
}

impl Membership {
    fn of(index: &Index, namespace: &str) -> Self {
        if !is_enabled(index, namespace) {
            return Self::Outside;
        }
        let binds = index
            .namespace(namespace)
            .is_some_and(|one| Modes::of(index.settings(), &one.annotations).0.binds_pods());
        if binds { Self::Bound } else { Self::Joined }
    }
}

/// A pod that was left alone on purpose carries the reason, and one that has ended needs nothing. Whoever may patch a pod
/// may write that reason, so it does not count where no pod may stay out.
fn wants_proxy(pod: &Pod, membership: Membership) -> bool {
    let label = pod.labels.get(key::INJECT).map(String::as_str);
    let asked = match (membership, label) {
        (Membership::Bound, _) | (_, Some("enabled")) => true,
        (_, Some("disabled")) | (Membership::Outside, _) => false,
        (Membership::Joined, _) => true,
    };
    let left_alone = membership != Membership::Bound && pod.inject_status.is_some();
    asked && !left_alone && !pod.finished && !pod.host_network
}

/// Pods with a proxy, and pods that lack one, by namespace. Only namespaces that moved are looked at.
#[derive(Debug, Default)]
pub struct PodCounts(BTreeMap<Arc<str>, PodCount>);

/// How many pods there are of either sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodCount {
    /// They have a proxy.
    pub injected: usize,
    /// They should have one.
    pub uninjected: usize,
}

impl PodCounts {
    /// Counts the pods of a namespace anew.
    pub fn look_at(&mut self, index: &Index, namespace: &Arc<str>) {
        let pods = index.contents(namespace).map(|contents| contents.pods.values());
        let have = pods
            .into_iter()
            .flatten()
            .filter(|pod| pod.injected() && !pod.finished);
        let count = PodCount {
            injected: have.count(),
            uninjected: uninjected(index, namespace).len(),
        };
        if count == PodCount::default() || index.namespace(namespace).is_none() {
            self.0.remove(namespace);
        } else {
            self.0.insert(namespace.clone(), count);
        }
    }

    /// Over the whole mesh.
    pub fn all(&self) -> PodCount {
        self.0.values().fold(PodCount::default(), |all, one| PodCount {
            injected: all.injected + one.injected,
            uninjected: all.uninjected + one.uninjected,
        })
    }
}

#[cfg(test)]
mod tests;
