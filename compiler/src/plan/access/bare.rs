//! Subjects that mean nobody at present, or pods that cannot prove it.

use super::identity::{ACCOUNT, BINDING};
use crate::diagnostic::Reason;
use crate::model::{Binding, Pod, Subject, Target};
use crate::plan::Names;
use crate::plan::pods::Pods;

/// Tells of a binding whose labels no pod has.
pub(super) fn check_binding(pods: &Pods<'_>, binding: &Binding, report: &mut impl FnMut(Reason, String)) {
    let labels = binding.labels.as_ref().filter(|labels| !labels.is_empty());
    if let Some(labels) = labels.filter(|labels| pods.labelled(labels).is_empty()) {
        let pairs: Vec<String> = labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let namespace = &binding.meta.namespace;
        report(
            Reason::NoPods,
            format!(
                "spec.schemes.podLabelSelector: no pod of namespace {namespace} has the labels {}, so it means no pod so far",
                pairs.join(",")
            ),
        );
    }
}

/// Tells of sources whose pods have no sidecar: nothing proves who they are, so the target lets in none of their calls.
/// `pods` are those of one namespace; sources of others are left out.
pub(super) fn check_sources(
    names: Names<'_>,
    namespace: &str,
    pods: &Pods<'_>,
    target: &Target,
    report: &mut impl FnMut(Reason, String),
) {
    for (index, subject) in target.sources.iter().enumerate() {
        if subject.namespace.as_deref().unwrap_or(names.namespace) != namespace {
            continue;
        }
        if without_proxy(names, namespace, pods, subject).is_empty() {
            continue;
        }
        // Without names and numbers, which change with every rollout: each text is an Event of its own.
        report(
            Reason::SourceNotInjected,
            format!(
                "spec.sources[{index}]: some pods of {} {namespace}/{} have no sidecar, so nothing proves who they are, and this \
                 target does not let them in; smilax why-inject --namespace {namespace} names them",
                subject.kind, subject.name
            ),
        );
    }
}

fn without_proxy<'a>(names: Names<'_>, namespace: &str, pods: &Pods<'a>, subject: &Subject) -> Vec<&'a Pod> {
    match subject.kind.as_str() {
        ACCOUNT => pods.bare(&subject.name).to_vec(),
        BINDING => {
            let contents = names.index.contents(namespace);
            let Some(binding) = contents.and_then(|contents| contents.bindings.get(subject.name.as_str()))
            else {
                return Vec::new();
            };
            let of_account = binding
                .account
                .iter()
                .flat_map(|account| pods.bare(account))
                .copied();
            let labelled = binding.labels.iter().flat_map(|labels| pods.labelled(labels));
            of_account.chain(labelled.filter(|pod| !pod.injected())).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use crate::plan::target_warnings;
    use crate::testing::{Cluster, TargetBuilder, binding, pod, target};

    fn shop() -> Cluster {
        Cluster::new()
            .namespace("shop", &[], &[])
            .account("shop", "web", &[])
            .account("shop", "client", &[])
            .account("bank", "teller", &[])
            .tcp_route("any", &[])
    }

    fn to_web() -> TargetBuilder {
        target("t", "web").rule("TCPRoute", "any")
    }

    fn told(cluster: Cluster) -> Vec<String> {
        let plan = cluster.plan();
        let all = plan.diagnostics.iter();
        all.map(|one| format!("{}: {}", one.reason.as_str(), one.message))
            .collect()
    }

    #[test]
    fn a_source_whose_pods_have_no_sidecar_is_told_in_the_status_and_at_apply() {
        let cluster = shop()
            .injected_pod("shop", "client-1", "client")
            .add_pod(pod("client-2").account("client"))
            .add_pod(pod("client-3").account("client").finished());
        let of_client = || to_web().from("shop", "client");
        let expected = "spec.sources[0]: some pods of ServiceAccount shop/client have no sidecar, so nothing proves who they are, \
                        and this target does not let them in; smilax why-inject --namespace shop names them";
        assert!(target_warnings(&cluster.index(), &of_client().0).contains(&expected.to_owned()));
        assert_eq!(
            told(cluster.target(of_client())),
            [format!("SourceNotInjected: {expected}")]
        );
    }

    #[test]
    fn a_source_of_another_namespace_is_told_at_apply() {
        let cluster = shop()
            .namespace("bank", &[], &[])
            .add_pod(pod("teller-1").of("bank").account("teller"));
        let warnings = target_warnings(&cluster.index(), &to_web().from("bank", "teller").0);
        assert!(
            warnings[0].contains("some pods of ServiceAccount bank/teller have no sidecar"),
            "{warnings:?}"
        );
    }

    #[test]
    fn a_binding_that_selects_pods_without_a_sidecar_is_told_too() {
        let cluster = shop()
            .binding(binding("shop", "front", "tier", "front"))
            .add_pod(pod("front-1").account("client").label("tier", "front"))
            .target(to_web().source("IdentityBinding", None, "front"));
        let told = told(cluster);
        assert!(
            told.len() == 1 && told[0].contains("some pods of IdentityBinding shop/front have no sidecar"),
            "{told:?}"
        );
    }

    #[test]
    fn a_binding_that_selects_no_pod_says_so() {
        let cluster = shop()
            .binding(binding("shop", "front", "tier", "front"))
            .add_pod(pod("back-1").label("tier", "back").injected());
        assert_eq!(
            told(cluster),
            [
                "NoPods: spec.schemes.podLabelSelector: no pod of namespace shop has the labels tier=front, so it means no pod \
                 so far"
            ]
        );
    }

    #[test]
    fn sources_with_sidecars_or_without_pods_are_nothing_to_tell() {
        let cluster = shop()
            .injected_pod("shop", "client-1", "client")
            .target(to_web().from("shop", "client").from("shop", "web"));
        assert_eq!(told(cluster), [""; 0]);
    }
}
