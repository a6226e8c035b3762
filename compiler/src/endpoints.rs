//! Where the pods of a destination are, and what stands behind an address: what changes too often to be policy, and is
//! told only to those who ask.

mod callers;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use smilax_core::config::{Destination, Protocol, TlsMode};
use smilax_core::endpoints::{DestinationPortName, Endpoint, EndpointState, Found, Sidecar};
use smilax_core::{DestinationName, ExpectedIdentity, Workload};

use crate::compile::{Audience, Wanted, import, is_enabled};
use crate::diagnostic::{Diagnostic, Reason};
use crate::index::{Contents, Index, Owner};
use crate::model::{Addressing, Pod, Reach, Service, SliceEndpoint};
use crate::modes::Modes;

pub use callers::{callers_of_address, callers_of_endpoints};

/// The endpoints of a port, in the order of their addresses. `None` when its virtual address is to be used: there is no
/// such port, not every caller may be sent to every endpoint, or none of its pods is known yet.
pub fn endpoints(index: &Index, of: &DestinationPortName) -> Option<Vec<Endpoint>> {
    let contents = index.contents(&of.destination.namespace)?;
    let service = contents.services.get(&of.destination.name)?;
    let balanced = match service.addressing {
        Addressing::Virtual(_) | Addressing::Headless => service.reach == Reach::All,
        Addressing::External(_) | Addressing::Pending => false,
    };
    let name = service.port_names.get(&of.port).filter(|_| balanced)?;
    let behind = Behind {
        index,
        contents,
        service,
        expected: Expected::of(index, service),
    };
    let mut found: BTreeMap<SocketAddr, Endpoint> = BTreeMap::new();
    let mut awaited = false;
    for slice in contents.slices.of(&service.meta.name) {
        for port in slice.ports.iter().filter(|port| *port.name == **name) {
            for endpoint in &slice.endpoints {
                let Some(endpoint) = behind.endpoint(endpoint, port.number) else {
                    awaited |= behind.awaits_pod(endpoint);
                    continue;
                };
                // While a pod moves from one slice to another it is in both.
                let better = |known: &Endpoint| (endpoint.state, &endpoint) < (known.state, known);
                if found.get(&endpoint.address).is_none_or(better) {
                    found.insert(endpoint.address, endpoint);
                }
            }
        }
    }
    // Slices and pods are watched apart. After a pause the one may be ahead of the other by a whole rollout, and to tell
    // of no endpoint would fail every request, though the virtual address leads to pods that serve.
    if found.is_empty() && awaited {
        return None;
    }
    Some(of_one_family(found.into_values().collect(), service))
}

/// What stands behind an address.
pub fn found(index: &mut Index, address: SocketAddr) -> Found {
    let ip = address.ip().to_canonical();
    let owners: Vec<Owner> = index.owners(ip).cloned().collect();
    for owner in owners {
        match owner {
            // A Service's address is its for every port: what it does not offer is nothing.
            Owner::Service(namespace, name) => {
                return behind_service(index, &DestinationName::new(namespace, name), address.port());
            }
            Owner::Pod(namespace, name) => {
                let contents = index.contents(&namespace);
                let found = contents.and_then(|contents| {
                    let pod = contents.pods.get(&name).filter(|pod| !pod.finished)?;
                    found_pod(index, contents, pod, address.port())
                });
                if let Some(found) = found {
                    return found;
                }
            }
        }
    }
    Found::Nothing
}

/// A pod that answers on a port, or that must not be called there.
fn found_pod(index: &Index, contents: &Contents, pod: &Pod, port: u16) -> Option<Found> {
    let sidecar = if can_answer(pod, port) {
        Sidecar::Present
    } else if lacks_sidecar(pod)
        && !takes_plaintext(index, pod, port)
        && serves(contents, pod, port)
        && takes_no_plaintext(index, &pod.meta.namespace)
    {
        Sidecar::Absent
    } else {
        return None;
    };
    Some(Found::Pod {
        workload: account(pod).into(),
        protocol: protocol(contents, pod, port),
        sidecar,
    })
}

/// Pods that callers in the mesh refuse to call: a Service leads to them, they have no sidecar, and their namespace
/// takes no plaintext.
pub fn uncallable<'a>(index: &'a Index, namespace: &str) -> impl Iterator<Item = &'a Pod> {
    let contents = index
        .contents(namespace)
        .filter(|_| takes_no_plaintext(index, namespace));
    let called = |contents: &Contents, pod: &Pod| {
        let selecting = contents.services.values().filter(|service| service.selects(pod));
        let mut ports = selecting
            .flat_map(|service| service.target_ports.values())
            .filter_map(|target| pod.port(target));
        ports.any(|port| !takes_plaintext(index, pod, port))
    };
    contents.into_iter().flat_map(move |contents| {
        contents
            .pods
            .values()
            .filter(move |pod| !pod.finished && lacks_sidecar(pod) && called(contents, pod))
    })
}

