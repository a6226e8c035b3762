//! Requests under way, as far as they cost memory: how much there is for all, and how much of it one source may have.
//!
//! A source may have [`FACTOR`] times what would be left. So one alone may have almost all of it, several share it, and
//! something is always left for whoever comes next: of two sources, the one that has more is refused first. Nothing that is
//! under way is ever taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many times what is left a source may have: 8 of 9 parts when it is alone, a seventh of all when six do their worst.
const FACTOR: usize = 8;

/// The same for all sources of a network ([`super::Network`]). It is more, so that those who share a network with somebody
/// who does his worst find room too; and bounded, so that addresses without number leave room for other networks.
const NETWORK_FACTOR: usize = 32;

/// It is crowded when one of so many parts is used: of 256 MiB of memory, by 128 requests.
const CROWDED: usize = 8;

/// Bytes that requests under way may cost in all.
#[derive(Debug)]
pub struct Load {
    limit: usize,
    used: AtomicUsize,
}

/// What requests under way of one source cost, and those of its network.
#[derive(Debug, Default)]
pub struct Share {
    own: AtomicUsize,
    network: Arc<AtomicUsize>,
}

/// What one request costs; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    load: Arc<Load>,
    share: Arc<Share>,
    bytes: usize,
}

/// Whether a source that has `own` of the bytes that `all` have may have so many more.
#[must_use]
pub fn may_have(own: usize, all: usize, more: usize, limit: usize) -> bool {
    leaves_enough(own, all, more, limit, FACTOR)
}

fn leaves_enough(own: usize, all: usize, more: usize, limit: usize, factor: usize) -> bool {
    let left = limit.saturating_sub(all.saturating_add(more));
    own.saturating_add(more) <= left.saturating_mul(factor)
}

impl Load {
    /// Nothing is under way. `limit` is in bytes.
    #[must_use]
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
        })
    }

    /// Bytes for a request of the source that `share` is of. `None`: there is no room, for this source.
    #[must_use]
    pub fn admit(self: &Arc<Self>, share: &Arc<Share>, bytes: usize) -> Option<Permit> {
        // Threads that ask at once may exceed it by a request each.
        let of_network = share.network.load(Ordering::Relaxed);
        if !may_have(share.used(), self.used(), bytes, self.limit)
            || !leaves_enough(of_network, self.used(), bytes, self.limit, NETWORK_FACTOR)
        {
            return None;
        }
        for used in [&self.used, &share.own, &share.network] {
            used.fetch_add(bytes, Ordering::Relaxed);
        }
        Some(Permit {
            load: Arc::clone(self),
            share: Arc::clone(share),
            bytes,
        })
    }

    /// Whether so much is under way that each request should cost as little as it can.
    #[must_use]
    pub fn is_crowded(&self) -> bool {
        self.used() >= self.limit / CROWDED
    }

    /// Bytes that requests under way cost.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Nothing, of a source in the network that this counts for.
    pub(super) fn within(network: &Arc<AtomicUsize>) -> Self {
        Self {
            own: AtomicUsize::new(0),
            network: Arc::clone(network),
        }
    }

    /// Bytes that those of this source cost.
    #[must_use]
    pub fn used(&self) -> usize {
        self.own.load(Ordering::Relaxed)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        for used in [&self.load.used, &self.share.own, &self.share.network] {
            used.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Requests of one byte that a source gets until it is refused.
    fn fill(load: &Arc<Load>, share: &Arc<Share>) -> Vec<Permit> {
        std::iter::from_fn(|| load.admit(share, 1)).collect()
    }

    #[test]
    fn s6_one_source_may_have_almost_all_and_leaves_room_for_others() {
        let load = Load::new(900);
        let [greedy, other] = [Arc::default(), Arc::default()];
        let under_way = fill(&load, &greedy);
        assert_eq!(under_way.len(), 800);
        assert_eq!(fill(&load, &other).len(), 88);
        drop(under_way);
        assert_eq!((load.used(), greedy.used()), (0, 0));
    }

    #[test]
    fn s6_six_sources_that_do_their_worst_leave_room_for_a_seventh() {
        let load = Load::new(2048);
        let shares: [Arc<Share>; 7] = std::array::from_fn(|_| Arc::default());
        let mut under_way = Vec::new();
        for share in shares.iter().take(6).cycle().take(6 * 2048) {
            under_way.extend(load.admit(share, 1));
        }
        assert!(load.admit(&shares[6], 1).is_some());
    }

    #[test]
    fn s41_a_network_of_many_addresses_leaves_room_for_others() {
        let load = Load::new(3300);
        let network = Arc::default();
        let mut under_way = Vec::new();
        for _ in 0..1000 {
            under_way.extend(fill(&load, &Arc::new(Share::within(&network))));
        }
        assert_eq!(under_way.len(), 3200);
        assert_eq!(fill(&load, &Arc::default()).len(), 88);
    }

    #[test]
    fn s41_who_shares_a_network_with_somebody_who_does_his_worst_finds_room() {
        let load = Load::new(3300);
        let network = Arc::default();
        let [greedy, neighbour] = [(); 2].map(|()| Arc::new(Share::within(&network)));
        let _under_way = fill(&load, &greedy);
        assert_eq!(fill(&load, &neighbour).len(), 267);
    }

    proptest! {
        #[test]
        fn s6_whoever_has_more_is_refused_first(
            own in 0..4000usize, less in 0..4000usize, all in 0..4000usize, more in 1..100usize, limit in 0..4000usize,
        ) {
            if may_have(own, all, more, limit) {
                prop_assert!(all + more <= limit);
                prop_assert!(may_have(less.min(own), all, more, limit));
            }
        }
    }
}
