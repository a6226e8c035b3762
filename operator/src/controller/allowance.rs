//! How many Events a namespace may cause: a hundred at once, as when it joins the mesh, then one a second. It is taken
//! before an Event is written. Pure: the time comes in.
//!
//! client-go keeps such a bucket for each object. One for each namespace also bounds what thousands of objects may cause.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Events at once.
pub const BURST: u32 = 100;
/// After so long there is one more, up to [`BURST`].
pub const PERIOD: Duration = Duration::from_secs(1);

/// When the token bucket of each key is full again. Those that are full are forgotten.
#[derive(Debug)]
pub struct Allowance<K>(BTreeMap<K, Instant>);

impl<K> Default for Allowance<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord + Clone> Allowance<K> {
    /// When a key may have the next one; it may be over.
    pub fn next(&self, key: &K, now: Instant) -> Instant {
        let full = self.0.get(key).copied().unwrap_or(now);
        full.checked_sub(PERIOD * (BURST - 1)).unwrap_or(now).max(now)
    }

    /// Whether a key may have one now.
    pub fn allows(&self, key: &K, now: Instant) -> bool {
        self.next(key, now) <= now
    }

    /// A key has one.
    pub fn spend(&mut self, key: &K, now: Instant) {
        self.0.retain(|_, full| *full > now);
        let full = self.0.get(key).copied().unwrap_or(now);
        self.0.insert(key.clone(), full + PERIOD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many there are within so long, taken as soon as they may be.
    fn taken(within: Duration) -> u32 {
        let begin = Instant::now();
        let (mut allowance, mut count) = (Allowance::default(), 0);
        let mut now = begin;
        while now <= begin + within {
            allowance.spend(&"shop", now);
            count += 1;
            now = allowance.next(&"shop", now);
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
        let mut allowance = Allowance::default();
        for _ in 0..BURST {
            assert!(allowance.allows(&"noisy", now));
            allowance.spend(&"noisy", now);
        }
        assert!(!allowance.allows(&"noisy", now));
        assert!(allowance.allows(&"quiet", now));
    }

    #[test]
    fn a_key_that_was_quiet_for_long_is_forgotten_and_has_its_burst_again() {
        let now = Instant::now();
        let mut allowance = Allowance::default();
        allowance.spend(&"a", now);
        allowance.spend(&"b", now + PERIOD);
        assert_eq!(allowance.0.len(), 1);
    }
}
