//! Who is told everything of endpoints and of addresses. Everybody else is told addresses only.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use smilax_core::DestinationName;
use smilax_core::endpoints::DestinationPortName;

use crate::callers::{CallerRules, Callers};
use crate::index::{Contents, Index, Owner};
use crate::model::{Pod, Service};

/// Who may call pods of a Service, and is told everything of its endpoints.
pub fn callers_of_endpoints(index: &mut Index, of: &DestinationPortName) -> Callers {
    let rules = index.caller_rules(&of.destination.namespace);
    let found = index.contents(&of.destination.namespace).and_then(|contents| {
        let service = contents.services.get(&of.destination.name)?;
        Some((contents, service))
    });
    match found {
        None => Callers::none(),
        Some((contents, service)) if !service.selector.is_empty() => {
            rules.callers_of_all(pods_of(contents, service))
        }
        Some((contents, service)) => {
            let addresses: BTreeSet<_> = addresses(contents, service).collect();
            callers_of_residents(index, &addresses)
        }
    }
}

/// Who is told everything of what stands behind an address.
pub fn callers_of_address(index: &mut Index, address: SocketAddr) -> Callers {
    let ip = address.ip().to_canonical();
    let service = index.owners(ip).find_map(|owner| match owner {
        Owner::Service(namespace, name) => Some(DestinationName::new(namespace.clone(), name.clone())),
        Owner::Pod(..) => None,
    });
    match service {
        Some(name) => {
            let plan = index.plan(&name.namespace);
            plan.callers.get(&name).cloned().unwrap_or_else(Callers::none)
        }
        None => callers_of_residents(index, &BTreeSet::from([ip])),
    }
}

/// Pods that a Service sends to: those that its slices name, and where they name none, those that it selects.
fn pods_of<'a>(contents: &'a Contents, service: &'a Service) -> impl Iterator<Item = &'a Pod> {
    let endpoints = || {
        contents
            .slices
            .of(&service.meta.name)
            .flat_map(|slice| &slice.endpoints)
    };
    let named = |name: &Arc<str>| contents.pods.get(name);
    let rightful = |pod: &Pod| pod.is_selected_by(&service.selector);
    let all_named = endpoints().all(|one| one.pod.as_ref().and_then(named).is_some_and(rightful));
    let selected = contents
        .pods
        .values()
        .filter(move |pod| !all_named && rightful(pod));
    endpoints()
        .filter_map(move |one| named(one.pod.as_ref()?))
        .chain(selected)
}

fn addresses<'a>(contents: &'a Contents, service: &'a Service) -> impl Iterator<Item = IpAddr> {
    let slices = contents.slices.of(&service.meta.name);
    slices
        .flat_map(|slice| &slice.endpoints)
        .map(|endpoint| endpoint.address.to_canonical())
}

/// Who may call every pod that has one of these addresses. Whoever wrote the addresses down may be none of them: only where
/// all pods say the same is anybody but themselves told.
fn callers_of_residents(index: &mut Index, addresses: &BTreeSet<IpAddr>) -> Callers {
    let pods: Vec<Pod> = addresses
        .iter()
        .flat_map(|&address| residents(index, address))
        .cloned()
        .collect();
    let rules: BTreeMap<Arc<str>, Arc<CallerRules>> = pods
        .iter()
        .map(|pod| pod.meta.namespace.clone())
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|namespace| (namespace.clone(), index.caller_rules(&namespace)))
        .collect();
    let mut callers = pods
        .iter()
        .filter_map(|pod| Some(rules.get(&pod.meta.namespace)?.callers_of(pod)));
    let Some(first) = callers.next() else {
        // Nothing of the mesh: there is nothing to hide.
        return Callers::All;
    };
    if callers.all(|other| other == first) {
        first
    } else {
        Callers::none()
    }
}

/// Pods that have an address; those of a node may be many.
fn residents(index: &Index, address: IpAddr) -> impl Iterator<Item = &Pod> {
    index.owners(address).filter_map(|owner| match owner {
        Owner::Pod(namespace, name) => index.contents(namespace)?.pods.get(name),
        Owner::Service(..) => None,
    })
}