/// Services without selector whose endpoints kube-proxy picks, so that a caller never learns whose pod it reached and
/// sends plaintext.
pub fn plaintext_only(index: &Index, namespace: &str) -> Vec<Diagnostic> {
    let contents = index.contents(namespace).filter(|_| is_enabled(index, namespace));
    let services = contents
        .into_iter()
        .flat_map(|contents| contents.services.values());
    services
        .filter(|service| {
            service.selector.is_empty() && matches!(service.addressing, Addressing::Virtual(_))
        })
        .filter_map(|service| {
            let field = match service.reach {
                Reach::All => return None,
                Reach::Same => "sessionAffinity: ClientIP",
                Reach::Node => "internalTrafficPolicy: Local",
            };
            let name = &service.meta.name;
            let message = format!(
                "Service {name} has no selector and spec.{field}, so sidecars call it in plaintext, which endpoints that \
                 are pods with strict mutual TLS or a TrafficTarget refuse; remove {field}, or give the Service a \
                 selector"
            );
            let reason = Reason::PlaintextOnly;
            Some(Diagnostic::about("Service", namespace, name.clone(), reason, message))
        })
        .collect()
}

/// Whether a port of its address is the pod's. A node has ports of many.
fn serves(contents: &Contents, pod: &Pod, port: u16) -> bool {
    let leads_there = |service: &Service| {
        service.selects(pod)
            && service
                .target_ports
                .values()
                .any(|target| pod.port(target) == Some(port))
    };
    !pod.host_network || pod.host_ports.contains(&port) || contents.services.values().any(leads_there)
}

/// Whether pods of a namespace refuse calls from outside the mesh, and so have a sidecar or are not to be called.
fn takes_no_plaintext(index: &Index, namespace: &str) -> bool {
    let strict = modes(index, namespace).is_some_and(|modes| modes.tls == TlsMode::Strict);
    strict && is_enabled(index, namespace)
}

/// Whether a pod is to be called in plaintext on a port, even where its namespace takes none.
fn takes_plaintext(index: &Index, pod: &Pod, port: u16) -> bool {
    let asked = || {
        let modes = modes(index, &pod.meta.namespace).unwrap_or_default();
        modes.take_plaintext(pod, port)
    };
    pod.skips_inbound(port) || pod.asks_for_plaintext(port) && asked()
}

fn modes(index: &Index, namespace: &str) -> Option<Modes> {
    let found = index.namespace(namespace)?;
    Some(Modes::of(index.settings(), &found.annotations).0)
}

fn behind_service(index: &mut Index, name: &DestinationName, port: u16) -> Found {
    let mut all: BTreeMap<DestinationName, Destination> = BTreeMap::new();
    let plan = index.plan(&name.namespace);
    import(&plan, &Wanted::One(name.clone()), Audience::Callers, &mut all);
    match all.remove(name) {
        Some(destination) if destination.ports.iter().any(|one| one.port == port) => {
            Found::Destinations(std::iter::once(destination).chain(all.into_values()).collect())
        }
        _ => Found::Nothing,
    }
}

/// What is looked at for each endpoint of a Service.
struct Behind<'a> {
    index: &'a Index,
    contents: &'a Contents,
    service: &'a Service,
    expected: Expected,
}

/// Who must prove who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The pod that has the address: the endpoints are made by hand.
    Resident,
    /// Pods that can.
    WhoCan,
    /// Everybody: the namespace takes no plaintext, so nothing else is worth trying.
    All,
}

impl Expected {
    fn of(index: &Index, service: &Service) -> Self {
        let namespace = &service.meta.namespace;
        if service.selector.is_empty() {
            return Self::Resident;
        }
        if takes_no_plaintext(index, namespace) {
            Self::All
        } else {
            Self::WhoCan
        }
    }
}

