//! Handshakes under way: bounded, as each costs memory before anybody has proven anything.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::rc::Rc;

use smilax_core::admission::Network;

use crate::settings::Limits;
use crate::transport::TlsFailure;

/// One address of IPv6 has this part of what its /64 may have: pods of a node often share one.
const PART_OF_NETWORK: usize = 4;

/// Handshakes of clients that are under way in one worker.
#[derive(Debug)]
pub struct Handshakes {
    all: Rc<Counts>,
    most: usize,
    most_of_one: usize,
}

#[derive(Debug, Default)]
struct Counts {
    all: Cell<usize>,
    by_network: RefCell<HashMap<Network, usize>>,
    /// Only addresses of IPv6: one of IPv4 is a network of its own.
    by_address: RefCell<HashMap<IpAddr, usize>>,
}

/// One handshake; over when dropped.
#[derive(Debug)]
pub struct UnderWay {
    counts: Rc<Counts>,
    client: IpAddr,
}

impl Handshakes {
    /// None yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            all: Rc::default(),
            most: limits.handshakes,
            most_of_one: limits.handshakes_of_one,
        }
    }

    /// One more.
    ///
    /// # Errors
    /// When there are too many, of this client, of its network or of all.
    pub fn begin(&self, client: IpAddr) -> Result<UnderWay, TlsFailure> {
        let network = Network::of(client);
        let mut by_network = self.all.by_network.borrow_mut();
        let mut by_address = self.all.by_address.borrow_mut();
        let of_network = by_network.get(&network).copied().unwrap_or_default();
        let of_address = by_address.get(&client).copied().unwrap_or_default();
        let most_of_address = (self.most_of_one / PART_OF_NETWORK).max(1);
        if self.all.all.get() >= self.most || of_network >= self.most_of_one || of_address >= most_of_address
        {
            return Err(TlsFailure::TooMany);
        }
        by_network.insert(network, of_network + 1);
        if client.is_ipv6() {
            by_address.insert(client, of_address + 1);
        }
        self.all.all.set(self.all.all.get() + 1);
        Ok(UnderWay {
            counts: Rc::clone(&self.all),
            client,
        })
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.counts.all.set(self.counts.all.get().saturating_sub(1));
        one_less(&self.counts.by_network, &Network::of(self.client));
        one_less(&self.counts.by_address, &self.client);
    }
}

/// Forgets who has none left.
fn one_less<Key: Eq + Hash>(counts: &RefCell<HashMap<Key, usize>>, key: &Key) {
    let mut counts = counts.borrow_mut();
    match counts.get_mut(key) {
        Some(count) if *count > 1 => *count -= 1,
        _ => {
            counts.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshakes() -> Handshakes {
        Handshakes::new(Limits {
            handshakes: 3,
            handshakes_of_one: 2,
            ..Limits::default()
        })
    }

    #[test]
    fn one_client_cannot_take_the_place_of_others() {
        let handshakes = handshakes();
        let [one, other] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let _held = [handshakes.begin(one).unwrap(), handshakes.begin(one).unwrap()];
        assert!(handshakes.begin(one).is_err());
        assert!(handshakes.begin(other).is_ok());
    }

    #[test]
    fn c10_all_addresses_of_an_ipv6_network_are_one_client() {
        let handshakes = handshakes();
        let address = |text: &str| text.parse().unwrap();
        let _held = ["2001:db8::1", "2001:db8::2"].map(|ip| handshakes.begin(address(ip)).unwrap());
        assert!(handshakes.begin(address("2001:db8::3")).is_err());
        assert!(handshakes.begin(address("2001:db8:0:1::3")).is_ok());
    }

    #[test]
    fn s64_one_address_leaves_places_to_others_of_its_ipv6_network() {
        let handshakes = Handshakes::new(Limits {
            handshakes: 100,
            handshakes_of_one: 8,
            ..Limits::default()
        });
        let [one, other] = ["2001:db8::1", "2001:db8::2"].map(|ip| ip.parse().unwrap());
        let held = [handshakes.begin(one).unwrap(), handshakes.begin(one).unwrap()];
        assert!(handshakes.begin(one).is_err());
        assert!(handshakes.begin(other).is_ok());
        drop(held);
        assert!(handshakes.all.by_address.borrow().is_empty());
        assert!(handshakes.begin(one).is_ok());
    }

    #[test]
    fn all_together_are_bounded_and_what_is_over_makes_room() {
        let handshakes = handshakes();
        let client = |last: u8| IpAddr::from([10, 0, 0, last]);
        let mut held: Vec<_> = (0..3)
            .map(|last| handshakes.begin(client(last)).unwrap())
            .collect();
        assert!(handshakes.begin(client(9)).is_err());
        held.clear();
        assert!(handshakes.begin(client(9)).is_ok());
        assert!(handshakes.all.by_network.borrow().is_empty());
    }
}
