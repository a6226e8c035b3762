//! Which addresses count as one where strangers could choose among many.

use std::net::{IpAddr, Ipv6Addr};

/// Bits of an IPv6 address that its owner cannot choose: a machine is usually given a whole /64.
const PREFIX: u32 = 64;

/// Addresses that one machine may have all of: an address of IPv4, a /64 of IPv6.
///
/// In Kubernetes a /64 is often that of a node, and so of all its pods. A limit that many honest pods could reach together
/// therefore counts addresses; networks count where somebody has to give way, and where what is counted is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// That of an address, in whichever form it is written.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> PREFIX << PREFIX).into(),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(address: &str) -> Network {
        Network::of(address.parse().unwrap())
    }

    #[test]
    fn e12_an_ipv6_network_is_one_and_an_ipv4_address_stands_alone() {
        assert_eq!(
            network("2001:db8:0:1::1"),
            network("2001:db8:0:1:ffff:ffff:ffff:ffff")
        );
        assert_ne!(network("2001:db8:0:1::1"), network("2001:db8:0:2::1"));
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
        assert_eq!(network("10.0.0.1"), network("::ffff:10.0.0.1"));
        assert_ne!(network("::ffff:10.0.0.1"), network("::ffff:10.0.0.2"));
    }
}
