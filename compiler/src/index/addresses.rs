//! What stands behind which address.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

type Name = Arc<str>;

/// An object that has an address: its namespace and name. A Service comes before a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Owner {
    /// A Service, by a virtual address of its.
    Service(Name, Name),
    /// A pod, by its address or that of the node whose network it shares.
    Pod(Name, Name),
}

/// Owners by address. For a moment an address may have several: a pod's that is gone is given to another.
#[derive(Debug, Default)]
pub(super) struct Addresses(BTreeSet<(IpAddr, Owner)>);

impl Addresses {
    /// Takes in that an object has these addresses now, and those before no longer. Gives those that changed hands.
    pub(super) fn set(&mut self, owner: &Owner, before: &[IpAddr], after: &[IpAddr]) -> BTreeSet<IpAddr> {
        let (before, after): (BTreeSet<IpAddr>, BTreeSet<IpAddr>) =
            (before.iter().copied().collect(), after.iter().copied().collect());
        for &address in before.difference(&after) {
            self.0.remove(&(address, owner.clone()));
        }
        for &address in after.difference(&before) {
            self.0.insert((address, owner.clone()));
        }
        before.symmetric_difference(&after).copied().collect()
    }

    /// Who has an address.
    pub(super) fn at(&self, address: IpAddr) -> impl Iterator<Item = &Owner> {
        let first = (address, Owner::Service("".into(), "".into()));
        self.0
            .range(first..)
            .take_while(move |(at, _)| *at == address)
            .map(|(_, owner)| owner)
    }
}
