//! Services without selector, by the addresses in their EndpointSlices: what is told of such an endpoint follows from the
//! pod that has its address, in whatever namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

type Name = Arc<str>;
/// Namespace and name of a Service.
type Key = (Name, Name);

/// Addresses of endpoints that no selector chose.
#[derive(Debug, Default)]
pub(super) struct ByHand {
    services: BTreeMap<Key, BTreeSet<IpAddr>>,
    addresses: BTreeSet<(IpAddr, Key)>,
}

impl ByHand {
    /// Takes in the endpoints of a Service; none for one with a selector.
    pub(super) fn set(&mut self, service: Key, addresses: BTreeSet<IpAddr>) {
        for address in self.services.remove(&service).unwrap_or_default() {
            self.addresses.remove(&(address, service.clone()));
        }
        if addresses.is_empty() {
            return;
        }
        self.addresses
            .extend(addresses.iter().map(|&address| (address, service.clone())));
        self.services.insert(service, addresses);
    }

    /// Services with an endpoint at this address.
    pub(super) fn at(&self, address: IpAddr) -> impl Iterator<Item = &Key> {
        self.addresses
            .range((address, Key::default())..)
            .take_while(move |(at, _)| *at == address)
            .map(|(_, service)| service)
    }
}
