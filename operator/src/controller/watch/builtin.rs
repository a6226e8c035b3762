//! Kinds of Kubernetes itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Service, ServiceAccount};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::core::PartialObjectMeta;
use smilax_compiler::{ingest, model};

use super::{Named, Seen, named};
use crate::controller::state::{Inner, Readiness};

pub(super) fn namespace(object: &Namespace) -> model::Namespace {
    ingest::namespace(object)
}

pub(super) fn namespaces(inner: &mut Inner, seen: Seen<model::Namespace>) {
    match seen {
        Seen::Applied(one) => {
            let name = one.name.clone();
            inner.index.set_namespace(&name, Some(one));
        }
        Seen::Deleted(one) => inner.index.set_namespace(&one.name, None),
        Seen::All(all) => inner.index.reset_namespaces(all),
    }
}

/// The zone of a node.
pub(super) struct NodeZone {
    name: Arc<str>,
    zone: Option<Arc<str>>,
}

pub(super) fn node(object: &PartialObjectMeta<Node>) -> NodeZone {
    NodeZone {
        name: object.name_any().into(),
        zone: ingest::zone(&object.metadata),
    }
}

pub(super) fn nodes(inner: &mut Inner, seen: Seen<NodeZone>) {
    match seen {
        Seen::Applied(node) => inner.index.set_zone(&node.name, node.zone),
        Seen::Deleted(node) => inner.index.set_zone(&node.name, None),
        Seen::All(all) => {
            let all = all.into_iter();
            inner
                .index
                .reset_zones(all.filter_map(|node| Some((node.name, node.zone?))));
        }
    }
}

pub(super) fn account(object: &ServiceAccount) -> Named<model::Account> {
    named(object, ingest::account(object))
}

pub(super) fn service(object: &Service) -> Named<model::Service> {
    named(object, ingest::service(object))
}

/// The three cases of a namespaced kind that goes into the index by its name.
macro_rules! by_name {
    ($function:ident, $type:ty, $set:ident, $reset:ident) => {
        pub(super) fn $function(inner: &mut Inner, seen: Seen<Named<$type>>) {
            match seen {
                Seen::Applied(one) => inner.index.$set(&one.namespace, one.name, Some(one.value)),
                Seen::Deleted(one) => inner.index.$set(&one.namespace, one.name, None),
                Seen::All(all) => {
                    let all = all.into_iter();
                    inner
                        .index
                        .$reset(all.map(|one| (one.namespace, one.name, one.value)));
                }
            }
        }
    };
}

by_name!(accounts, model::Account, set_account, reset_accounts);
by_name!(services, model::Service, set_service, reset_services);

/// Readiness is no policy, and so no part of what the compiler knows of a pod.
pub(super) fn pod(object: &Pod) -> Named<(model::Pod, Readiness)> {
    named(object, (ingest::pod(object), readiness(object)))
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

/// Readiness is kept beside the index, so that a pod that becomes Ready compiles nothing.
pub(super) fn pods(inner: &mut Inner, seen: Seen<Named<(model::Pod, Readiness)>>) {
    match seen {
        Seen::Applied(one) => {
            let (pod, ready) = one.value;
            inner.set_ready(&pod.meta.uid, ready);
            inner.mark_pods(&one.namespace);
            inner.index.set_pod(&one.namespace, one.name, Some(pod));
        }
        Seen::Deleted(one) => {
            inner.set_ready(&one.value.0.meta.uid, Readiness::NotReady);
            inner.mark_pods(&one.namespace);
            inner.index.set_pod(&one.namespace, one.name, None);
        }
        Seen::All(all) => {
            let ready = all.iter().filter(|one| one.value.1 == Readiness::Ready);
            let ready: BTreeSet<String> = ready.map(|one| one.value.0.meta.uid.clone()).collect();
            inner.reset_ready(ready);
            inner.mark_all_pods();
            let all = all.into_iter();
            inner
                .index
                .reset_pods(all.map(|one| (one.namespace, one.name, one.value.0)));
        }
    }
}

pub(super) fn slice(object: &EndpointSlice) -> Named<Option<model::Slice>> {
    named(object, ingest::slice(object))
}

pub(super) fn slices(inner: &mut Inner, seen: Seen<Named<Option<model::Slice>>>) {
    match seen {
        Seen::Applied(one) => inner.index.set_slice(&one.namespace, &one.name, one.value),
        Seen::Deleted(one) => inner.index.set_slice(&one.namespace, &one.name, None),
        Seen::All(all) => {
            let all = all.into_iter();
            inner
                .index
                .reset_slices(all.filter_map(|one| Some((one.namespace, one.name, one.value?))));
        }
    }
}
