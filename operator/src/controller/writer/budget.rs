//! How many writes telling may make: at most fifty in any second, however much there is to tell. Pure: the time comes in.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// In how much time.
const WINDOW: Duration = Duration::from_secs(1);
/// How many in it. What a turn writes is known afterwards: three more than were left, where a status brings one Event.
const MOST: usize = 46;
/// Statuses of one turn. A turn counts when it is over, so a long one would leave time unused.
const STATUSES: usize = 4;

/// What was written within the last second.
#[derive(Debug, Default)]
pub(super) struct Budget {
    spent: VecDeque<(Instant, usize)>,
}

impl Budget {
    /// How many statuses may be told now. Each may bring an Event with it.
    pub(super) fn statuses(&mut self, now: Instant) -> usize {
        let left = MOST.saturating_sub(self.spent(now));
        left.div_ceil(2).min(STATUSES)
    }

    /// So many writes were made until now.
    pub(super) fn spend(&mut self, writes: usize, now: Instant) {
        if writes > 0 {
            self.spent.push_back((now, writes));
        }
    }

    /// When the next may be made.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        let (mut spent, mut at) = (self.spent(now), now);
        for (time, writes) in &self.spent {
            if spent < MOST {
                break;
            }
            (spent, at) = (spent - writes, *time + WINDOW);
        }
        at
    }

    /// How many within the last second.
    fn spent(&mut self, now: Instant) -> usize {
        while self.spent.front().is_some_and(|(at, _)| *at + WINDOW <= now) {
            self.spent.pop_front();
        }
        self.spent.iter().map(|(_, writes)| writes).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATUS_WITH_EVENT: usize = 2;
    const FINDING: usize = 2;

    /// Times of the writes of turns that take so many milliseconds, tell as many statuses as they may, each with its Event,
    /// and write so often of something else.
    fn turns(turns: &[(u64, usize)]) -> (Vec<Instant>, Duration) {
        let begin = Instant::now();
        let (mut now, mut budget, mut times) = (begin, Budget::default(), Vec::new());
        for (milliseconds, findings) in turns {
            now = now.max(budget.next(now));
            let statuses = budget.statuses(now);
            assert!(statuses > 0, "a turn that tells nothing");
            let writes = statuses * STATUS_WITH_EVENT + findings;
            let share = Duration::from_millis(*milliseconds) / u32::try_from(writes).unwrap();
            for _ in 0..writes {
                times.push(now);
                now += share;
            }
            budget.spend(writes, now);
        }
        (times, now - begin)
    }

    #[test]
    fn what_one_change_asks_for_need_not_wait() {
        let now = Instant::now();
        let mut budget = Budget::default();
        for _ in 0..5 {
            assert_eq!(budget.statuses(now), 4);
            budget.spend(8, now);
        }
        assert_eq!(budget.statuses(now), 3);
        assert_eq!(budget.next(now), now);
    }

    #[test]
    fn what_was_spent_is_there_again_after_a_second() {
        let now = Instant::now();
        let mut budget = Budget::default();
        budget.spend(1, now);
        budget.spend(47, now + WINDOW / 2);
        assert_eq!(budget.statuses(now + WINDOW / 2), 0);
        assert_eq!(budget.statuses(now + WINDOW), 0);
        assert_eq!(budget.next(now + WINDOW), now + WINDOW * 3 / 2);
        assert_eq!(budget.statuses(now + WINDOW * 3 / 2), 4);
    }

    #[test]
    fn turns_of_a_tenth_of_a_second_waste_little_time() {
        let (times, time) = turns(&[(100, FINDING); 100]);
        let rate = f64::from(u32::try_from(times.len()).unwrap()) / time.as_secs_f64();
        assert!(rate > 40.0, "{rate}");
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_fifty_writes(lasting in prop::collection::vec((0_u64..150, 0..=FINDING), 1..100)) {
            let (times, _) = turns(&lasting);
            for from in &times {
                let within = times.iter().filter(|at| (*from..*from + WINDOW).contains(at)).count();
                prop_assert!(within <= 50, "{within}");
            }
        }
    }
}
