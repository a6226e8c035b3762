//! Handshakes under way on the workload port. Nobody who opens connections and says nothing keeps others from theirs.

use std::net::IpAddr;

use smilax_core::admission::Network;

use crate::sources::{Place, Sources};

/// Those of one address: a node's, where addresses are translated.
pub(super) const OF_ONE: usize = 32;
/// Those of one network. Whoever has a /64 of IPv6 has 2^64 addresses; and in many clusters it is that of a node or of a
/// subnet, whose pods all come back at once when an operator restarts.
const OF_NETWORK: usize = 256;

/// Handshakes by where they come from.
#[derive(Debug)]
pub(super) struct Handshakes {
    addresses: Sources<IpAddr>,
    networks: Sources<Network>,
}

/// One handshake; over when dropped.
#[derive(Debug)]
pub(super) struct Handshake {
    _of_address: Place<IpAddr>,
    _of_network: Place<Network>,
}

impl Handshakes {
    pub(super) fn new() -> Self {
        Self {
            addresses: Sources::new(OF_ONE),
            networks: Sources::new(OF_NETWORK),
        }
    }

    /// One more; `None` when the address or its network has its share.
    pub(super) fn begin(&self, address: IpAddr) -> Option<Handshake> {
        Some(Handshake {
            _of_address: self.addresses.enter(address)?,
            _of_network: self.networks.enter(Network::of(address))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    /// An address of this /64.
    fn address(network: u16, number: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, network, 0, 0, 0, number).into()
    }

    #[test]
    fn s41_a_network_of_many_addresses_leaves_handshakes_for_others() {
        let handshakes = Handshakes::new();
        let crowd: Vec<_> = (0..2000)
            .filter_map(|number| handshakes.begin(address(1, number)))
            .collect();
        assert_eq!(crowd.len(), OF_NETWORK);
        assert!(handshakes.begin(address(2, 0)).is_some());
        drop(crowd);
        assert!(handshakes.begin(address(1, 0)).is_some());
    }

    #[test]
    fn s41_an_address_leaves_handshakes_for_others_of_its_network() {
        let handshakes = Handshakes::new();
        let crowd: Vec<_> = (0..2000)
            .filter_map(|_| handshakes.begin(address(1, 1)))
            .collect();
        assert_eq!(crowd.len(), OF_ONE);
        assert!(handshakes.begin(address(1, 2)).is_some());
    }
}
