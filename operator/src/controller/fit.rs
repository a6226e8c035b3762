//! What is left out of a configuration that is too large to be kept. Pure.
//!
//! Who may call is written always: it is what takes rights away, and an older, wider permission must not stay because
//! something else is large. So the first to be left out are the routes of other namespaces, then all that comes from them, then
//! the routes of its own, and what then does not fit is refused. A destination without its routes is still called securely.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smilax_core::config::{AccessMode, Destination, InboundPolicy, OwnSettings};
use smilax_core::packed::{self, MOST_STORED, MOST_TEXT, TooLarge};
use smilax_core::{ObjectRef, ProxyConfig, Revision};

use super::change::render;

/// A configuration that can be kept, made of one that cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fitted {
    /// It.
    pub config: ProxyConfig,
    /// What it lacks.
    pub left_out: LeftOut,
    /// The objects of its own namespace that it lacks.
    pub objects: BTreeSet<ObjectRef>,
}

/// What a configuration lacks, each time with what comes before.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftOut {
    /// The routes that it imports from these namespaces.
    ImportedRoutes(BTreeSet<Arc<str>>),
    /// All that it imports from these namespaces, and every imported route.
    Imports(BTreeSet<Arc<str>>),
    /// All imports, and the largest of its own routes.
    Routes,
    /// All destinations.
    Destinations,
    /// What its callers may do: nothing.
    Policy,
}

/// Leaves out what must be for a configuration to be kept, in whatever revision.
pub fn fit(config: &ProxyConfig) -> Fitted {
    let (mut smaller, left_out) = ladder(config);
    smaller.revision = config.revision;
    // Objects of other namespaces are not at fault that somebody imports more than fits: the importing account is told.
    let objects = objects(config)
        .difference(&objects(&smaller))
        .filter(|object| object.namespace == config.workload.namespace)
        .cloned()
        .collect();
    Fitted {
        config: smaller,
        left_out,
        objects,
    }
}

fn ladder(config: &ProxyConfig) -> (ProxyConfig, LeftOut) {
    let mut smaller = ProxyConfig {
        revision: Revision {
            term: u64::MAX,
            counter: u64::MAX,
        },
        ..config.clone()
    };
    match fewest(&imports_by_size(&smaller, routes_size), |namespaces| {
        let mut without = smaller.clone();
        let destinations = without.destinations.iter_mut();
        destinations
            .filter(|one| namespaces.contains(&one.name.namespace))
            .for_each(clear_routes);
        without
    }) {
        Smaller::Fits(fitted, namespaces) => return (fitted, LeftOut::ImportedRoutes(namespaces)),
        Smaller::TooLarge(without) => smaller = without,
    }
    let size = |destination: &Destination| render(destination).len();
    match fewest(&imports_by_size(&smaller, size), |namespaces| {
        let mut without = smaller.clone();
        let is_kept = |one: &Destination| !namespaces.contains(&one.name.namespace);
        without.destinations.retain(is_kept);
        without
    }) {
        Smaller::Fits(fitted, namespaces) => return (fitted, LeftOut::Imports(namespaces)),
        Smaller::TooLarge(without) => smaller = without,
    }
    if without_routes(&mut smaller) {
        return (smaller, LeftOut::Routes);
    }
    smaller.destinations.clear();
    if kept(&smaller).is_ok() {
        return (smaller, LeftOut::Destinations);
    }
    smaller.inbound = vec![refusal(&smaller.inbound)];
    (smaller, LeftOut::Policy)
}

/// A configuration that something was left out of.
enum Smaller {
    /// It can be kept without what comes from these namespaces.
    Fits(ProxyConfig, BTreeSet<Arc<str>>),
    /// It cannot, without any of them.
    TooLarge(ProxyConfig),
}

