//! Who is connected: an address has its share of the connections and no more, so that one caller cannot keep the
//! others out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Connections by the address that they come from.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    connected: Arc<Mutex<HashMap<IpAddr, usize>>>,
    most_of_one: usize,
}

/// One connection; over when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    sources: Sources,
    address: IpAddr,
}

impl Sources {
    /// Nobody yet; at most so many connections of one address.
    pub(crate) fn new(most_of_one: usize) -> Self {
        Self {
            connected: Arc::default(),
            most_of_one,
        }
    }

    /// One more connection; `None` when the address has its share.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Place> {
        let mut connected = self.connected.lock();
        let of_one = connected.entry(address).or_default();
        if *of_one >= self.most_of_one {
            return None;
        }
        *of_one += 1;
        Some(Place {
            sources: self.clone(),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connected = self.sources.connected.lock();
        match connected.get_mut(&self.address) {
            Some(of_one) if *of_one > 1 => *of_one -= 1,
            _ => {
                connected.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f1_an_address_has_its_share_and_leaves_no_trace_when_it_is_gone() {
        let sources = Sources::new(2);
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = sources.enter(one).unwrap();
        let second = sources.enter(one).unwrap();
        assert!(sources.enter(one).is_none());
        assert!(sources.enter(other).is_some());
        drop(first);
        let third = sources.enter(one);
        assert!(third.is_some());
        drop((second, third));
        assert!(sources.connected.lock().is_empty());
    }
}
