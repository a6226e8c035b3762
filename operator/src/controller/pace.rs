//! How often one object is written: at once while it seldom changes, gathered while it changes without end. Pure: the time
//! comes in.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

/// Writes of one object within a [`WINDOW`] at most.
pub const MOST: usize = 5;
/// For so long a write counts.
pub const WINDOW: Duration = Duration::from_secs(1);

/// When objects were written of late.
#[derive(Debug)]
pub struct Pace<K>(BTreeMap<K, VecDeque<Instant>>);

impl<K> Default for Pace<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Ord> Pace<K> {
    /// Whether an object may be written now.
    ///
    /// # Errors
    /// The time from which on it may.
    pub fn allows(&self, key: &K, now: Instant) -> Result<(), Instant> {
        let Some(times) = self.0.get(key) else {
            return Ok(());
        };
        let mut counting = times.iter().filter(|at| **at + WINDOW > now);
        match counting.clone().count() {
            count if count < MOST => Ok(()),
            count => Err(counting.nth(count - MOST).map_or(now, |at| *at + WINDOW)),
        }
    }

    /// An object is written now.
    pub fn spend(&mut self, key: K, now: Instant) {
        self.0
            .retain(|_, times| times.back().is_some_and(|at| *at + WINDOW > now));
        let times = self.0.entry(key).or_default();
        while times.len() >= MOST {
            times.pop_front();
        }
        times.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// When an object is written that changes at these times, in milliseconds.
    fn writes(changes: &[u64]) -> Vec<u64> {
        let begin = Instant::now();
        let (mut pace, mut written, mut due) = (Pace::default(), Vec::new(), None);
        let last = changes.last().copied().unwrap_or_default();
        for millisecond in 0..last + 2000 {
            let now = begin + MILLISECOND * u32::try_from(millisecond).unwrap();
            let changes_now = changes.contains(&millisecond);
            if !changes_now && due.is_none_or(|at| at > now) {
                continue;
            }
            match pace.allows(&"web", now) {
                Ok(()) => {
                    pace.spend("web", now);
                    written.push(millisecond);
                    due = None;
                }
                Err(at) => due = Some(at),
            }
        }
        written
    }

    #[test]
    fn f16_of_a_thousand_changes_a_second_five_are_written_in_each() {
        let changes: Vec<u64> = (0..3000).collect();
        let written = writes(&changes);
        assert_eq!(written[..6], [0, 1, 2, 3, 4, 1000]);
        assert_eq!(written.len(), 5 * 3 + 1, "and the last state of all");
    }

    #[test]
    fn f16_what_changes_seldom_is_written_at_once() {
        assert_eq!(writes(&[0, 300, 600, 900, 1200]), [0, 300, 600, 900, 1200]);
    }

    #[test]
    fn f16_one_object_does_not_hold_up_another() {
        let now = Instant::now();
        let mut pace = Pace::default();
        for _ in 0..MOST {
            pace.spend("hot", now);
        }
        assert_eq!(pace.allows(&"hot", now), Err(now + WINDOW));
        assert_eq!(pace.allows(&"other", now), Ok(()));
    }

    #[test]
    fn f16_what_was_written_long_ago_is_forgotten() {
        let now = Instant::now();
        let mut pace = Pace::default();
        pace.spend("gone", now);
        pace.spend("web", now + WINDOW);
        assert_eq!(pace.0.len(), 1);
    }

    proptest! {
        #[test]
        fn f16_no_second_has_more_than_five_writes_and_the_last_change_is_written_within_one(
            mut changes in prop::collection::vec(0_u64..3000, 1..200),
        ) {
            changes.sort_unstable();
            let written = writes(&changes);
            for from in &written {
                let within = written.iter().filter(|at| (*from..*from + 1000).contains(at)).count();
                prop_assert!(within <= MOST, "{within} from {from}");
            }
            let last_change = changes.last().unwrap();
            let last_write = written.last().unwrap();
            prop_assert!((*last_change..=*last_change + 1000).contains(last_write));
        }
    }
}