/// The configuration without the fewest namespaces, of the first ones, that have to go for it to be kept. To compress it is
/// slow, and somebody may import hundreds of namespaces: so they are found by halves.
fn fewest(imports: &[Arc<str>], without: impl Fn(&BTreeSet<Arc<str>>) -> ProxyConfig) -> Smaller {
    let without = |count: usize| {
        let namespaces = imports.iter().take(count).cloned().collect();
        (without(&namespaces), namespaces)
    };
    let (mut too_few, mut enough) = (0, imports.len());
    let mut found = without(enough);
    if kept(&found.0).is_err() {
        return Smaller::TooLarge(found.0);
    }
    while enough > too_few + 1 {
        let half = usize::midpoint(too_few, enough);
        let tried = without(half);
        if kept(&tried.0).is_ok() {
            (found, enough) = (tried, half);
        } else {
            too_few = half;
        }
    }
    Smaller::Fits(found.0, found.1)
}

/// Namespaces that something of a size is imported from, the largest first.
fn imports_by_size(config: &ProxyConfig, size: impl Fn(&Destination) -> usize) -> Vec<Arc<str>> {
    let mut sizes: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let imported = config
        .destinations
        .iter()
        .filter(|one| one.name.namespace != config.workload.namespace);
    for destination in imported {
        *sizes.entry(destination.name.namespace.clone()).or_default() += size(destination);
    }
    sizes.retain(|_, size| *size > 0);
    largest_first(sizes)
}

/// Takes routes out, the largest first, until it can be kept; whether it then can.
fn without_routes(config: &mut ProxyConfig) -> bool {
    let routes = config
        .destinations
        .iter()
        .map(|destination| (destination.name.clone(), routes_size(destination)))
        .filter(|(_, size)| *size > 0)
        .collect();
    let mut largest = largest_first(routes).into_iter().peekable();
    while largest.peek().is_some() {
        let Err(error) = kept(config) else {
            return true;
        };
        let mut excess = excess(&error);
        // At least one each time, and as much as it should take: to compress it is slow.
        for name in largest.by_ref() {
            let destinations = config.destinations.iter_mut();
            for destination in destinations.filter(|one| one.name == name) {
                excess = excess.saturating_sub(routes_size(destination));
                clear_routes(destination);
            }
            if excess == 0 {
                break;
            }
        }
    }
    kept(config).is_ok()
}

/// How much of the text there is too much of, about.
fn excess(error: &TooLarge) -> usize {
    let of_packed = error.packed.saturating_sub(MOST_STORED) as u128;
    let of_packed = of_packed.saturating_mul(error.text as u128) / (error.packed as u128).max(1);
    let of_text = error.text.saturating_sub(MOST_TEXT);
    usize::try_from(of_packed).unwrap_or(usize::MAX).max(of_text)
}

fn clear_routes(destination: &mut Destination) {
    for port in &mut destination.ports {
        port.routes.clear();
    }
}

fn routes_size(destination: &Destination) -> usize {
    let routes = destination.ports.iter().flat_map(|port| &port.routes);
    routes.map(|route| render(route).len()).sum()
}

fn largest_first<N: Ord>(sizes: BTreeMap<N, usize>) -> Vec<N> {
    let mut sizes: Vec<(N, usize)> = sizes.into_iter().collect();
    sizes.sort_by(|(name, size), (other, other_size)| other_size.cmp(size).then_with(|| name.cmp(other)));
    sizes.into_iter().map(|(name, _)| name).collect()
}

fn kept(config: &ProxyConfig) -> Result<(), TooLarge> {
    packed::form(&render(config)).map(drop)
}

/// Refuses what cannot be expressed. Where calls are only audited, they still are.
fn refusal(policies: &[InboundPolicy]) -> InboundPolicy {
    let access = policies.iter().filter_map(|policy| policy.access).max();
    InboundPolicy {
        access: Some(match access {
            Some(AccessMode::Audit) => AccessMode::Audit,
            _ => AccessMode::Deny,
        }),
        tls: policies.iter().filter_map(|policy| policy.tls).max(),
        own_settings: OwnSettings::Tighten,
        ..InboundPolicy::default()
    }
}

/// The user's objects in a configuration.
fn objects(config: &ProxyConfig) -> BTreeSet<ObjectRef> {
    let ports = config
        .destinations
        .iter()
        .flat_map(|destination| &destination.ports);
    let routes = ports.flat_map(|port| &port.routes).map(|route| &route.source);
    let targets = config.inbound.iter().flat_map(|policy| &policy.targets);
    routes
        .chain(targets.map(|target| &target.source))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests;
