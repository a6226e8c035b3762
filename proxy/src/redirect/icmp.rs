//! What of ICMP a network cannot do without.

/// A type of ICMP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpType {
    /// Its number.
    pub number: u8,
    /// Its name, as `nft` writes it.
    pub name: &'static str,
}

impl IcmpType {
    const fn new(number: u8, name: &'static str) -> Self {
        Self { number, name }
    }
}

/// Types of ICMP without which connections break: destination unreachable, fragmentation needed among it, time exceeded,
/// parameter problem (RFC 792).
pub(super) const ESSENTIAL: [IcmpType; 3] = [
    IcmpType::new(3, "destination-unreachable"),
    IcmpType::new(11, "time-exceeded"),
    IcmpType::new(12, "parameter-problem"),
];
/// Of ICMPv6 the same four errors, packet too big among them (RFC 4443), discovery of neighbours and routers (RFC 4861), and
/// queries and reports of the multicast groups that it needs (RFC 2710, RFC 3810).
pub(super) const ESSENTIAL_V6: [IcmpType; 13] = [
    IcmpType::new(1, "destination-unreachable"),
    IcmpType::new(2, "packet-too-big"),
    IcmpType::new(3, "time-exceeded"),
    IcmpType::new(4, "parameter-problem"),
    IcmpType::new(130, "mld-listener-query"),
    IcmpType::new(131, "mld-listener-report"),
    IcmpType::new(132, "mld-listener-done"),
    IcmpType::new(133, "nd-router-solicit"),
    IcmpType::new(134, "nd-router-advert"),
    IcmpType::new(135, "nd-neighbor-solicit"),
    IcmpType::new(136, "nd-neighbor-advert"),
    IcmpType::new(137, "nd-redirect"),
    IcmpType::new(143, "mld2-listener-report"),
];
