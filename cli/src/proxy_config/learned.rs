//! Destinations that a proxy knows: those of its configuration, and those that it learned from the operator by looking up addresses.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::Deserialize;
use serde_json::Value;
use smilax_core::config::Destination;
use smilax_core::{DestinationName, ProxyConfig};

/// Destinations, and where the proxy has each from.
#[derive(Clone, Debug, Default)]
pub(crate) struct Destinations(Vec<(Destination, From)>);

/// Where a proxy has a destination from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Configuration,
    /// It looked these addresses up.
    Lookup(Vec<SocketAddr>),
}

/// What stands behind an address, as a proxy tells it.
#[derive(Debug, Deserialize)]
struct Address {
    address: SocketAddr,
    #[serde(default)]
    destinations: Vec<Destination>,
}

impl Destinations {
    /// Those of a configuration, and those that were learned. What the configuration names is not taken from a lookup.
    pub(crate) fn of(config: ProxyConfig, addresses: &Value) -> Self {
        let own = config.destinations.into_iter();
        let mut all: Vec<_> = own.map(|one| (one, From::Configuration)).collect();
        let learned = Self::learned(addresses).0;
        let new = learned
            .into_iter()
            .filter(|(one, _)| all.iter().all(|(known, _)| known.name != one.name));
        let new: Vec<_> = new.collect();
        all.extend(new);
        Self(all)
    }

    /// Those that were learned, in order of their names. A proxy of an earlier version tells none.
    pub(crate) fn learned(addresses: &Value) -> Self {
        let told: Vec<Address> = serde_json::from_value(addresses.clone()).unwrap_or_default();
        let mut by_name: BTreeMap<DestinationName, (Destination, Vec<SocketAddr>)> = BTreeMap::new();
        for one in told {
            for destination in one.destinations {
                let known = by_name.entry(destination.name.clone());
                let (_, from) = known.or_insert_with(|| (destination, Vec::new()));
                from.push(one.address);
            }
        }
        let all = by_name.into_values();
        Self(all.map(|(one, from)| (one, From::Lookup(from))).collect())
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Destination, &From)> {
        self.0.iter().map(|(destination, from)| (destination, from))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration => f.write_str("configuration"),
            Self::Lookup(addresses) => {
                let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                write!(f, "lookup of {}", all.join(", "))
            }
        }
    }
}
