//! How many writes there may be in any second, however much there is to tell. Statuses and Events have a budget each, so that
//! neither waits for the other; both together make fifty. Pure: the time comes in.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// In how much time.
const WINDOW: Duration = Duration::from_secs(1);
/// Statuses in it.
const STATUSES: usize = 38;
/// Events in it. The last one may take three writes more: it is tried four times.
const EVENTS: usize = 9;
/// Writes of one turn. A turn counts when it is over, so a long one would leave time unused.
const TURN: usize = 4;

/// What was written within the last second.
#[derive(Debug)]
pub(super) struct Budget {
    most: usize,
    spent: VecDeque<(Instant, usize)>,
}

impl Budget {
    /// That of statuses.
    pub(super) fn of_statuses() -> Self {
        Self::new(STATUSES)
    }

    /// That of Events.
    pub(super) fn of_events() -> Self {
        Self::new(EVENTS)
    }

    fn new(most: usize) -> Self {
        Self {
            most,
            spent: VecDeque::new(),
        }
    }

    /// How many writes a turn may make now.
    pub(super) fn turn(&mut self, now: Instant) -> usize {
        self.most.saturating_sub(self.spent(now)).min(TURN)
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
            if spent < self.most {
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

    /// Times of the writes of turns that take so many milliseconds, each of as many writes as it may have, or of so many.
    fn turns(mut budget: Budget, turns: &[u64], writes: Option<usize>) -> (Vec<Instant>, Duration) {
        let begin = Instant::now();
        let (mut now, mut times) = (begin, Vec::new());
        for milliseconds in turns {
            now = now.max(budget.next(now));
            let most = budget.turn(now);
            assert!(most > 0, "a turn that tells nothing");
            let writes = writes.unwrap_or(most);
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
        let mut budget = Budget::of_statuses();
        for _ in 0..9 {
            assert_eq!(budget.turn(now), 4);
            budget.spend(4, now);
        }
        assert_eq!(budget.turn(now), 2);
        assert_eq!(budget.next(now), now);
    }

    #[test]
    fn what_was_spent_is_there_again_after_a_second() {
        let now = Instant::now();
        let mut budget = Budget::of_events();
        budget.spend(1, now);
        budget.spend(8, now + WINDOW / 2);
        assert_eq!(budget.turn(now + WINDOW / 2), 0);
        assert_eq!(budget.next(now + WINDOW / 2), now + WINDOW);
        assert_eq!(budget.turn(now + WINDOW), 1);
        budget.spend(1, now + WINDOW);
        assert_eq!(budget.next(now + WINDOW), now + WINDOW * 3 / 2);
        assert_eq!(budget.turn(now + WINDOW * 3 / 2), 4);
    }

    #[test]
    fn turns_of_a_tenth_of_a_second_waste_little_time() {
        let (times, time) = turns(Budget::of_statuses(), &[100; 100], None);
        let rate = f64::from(u32::try_from(times.len()).unwrap()) / time.as_secs_f64();
        assert!(rate > 34.0, "{rate}");
    }

    fn most_within_a_second(times: &[Instant]) -> usize {
        let within = |from: &Instant| {
            times
                .iter()
                .filter(|at| (*from..*from + WINDOW).contains(at))
                .count()
        };
        times.iter().map(within).max().unwrap_or_default()
    }

    proptest! {
        #[test]
        fn no_second_has_more_than_fifty_writes(lasting in prop::collection::vec(0_u64..150, 1..100)) {
            let (statuses, _) = turns(Budget::of_statuses(), &lasting, None);
            let (events, _) = turns(Budget::of_events(), &lasting, Some(4));
            prop_assert!(most_within_a_second(&statuses) + most_within_a_second(&events) <= 50);
        }
    }
}
