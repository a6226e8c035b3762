//! How often something may be done for each of many keys: some times at once, and then once in each period. Pure: the time
//! comes in.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

/// A token bucket for each key. It is as empty as the time until it is full again says (the generic cell rate algorithm),
/// so that a full one need not be kept.
#[derive(Debug)]
pub(crate) struct TokenBuckets<K> {
    burst: u32,
    period: Duration,
    full_at: HashMap<K, Instant>,
}

impl<K: Eq + Hash> TokenBuckets<K> {
    /// Full ones, of `burst` tokens each; there is one more after each `period`.
    pub(crate) fn new(burst: u32, period: Duration) -> Self {
        Self {
            burst,
            period,
            full_at: HashMap::new(),
        }
    }

    /// When there is a token for a key: now, or later.
    pub(crate) fn next<Q>(&self, key: &Q, now: Instant) -> Instant
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let full = self.full_at.get(key).copied().unwrap_or(now);
        full.checked_sub(self.period * (self.burst - 1))
            .unwrap_or(now)
            .max(now)
    }

    /// Whether there is a token for a key now.
    pub(crate) fn allows<Q>(&self, key: &Q, now: Instant) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.next(key, now) <= now
    }

    /// Takes a token of a key.
    pub(crate) fn spend(&mut self, key: K, now: Instant) {
        let full = self.full_at.entry(key).or_insert(now);
        *full = now.max(*full) + self.period;
    }

    /// Forgets buckets that are full. Whoever has keys without number calls this now and then.
    pub(crate) fn forget_full(&mut self, now: Instant) {
        self.full_at.retain(|_, full| *full > now);
    }

    /// Whether a bucket is kept.
    pub(crate) fn contains(&self, key: &K) -> bool {
        self.full_at.contains_key(key)
    }

    /// How many buckets are kept.
    pub(crate) fn len(&self) -> usize {
        self.full_at.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BURST: u32 = 100;
    const PERIOD: Duration = Duration::from_secs(1);

    /// How many there are within so long, taken as soon as they may be.
    fn taken(within: Duration) -> u32 {
        let begin = Instant::now();
        let (mut buckets, mut count) = (TokenBuckets::new(BURST, PERIOD), 0);
        let mut now = begin;
        while now <= begin + within {
            buckets.spend("shop", now);
            count += 1;
            now = buckets.next("shop", now);
        }
        count
    }

    #[test]
    fn s29_a_burst_is_allowed_at_once_and_then_one_in_each_period() {
        assert_eq!(taken(Duration::ZERO), BURST);
        assert_eq!(taken(PERIOD / 2), BURST);
        assert_eq!(taken(PERIOD * 60), BURST + 60);
    }

    #[test]
    fn s29_what_one_namespace_causes_costs_another_nothing() {
        let now = Instant::now();
        let mut buckets = TokenBuckets::new(BURST, PERIOD);
        for _ in 0..BURST {
            assert!(buckets.allows("noisy", now));
            buckets.spend("noisy", now);
        }
        assert!(!buckets.allows("noisy", now));
        assert!(buckets.allows("quiet", now));
    }

    #[test]
    fn a_key_that_was_quiet_for_long_is_forgotten_and_has_its_burst_again() {
        let now = Instant::now();
        let mut buckets = TokenBuckets::new(BURST, PERIOD);
        buckets.spend("a", now);
        buckets.forget_full(now + PERIOD);
        buckets.spend("b", now + PERIOD);
        assert_eq!(buckets.len(), 1);
    }
}
