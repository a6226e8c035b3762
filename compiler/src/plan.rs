//! What a namespace offers: its destinations with their routes, and what could not be honoured.

mod access;
mod effect;
mod groups;
mod matches;
mod pods;
mod security;
mod spending;
mod split;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use smilax_core::config::{Destination, DestinationPort, Protocol, RouteConfig, Security};
use smilax_core::{DestinationName, ObjectRef, Workload};

use crate::callers::{CallerRules, Callers};
use crate::diagnostic::{Diagnostic, Reason};
use crate::index::{Contents, Index};
use crate::model::{Addressing, Meta, Service, Split};
use crate::modes::Modes;
use groups::Groups;
use pods::Pods;
use security::Behind;

pub(crate) use access::subjects;
pub use access::{Access, Closed, target_warnings};
pub(crate) use effect::Effect;
pub use groups::measure;

/// Everything that is compiled from one namespace; shared by all of its workloads and by those that import from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespacePlan {
    /// Destinations by name, each with its routes.
    pub destinations: BTreeMap<DestinationName, Destination>,
    /// Findings, in order of object and reason.
    pub diagnostics: BTreeSet<Diagnostic>,
    /// Splits that have a route in some destination, with the names of the destinations.
    pub splits: BTreeMap<Arc<str>, DestinationName>,
    /// What its workloads let in, before any target.
    pub modes: Modes,
    /// What its targets allow.
    pub access: Access,
    /// Who may call a destination, or something that its routes lead to.
    pub callers: BTreeMap<DestinationName, Callers>,
    /// What every expression of its groups counts for, in bytes.
    pub patterns: HashMap<String, usize>,
}

impl NamespacePlan {
    /// The findings about one object. A namespace may have thousands of them.
    pub(crate) fn diagnostics_of<'a>(
        &'a self,
        object: &'a ObjectRef,
    ) -> impl Iterator<Item = &'a Diagnostic> {
        let first = Diagnostic {
            object: object.clone(),
            reason: Reason::NamespaceMismatch,
            message: String::new(),
        };
        self.diagnostics
            .range(first..)
            .take_while(move |one| one.object == *object)
    }

    /// Whether a workload may call a destination, or something that its routes lead to.
    pub(crate) fn may_call(&self, workload: &Workload, destination: &DestinationName) -> bool {
        let callers = self.callers.get(destination);
        callers.is_none_or(|callers| callers.contains(workload))
    }
}

/// Compiles a namespace.
pub(crate) fn plan(index: &Index, namespace: &str) -> NamespacePlan {
    let mut plan = NamespacePlan::default();
    let Some(contents) = index.contents(namespace) else {
        return plan;
    };
    let (modes, bad) = index.namespace(namespace).map_or_else(
        || Modes::of(index.settings(), &BTreeMap::new()),
        |one| Modes::of(index.settings(), &one.annotations),
    );
    for bad in bad {
        let message = format!("annotation {}: {}; it is left out", bad.key, bad.reason);
        let bad = Diagnostic::about("Namespace", namespace, namespace, Reason::Invalid, message);
        plan.diagnostics.insert(bad);
    }
    plan.modes = modes.clone();
    let scope = Scope {
        index,
        namespace,
        contents,
        modes,
        pods: Pods::of(contents),
        groups: groups::judge(index.settings(), contents, &mut plan.diagnostics),
    };
    plan.access = access::compile(&scope, &mut plan.diagnostics);
    let mut routes = split::routes(&scope, &mut plan);
    spending::limit_routes(&scope, &mut routes, &mut plan);
    for service in contents.services.values() {
        let name = DestinationName::new(namespace, service.meta.name.clone());
        let mut own = routes.remove(&service.meta.name).unwrap_or_default();
        let addresses: Vec<IpAddr> = match &service.addressing {
            Addressing::Virtual(addresses) => addresses.clone(),
            Addressing::Headless => Vec::new(),
            Addressing::External(_) | Addressing::Pending => continue,
        };
        let behind = Behind::of(&scope, service);
        let ports: Vec<DestinationPort> = service
            .ports
            .iter()
            .map(|(&port, &protocol)| DestinationPort {
                routes: own.remove(&port).unwrap_or_default(),
                security: behind.security(port),
                ..DestinationPort::plaintext(port, protocol)
            })
            .collect();
        // Without a route or anything to secure, a headless destination has nothing to say and passes through untouched.
        if service.addressing == Addressing::Headless && !ports.iter().any(says_something) {
            continue;
        }
        if !ports.is_empty() {
            plan.destinations.insert(
                name.clone(),
                Destination {
                    name,
                    addresses,
                    accounts: behind.accounts(),
                    ports,
                },
            );
        }
    }
    plan.callers = callers(&scope, &plan.destinations);
    plan.patterns = scope.groups.sizes;
    plan
}

fn callers(
    scope: &Scope<'_>,
    destinations: &BTreeMap<DestinationName, Destination>,
) -> BTreeMap<DestinationName, Callers> {
    let rules = CallerRules::of(scope.index, scope.namespace);
    let of_pods = |name: &DestinationName| {
        let pods = scope.pods.behind(&name.name);
        rules.callers_of_all(pods.iter().copied())
    };
    let of_all = |destination: &Destination| {
        let mut callers = of_pods(&destination.name);
        let routes = destination.ports.iter().flat_map(|port| &port.routes);
        for backend in routes.flat_map(|route| &route.backends) {
            callers.add(&of_pods(&backend.destination));
        }
        (destination.name.clone(), callers)
    };
    destinations.values().map(of_all).collect()
}

/// Routes by Service and port.
type Routes = BTreeMap<Arc<str>, BTreeMap<u16, Vec<RouteConfig>>>;

/// Where a plan looks things up.
struct Scope<'a> {
    index: &'a Index,
    namespace: &'a str,
    contents: &'a Contents,
    modes: Modes,
    pods: Pods<'a>,
    groups: Groups,
}

/// Where the names are looked up that the objects of a namespace write.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a> {
    pub(crate) index: &'a Index,
    pub(crate) namespace: &'a str,
    pub(crate) contents: &'a Contents,
}

impl<'a> Scope<'a> {
    fn names(&self) -> Names<'a> {
        Names {
            index: self.index,
            namespace: self.namespace,
            contents: self.contents,
        }
    }

    fn service(&self, name: &str) -> Option<&'a Service> {
        self.contents.services.get(name)
    }
}

/// Whether a port of a headless destination needs looking at: requests are recognised by their Host, other connections
/// by nothing.
fn says_something(port: &DestinationPort) -> bool {
    !port.routes.is_empty() || (port.security == Security::MutualTls && port.protocol == Protocol::Http)
}

/// The reference that diagnostics and routes carry.
pub(crate) fn object(kind: &str, meta: &Meta) -> ObjectRef {
    ObjectRef {
        kind: kind.into(),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        generation: meta.generation,
    }
}

/// Older objects first; of the same age, by name.
fn by_age(splits: &mut [&Split]) {
    splits.sort_by(|a, b| (a.meta.created, &a.meta.name).cmp(&(b.meta.created, &b.meta.name)));
}

fn is_http(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Http | Protocol::Detect)
}

#[cfg(test)]
mod tests;
