//! What is left out of a configuration that is too large to be kept. Pure.
//!
//! Who may call is written always: it is what takes rights away, and an older, wider permission must not stay because
//! something else is large. So the first to be left out is what comes from other namespaces, then the routes of its own, and
//! what then does not fit is refused.

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
    /// What it imports from these namespaces.
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
    // To compress it is slow, and somebody may import hundreds of namespaces: the fewest that have to go are found by halves.
    let imports = imports_by_size(config);
    let without = |count: usize| {
        let out: BTreeSet<Arc<str>> = imports.iter().take(count).cloned().collect();
        let mut without = smaller.clone();
        without
            .destinations
            .retain(|destination| !out.contains(&destination.name.namespace));
        (without, out)
    };
    let (own, all) = without(imports.len());
    if kept(&own).is_ok() {
        let (mut too_few, mut enough) = (0, imports.len());
        let mut found = (own, all);
        while enough > too_few + 1 {
            let half = usize::midpoint(too_few, enough);
            let tried = without(half);
            if kept(&tried.0).is_ok() {
                (found, enough) = (tried, half);
            } else {
                too_few = half;
            }
        }
        let (fitted, out) = found;
        return (fitted, LeftOut::Imports(out));
    }
    smaller = own;
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

/// Namespaces that something is imported from, the largest first.
fn imports_by_size(config: &ProxyConfig) -> Vec<Arc<str>> {
    let mut sizes: BTreeMap<Arc<str>, usize> = BTreeMap::new();
    let imported = config
        .destinations
        .iter()
        .filter(|one| one.name.namespace != config.workload.namespace);
    for destination in imported {
        *sizes.entry(destination.name.namespace.clone()).or_default() += render(destination).len();
    }
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
                for port in &mut destination.ports {
                    port.routes.clear();
                }
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
