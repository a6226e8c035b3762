//! Kinds of Kubernetes itself.

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use smilax_compiler::ingest;

use super::{Seen, names};
use crate::controller::state::{Inner, Readiness};

pub(super) fn namespaces(inner: &mut Inner, seen: Seen<Namespace>) {
    match seen {
        Seen::Applied(object) => inner
            .index
            .set_namespace(&object.name_any(), Some(ingest::namespace(&object))),
        Seen::Deleted(object) => inner.index.set_namespace(&object.name_any(), None),
        Seen::All(all) => inner.index.reset_namespaces(all.iter().map(ingest::namespace)),
    }
}

pub(super) fn nodes(inner: &mut Inner, seen: Seen<PartialObjectMeta<Node>>) {
    match seen {
        Seen::Applied(node) => inner
            .index
            .set_zone(&node.name_any(), ingest::zone(&node.metadata)),
        Seen::Deleted(node) => inner.index.set_zone(&node.name_any(), None),
        Seen::All(all) => inner.index.reset_zones(all.iter().filter_map(|node| {
            let zone = ingest::zone(&node.metadata)?;
            Some((node.name_any().into(), zone))
        })),
    }
}

/// The three cases of a namespaced kind that goes into the index by its name.
macro_rules! by_name {
    ($function:ident, $type:ty, $ingest:path, $set:ident, $reset:ident) => {
        pub(super) fn $function(inner: &mut Inner, seen: Seen<$type>) {
            match seen {
                Seen::Applied(object) => {
                    let (namespace, name) = names(&object);
                    inner.index.$set(&namespace, name, Some($ingest(&object)));
                }
                Seen::Deleted(object) => {
                    let (namespace, name) = names(&object);
                    inner.index.$set(&namespace, name, None);
                }
                Seen::All(all) => inner.index.$reset(all.iter().map(|object| {
                    let (namespace, name) = names(object);
                    (namespace.into(), name, $ingest(object))
                })),
            }
        }
    };
}

by_name!(
    accounts,
    ServiceAccount,
    ingest::account,
    set_account,
    reset_accounts
);
by_name!(services, Service, ingest::service, set_service, reset_services);
by_name!(pods, Pod, ingest::pod, set_pod, reset_pods);

/// Readiness is no policy: it is kept beside the index, so that a pod that becomes Ready compiles nothing.
pub(super) fn pods_and_readiness(inner: &mut Inner, seen: Seen<Pod>) {
    let uid = |pod: &Pod| pod.uid().unwrap_or_default();
    match &seen {
        Seen::Applied(pod) => {
            inner.set_ready(&uid(pod), readiness(pod));
            inner.mark_pods(pod.metadata.namespace.as_deref().unwrap_or_default());
        }
        Seen::Deleted(pod) => {
            inner.set_ready(&uid(pod), Readiness::NotReady);
            inner.mark_pods(pod.metadata.namespace.as_deref().unwrap_or_default());
        }
        Seen::All(all) => {
            let ready = all.iter().filter(|pod| readiness(pod) == Readiness::Ready);
            inner.reset_ready(ready.map(uid).collect());
            inner.mark_all_pods();
        }
    }
    pods(inner, seen);
}

fn readiness(pod: &Pod) -> Readiness {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|one| one.type_ == "Ready" && one.status == "True");
    match (ready.next(), &pod.metadata.deletion_timestamp) {
        (Some(_), None) => Readiness::Ready,
        _ => Readiness::NotReady,
    }
}

pub(super) fn slices(inner: &mut Inner, seen: Seen<EndpointSlice>) {
    match seen {
        Seen::Applied(object) => {
            let (namespace, name) = names(&object);
            inner.index.set_slice(&namespace, &name, ingest::slice(&object));
        }
        Seen::Deleted(object) => {
            let (namespace, name) = names(&object);
            inner.index.set_slice(&namespace, &name, None);
        }
        Seen::All(all) => inner.index.reset_slices(all.iter().filter_map(|object| {
            let (namespace, name) = names(object);
            Some((namespace.into(), name, ingest::slice(object)?))
        })),
    }
}
