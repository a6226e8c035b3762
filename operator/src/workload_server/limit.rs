//! How often one may ask. Pure: the time is given.

use std::hash::Hash;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::token_buckets::TokenBuckets;

/// Buckets that are kept; beyond that, newcomers wait until others have filled up.
const MOST_BUCKETS: usize = 16_384;
const FULL: Duration = Duration::from_secs(1);

/// Lets each key do something `burst` times at once, and once in `period` in the long run.
#[derive(Debug)]
pub(super) struct Limiter<K> {
    started: Instant,
    buckets: Mutex<TokenBuckets<K>>,
}

impl<K: Eq + Hash> Limiter<K> {
    pub(super) fn new(burst: u32, period: Duration) -> Self {
        Self {
            started: Instant::now(),
            buckets: Mutex::new(TokenBuckets::new(burst, period)),
        }
    }

    /// Takes one, or says how long to wait for it.
    pub(super) fn take(&self, key: K) -> Result<(), Duration> {
        self.take_at(key, self.started.elapsed())
    }

    fn take_at(&self, key: K, now: Duration) -> Result<(), Duration> {
        let now = self.started + now;
        let mut buckets = self.buckets.lock();
        if buckets.len() >= MOST_BUCKETS && !buckets.contains(&key) {
            buckets.forget_full(now);
            if buckets.len() >= MOST_BUCKETS {
                return Err(FULL);
            }
        }
        let next = buckets.next(&key, now);
        if next > now {
            return Err(next - now);
        }
        buckets.spend(key, now);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(2);

    #[test]
    fn a_burst_passes_and_then_one_in_each_period() {
        let limiter = Limiter::new(3, PERIOD);
        let at = |seconds| limiter.take_at("a", Duration::from_secs(seconds));
        assert_eq!([at(10), at(10), at(10)], [Ok(()); 3]);
        assert_eq!(at(10), Err(PERIOD));
        assert_eq!(at(11), Err(Duration::from_secs(1)));
        assert_eq!([at(12), at(12)], [Ok(()), Err(PERIOD)]);
    }

    #[test]
    fn one_key_does_not_use_up_what_another_has() {
        let limiter = Limiter::new(1, PERIOD);
        assert_eq!(limiter.take_at("a", Duration::ZERO), Ok(()));
        assert!(limiter.take_at("a", Duration::ZERO).is_err());
        assert_eq!(limiter.take_at("b", Duration::ZERO), Ok(()));
    }

    #[test]
    fn keys_without_number_use_bounded_memory() {
        let limiter = Limiter::new(1, PERIOD);
        for key in 0..2 * MOST_BUCKETS {
            let _ = limiter.take_at(key, Duration::ZERO);
        }
        assert_eq!(limiter.buckets.lock().len(), MOST_BUCKETS);
        assert_eq!(
            limiter.take_at(usize::MAX, PERIOD * 2),
            Ok(()),
            "when others are full"
        );
    }
}
