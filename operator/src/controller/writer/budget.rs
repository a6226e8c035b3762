//! How many writes telling may make: at most fifty in any second, however much there is to tell. Pure: the time comes in.

use std::time::Duration;

use tokio::time::Instant;

/// Between two writes when there are many.
const EVERY: Duration = Duration::from_millis(24);
/// How many may come at once after a rest: what a user's one change asks for is told without waiting.
const SAVED_AT_MOST: u32 = 4;

/// A token bucket that may fall into debt: what one status needs is not known before it is written.
#[derive(Debug)]
pub(super) struct Budget {
    /// When the bucket was, or will be, empty.
    empty: Instant,
}

impl Budget {
    /// Full.
    pub(super) fn new(now: Instant) -> Self {
        let mut budget = Self { empty: now };
        budget.empty = budget.floor(now);
        budget
    }

    /// How many writes may be made now.
    pub(super) fn left(&self, now: Instant) -> usize {
        let rest = now.saturating_duration_since(self.empty.max(self.floor(now)));
        usize::try_from(rest.as_millis() / EVERY.as_millis()).unwrap_or(usize::MAX)
    }

    /// So many writes were made.
    pub(super) fn spend(&mut self, writes: usize, now: Instant) {
        let writes = u32::try_from(writes).unwrap_or(u32::MAX);
        self.empty = self.empty.max(self.floor(now)) + EVERY.saturating_mul(writes);
    }

    /// When the next may be made.
    pub(super) fn next(&self) -> Instant {
        self.empty + EVERY
    }

    /// When a bucket that is full now would have been empty.
    fn floor(&self, now: Instant) -> Instant {
        now.checked_sub(EVERY * SAVED_AT_MOST).unwrap_or(self.empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_few_writes_after_a_rest_need_not_wait() {
        let now = Instant::now() + SECOND;
        let mut budget = Budget::new(now);
        assert_eq!(budget.left(now), 4);
        budget.spend(4, now);
        assert_eq!(budget.left(now), 0);
        assert_eq!(budget.left(now + EVERY), 1);
        assert_eq!(budget.left(now + SECOND * 60), 4, "rest is not saved without end");
    }

    #[test]
    fn debt_is_paid_before_the_next_write() {
        let now = Instant::now() + SECOND;
        let mut budget = Budget::new(now);
        budget.spend(6, now);
        assert_eq!(budget.next(), now + EVERY * 3);
        assert_eq!(budget.left(now + EVERY * 2), 0);
        assert_eq!(budget.left(budget.next()), 1);
    }

    #[test]
    fn no_second_has_more_than_fifty_writes() {
        let mut now = Instant::now() + SECOND;
        let mut budget = Budget::new(now);
        let mut times = Vec::new();
        for _ in 0..500 {
            let left = budget.left(now).max(1);
            // The worst: each status brings an Event with it.
            times.extend(std::iter::repeat_n(now, left * 2));
            budget.spend(left * 2, now);
            now = budget.next();
        }
        let within = |from: Instant| {
            times
                .iter()
                .filter(|at| (from..from + SECOND).contains(at))
                .count()
        };
        let most = times.iter().map(|&from| within(from)).max().unwrap_or_default();
        assert!((40..=50).contains(&most), "{most}");
    }
}