impl Behind<'_> {
    /// `None` for one that takes no requests, and for one of which nobody could tell (yet) whether plaintext may be sent
    /// there.
    fn endpoint(&self, endpoint: &SliceEndpoint, port: u16) -> Option<Endpoint> {
        let state = endpoint.state?;
        let (pod, workload) = match self.expected {
            Expected::Resident => self.resident(endpoint, port)?,
            Expected::WhoCan | Expected::All => self.selected(endpoint, port)?,
        };
        let finished = pod.is_some_and(|pod| pod.finished);
        Some(Endpoint {
            address: SocketAddr::new(endpoint.address, port),
            workload: workload.map(ExpectedIdentity::from),
            // That a pod ends is heard of sooner from itself than from its slice.
            state: if finished { EndpointState::Draining } else { state },
            zone: endpoint.zone.as_deref().map(Box::from),
            for_zones: endpoint.for_zones.iter().map(|zone| (&**zone).into()).collect(),
            node: endpoint.node.as_deref().map(Box::from),
        })
    }

    /// Whether an endpoint that a controller wrote takes requests and names a pod that is not known, or no longer.
    fn awaits_pod(&self, endpoint: &SliceEndpoint) -> bool {
        let named = endpoint.pod.as_ref().filter(|_| endpoint.state.is_some());
        self.expected != Expected::Resident
            && named.is_some_and(|name| !self.contents.pods.contains_key(name))
    }

    /// The pod that an endpoint names, and whom it must prove to be.
    fn selected(&self, endpoint: &SliceEndpoint, port: u16) -> Option<(Option<&Pod>, Option<Workload>)> {
        let pod = match &endpoint.pod {
            Some(name) => Some(self.contents.pods.get(name)?),
            None => None,
        };
        let rightful = pod.filter(|pod| pod.is_selected_by(&self.service.selector));
        let workload = match (rightful, self.expected) {
            (Some(pod), _) if can_answer(pod, port) => Some(account(pod)),
            // Nobody there could prove it, so it is not worth trying.
            (Some(pod), Expected::All) if !takes_plaintext(self.index, pod, port) => return None,
            (Some(_), _) => None,
            (None, Expected::All) => Some(self.stand_in(port)?),
            (None, Expected::WhoCan | Expected::Resident) => self.stand_in(port),
        };
        Some((pod, workload))
    }

    /// The pod that has an endpoint's address, and whom it must prove to be. What the slice says of pods is not believed:
    /// whoever may write it could send what is meant for one pod to another, or send it in plaintext.
    fn resident(&self, endpoint: &SliceEndpoint, port: u16) -> Option<(Option<&Pod>, Option<Workload>)> {
        if let Some(pod) = self.index.pod_at(endpoint.address.to_canonical()) {
            if can_answer(pod, port) {
                return Some((Some(pod), Some(account(pod))));
            }
            // As by the pod's address: nobody there could prove anything.
            let callable = takes_plaintext(self.index, pod, port)
                || !takes_no_plaintext(self.index, &pod.meta.namespace);
            return callable.then_some((Some(pod), None));
        }
        let Some(named) = &endpoint.pod else {
            // Outside the cluster, most likely.
            return Some((None, None));
        };
        // A pod that is not known yet, or is elsewhere; on a node's address there are pods without a sidecar only.
        let pod = self.contents.pods.get(named)?;
        (pod.host_network && pod.addresses.contains(&endpoint.address)).then_some((Some(pod), None))
    }

    /// Whom an endpoint must prove to be that is none of the Service's pods, though somebody wrote so: one of those that
    /// are. Nobody when none of them could.
    fn stand_in(&self, port: u16) -> Option<Workload> {
        let mut pods = self.contents.pods.values();
        let rightful = pods
            .find(|pod| !pod.finished && pod.is_selected_by(&self.service.selector) && can_answer(pod, port));
        rightful.map(account)
    }
}

/// Whether a pod's proxy takes connections to a port.
fn can_answer(pod: &Pod, port: u16) -> bool {
    !lacks_sidecar(pod) && !pod.skips_inbound(port)
}

/// Whether nothing beside a pod carries what comes in.
fn lacks_sidecar(pod: &Pod) -> bool {
    !pod.injected() || pod.host_network
}

/// What a pod speaks on a port, as the Services say that lead there; unknown when none does, or they do not agree.
fn protocol(contents: &Contents, pod: &Pod, port: u16) -> Protocol {
    let selecting = contents.services.values().filter(|service| service.selects(pod));
    let mut spoken = selecting.flat_map(|service| {
        let leading = service
            .target_ports
            .iter()
            .filter(|(_, target)| pod.port(target) == Some(port));
        leading.filter_map(|(number, _)| service.ports.get(number).copied())
    });
    let first = spoken.next().unwrap_or_default();
    if spoken.all(|other| other == first) {
        first
    } else {
        Protocol::Detect
    }
}

fn account(pod: &Pod) -> Workload {
    Workload::new(pod.meta.namespace.clone(), pod.account.clone())
}

/// A pod with an address of each family is one endpoint, not two: that of the Service's first family, where there is
/// any.
fn of_one_family(mut found: Vec<Endpoint>, service: &Service) -> Vec<Endpoint> {
    let first = service.addresses().first().is_none_or(IpAddr::is_ipv4);
    if found.iter().any(|one| one.address.is_ipv4() == first) {
        found.retain(|one| one.address.is_ipv4() == first);
    }
    found
}

#[cfg(test)]
mod tests;
