//! Which topics a change may concern. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::ops::RangeInclusive;
use std::sync::Arc;

use smilax_compiler::Index;
use smilax_compiler::index::Moved;
use smilax_core::endpoints::DestinationPortName;
use smilax_core::{DestinationName, Workload};

use super::topic::Topic;

type Name = Arc<str>;

/// What moved, and of which ConfigMaps the content may have.
pub(super) struct Changes {
    /// Of the index.
    pub(super) moved: Moved,
    /// Namespace and name.
    pub(super) maps: BTreeSet<(Name, Name)>,
}

/// Those of the followed topics whose value may be another now.
pub(super) fn concerned<T>(topics: &BTreeMap<Topic, T>, index: &Index, changes: Changes) -> BTreeSet<Topic> {
    let Changes { moved, maps } = changes;
    let mut found = BTreeSet::new();
    let mut take = |range: RangeInclusive<Topic>| {
        found.extend(topics.range(range).map(|(topic, _)| topic.clone()));
    };
    for (namespace, map) in maps {
        let topic = Topic::Policy { namespace, map };
        take(topic.clone()..=topic);
    }
    for (namespace, name) in &moved.services {
        take(ports(namespace, name));
    }
    for &address in &moved.addresses {
        take(sockets(address));
        if let IpAddr::V4(address) = address {
            take(sockets(address.to_ipv6_mapped().into()));
        }
    }
    for node in &moved.nodes {
        let topic = Topic::Locality(node.clone());
        take(topic.clone()..=topic);
    }
    for namespace in &moved.members {
        let first = Topic::Members(Workload::new(namespace.clone(), ""));
        let of = topics.range(first..).map_while(|(topic, _)| match topic {
            Topic::Members(workload) if workload.namespace == *namespace => Some(topic),
            _ => None,
        });
        found.extend(of.cloned());
    }
    for namespace in &moved.modes {
        let first = Topic::Endpoints(port(namespace, "", 0));
        let of = topics.range(first..).map_while(|(topic, _)| match topic {
            Topic::Endpoints(of) if of.destination.namespace == *namespace => Some(topic),
            _ => None,
        });
        found.extend(of.cloned());
    }
    if !moved.plans.is_empty() {
        let first = Topic::Address(SocketAddr::from(([0, 0, 0, 0], 0)));
        let of = topics.range(first..).filter(|(topic, _)| match topic {
            Topic::Address(of) => index
                .service_namespace_at(of.ip().to_canonical())
                .is_some_and(|namespace| moved.plans.contains(namespace)),
            _ => false,
        });
        found.extend(of.map(|(topic, _)| topic.clone()));
    }
    found
}

fn port(namespace: &str, name: &str, port: u16) -> DestinationPortName {
    DestinationPortName {
        destination: DestinationName::new(namespace, name),
        port,
    }
}

/// Every port of a destination.
fn ports(namespace: &str, name: &str) -> RangeInclusive<Topic> {
    Topic::Endpoints(port(namespace, name, 0))..=Topic::Endpoints(port(namespace, name, u16::MAX))
}

/// Every port of an address.
fn sockets(address: IpAddr) -> RangeInclusive<Topic> {
    let (first, last) = match address {
        IpAddr::V4(address) => ((address, 0).into(), (address, u16::MAX).into()),
        IpAddr::V6(address) => (
            SocketAddrV6::new(address, 0, 0, 0).into(),
            SocketAddrV6::new(address, u16::MAX, u32::MAX, u32::MAX).into(),
        ),
    };
    Topic::Address(first)..=Topic::Address(last)
}
