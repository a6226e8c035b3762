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
mod tests {
    use smilax_compiler::model::Sidecar;
    use smilax_compiler::token::TokenHolder;
    use smilax_core::config::AccessMode;

    use super::*;

    fn pod() -> Pod {
        Pod::default()
    }

    fn injected(inbound_udp: InboundUdp, access: Option<AccessMode>) -> Pod {
        Pod {
            sidecar: Some(Sidecar {
                image: String::new(),
                inbound_udp,
                access,
            }),
            ..pod()
        }
    }

    #[test]
    fn a_pod_that_was_made_under_another_mode_is_to_be_restarted() {
        let is_told = |udp, own, access| {
            let modes = Modes {
                access,
                ..Modes::default()
            };
            let told = restart(&injected(udp, own), &modes).map(|one| one.reason);
            told == Some(PodReason::RestartNeeded)
        };
        assert!(is_told(InboundUdp::Open, None, AccessMode::Deny));
        assert!(is_told(InboundUdp::Drop, None, AccessMode::Allow));
        assert!(!is_told(InboundUdp::Drop, None, AccessMode::Deny));
        assert!(!is_told(InboundUdp::Open, None, AccessMode::Allow));
        assert!(is_told(
            InboundUdp::Open,
            Some(AccessMode::Deny),
            AccessMode::Allow
        ));
    }

    #[test]
    fn s31_a_patch_makes_no_pod_one_that_is_in_keeping_with_its_access_mode() {
        let mut pod = injected(InboundUdp::Open, None);
        pod.annotations
            .insert(key::INBOUND_UDP.to_owned(), "drop".to_owned());
        let modes = Modes {
            access: AccessMode::Deny,
            ..Modes::default()
        };
        assert!(restart(&pod, &modes).is_some());
    }

    #[test]
    fn what_injection_ignored_is_told_and_a_plain_note_is_not() {
        let noted = |status: &str| Pod {
            inject_status: Some(status.to_owned()),
            ..injected(InboundUdp::Open, None)
        };
        let finding = ignored(&noted("injected; ignored: smilax.dev/log-level: no filter")).unwrap();
        assert_eq!(finding.reason, PodReason::InvalidAnnotation);
        assert_eq!(finding.message, "ignored: smilax.dev/log-level: no filter");
        assert_eq!(ignored(&noted("injected")), None);
        assert_eq!(ignored(&noted("left alone: it uses the host network")), None);
        assert_eq!(ignored(&pod()), None);
    }

    #[test]
    fn a_pod_without_a_proxy_behind_a_service_of_a_strict_namespace_is_told_that_it_cannot_be_called() {
        let mut index = Index::new(smilax_compiler::index::Settings::default());
        let namespace = |mode: &str| smilax_compiler::model::Namespace {
            name: "shop".into(),
            labels: [(key::INJECT.to_owned(), "enabled".to_owned())].into(),
            annotations: [(key::TLS_MODE.to_owned(), mode.to_owned())].into(),
            ..Default::default()
        };
        let service = serde_json::json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
        });
        let service = smilax_compiler::ingest::service(&serde_json::from_value(service).unwrap());
        index.set_service("shop", "web".into(), Some(service));
        let host = Pod {
            host_network: true,
            labels: [("app".to_owned(), "web".to_owned())].into(),
            ..pod()
        };
        index.set_pod("shop", "web-1".into(), Some(host));
        index.set_namespace("shop", Some(namespace("strict")));
        let told = findings(&index, "shop");
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(told[0].reason, PodReason::UnreachableFromMesh);
        assert!(told[0].message.contains("it uses the host network"), "{told:?}");
        index.set_namespace("shop", Some(namespace("permissive")));
        assert_eq!(findings(&index, "shop"), []);
    }

    #[test]
    fn pods_are_counted_as_they_come_end_and_go_with_their_namespace() {
        let mut index = Index::new(smilax_compiler::index::Settings::default());
        let shop: Arc<str> = "shop".into();
        let enabled = smilax_compiler::model::Namespace {
            name: shop.clone(),
            labels: [(key::INJECT.to_owned(), "enabled".to_owned())].into(),
            ..Default::default()
        };
        index.set_namespace("shop", Some(enabled));
        let injected = injected(InboundUdp::Open, None);
        let ended = Pod {
            finished: true,
            ..injected.clone()
        };
        index.set_pod("shop", "with".into(), Some(injected));
        index.set_pod("shop", "without".into(), Some(pod()));
        let mut counts = PodCounts::default();
        let mut count = |index: &Index| {
            counts.look_at(index, &shop);
            (counts.all().injected, counts.all().uninjected)
        };
        assert_eq!(count(&index), (1, 1));
        index.set_pod("shop", "with".into(), Some(ended));
        assert_eq!(count(&index), (0, 1));
        index.set_namespace("shop", None);
        assert_eq!(count(&index), (0, 0));
    }

    #[test]
    fn a_pod_of_an_enabled_namespace_wants_a_proxy() {
        assert!(wants_proxy(&pod(), Membership::Joined));
        assert!(!wants_proxy(&pod(), Membership::Outside));
    }

    #[test]
    fn what_the_pod_says_comes_before_what_its_namespace_says() {
        let labelled = |value: &str| {
            let mut pod = pod();
            pod.labels.insert(key::INJECT.to_owned(), value.to_owned());
            pod
        };
        assert!(wants_proxy(&labelled("enabled"), Membership::Outside));
        assert!(!wants_proxy(&labelled("disabled"), Membership::Joined));
    }

    fn left_alone() -> Pod {
        Pod {
            inject_status: Some("left alone".to_owned()),
            ..pod()
        }
    }

    #[test]
    fn pods_that_ended_or_were_left_alone_on_purpose_want_none() {
        let ended = Pod {
            finished: true,
            ..pod()
        };
        let on_host = Pod {
            host_network: true,
            ..pod()
        };
        for pod in [ended, on_host, left_alone()] {
            assert!(!wants_proxy(&pod, Membership::Joined), "{pod:?}");
        }
    }

    #[test]
    fn s31_a_patch_makes_no_pod_one_that_stays_out_on_purpose_where_none_may() {
        let mut opted_out = left_alone();
        opted_out
            .labels
            .insert(key::INJECT.to_owned(), "disabled".to_owned());
        assert!(wants_proxy(&opted_out, Membership::Bound));
    }

    #[test]
    fn s12_a_pod_whose_token_is_not_its_sidecars_alone_is_told_that_it_gets_no_certificate() {
        let holder = |container: &str| TokenHolder {
            container: container.to_owned(),
            arguments: vec!["run".to_owned()],
            ..TokenHolder::default()
        };
        let told = |holders: &[TokenHolder]| {
            let mut index = Index::default();
            let pod = Pod {
                token_holders: holders.to_vec(),
                ..pod()
            };
            index.set_pod("shop", "web-1".into(), Some(pod));
            let reasons = findings(&index, "shop").into_iter().map(|one| one.reason);
            reasons
                .filter(|reason| *reason == PodReason::NoCertificate)
                .count()
        };
        assert_eq!(told(&[holder("application")]), 1);
        assert_eq!(told(&[holder("smilax-proxy")]), 0);
        assert_eq!(told(&[]), 0, "it asks for none");
    }
}
