//! Who is next: groups take turns, and so do the keys within a group. A group with a thousand keys holds no other one up,
//! and a key that comes back again and again does not come before those that wait. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// Keys that wait, by group.
#[derive(Debug)]
pub struct Turns<G, K> {
    groups: BTreeMap<G, Group<K>>,
    /// Whose turn it was.
    last: Option<G>,
}

#[derive(Debug)]
struct Group<K> {
    keys: BTreeSet<K>,
    last: Option<K>,
}

impl<G, K> Default for Turns<G, K> {
    fn default() -> Self {
        Self {
            groups: BTreeMap::new(),
            last: None,
        }
    }
}

impl<G: Ord + Clone, K: Ord + Clone> Turns<G, K> {
    /// A key waits.
    pub fn insert(&mut self, group: &G, key: K) {
        let waiting = self.groups.entry(group.clone()).or_insert_with(|| Group {
            keys: BTreeSet::new(),
            last: None,
        });
        waiting.keys.insert(key);
    }

    /// A key waits no longer.
    pub fn remove(&mut self, group: &G, key: &K) {
        if let Some(waiting) = self.groups.get_mut(group) {
            waiting.keys.remove(key);
            if waiting.keys.is_empty() {
                self.groups.remove(group);
            }
        }
    }

    /// The next key of the next group that may have a turn.
    pub fn take(&mut self, may: impl Fn(&G) -> bool) -> Option<K> {
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self
            .groups
            .range((after, Bound::Unbounded))
            .map(|(group, _)| group);
        let group = behind.chain(self.groups.keys()).find(|group| may(group))?.clone();
        let waiting = self.groups.get_mut(&group)?;
        let key = waiting.take()?;
        if waiting.keys.is_empty() {
            self.groups.remove(&group);
        }
        self.last = Some(group);
        Some(key)
    }

    /// Groups with keys that wait.
    pub fn groups(&self) -> impl Iterator<Item = &G> {
        self.groups.keys()
    }

    /// How many keys wait.
    pub fn len(&self) -> usize {
        self.groups.values().map(|group| group.keys.len()).sum()
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

impl<K: Ord + Clone> Group<K> {
    fn take(&mut self) -> Option<K> {
        let after = self.last.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.keys.range((after, Bound::Unbounded)).next();
        let key = next.or_else(|| self.keys.first())?.clone();
        self.keys.remove(&key);
        self.last = Some(key.clone());
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(keys: &[(char, u32)]) -> Turns<char, u32> {
        let mut turns = Turns::default();
        for (group, key) in keys {
            turns.insert(group, *key);
        }
        turns
    }

    fn all(turns: &mut Turns<char, u32>) -> Vec<u32> {
        std::iter::from_fn(|| turns.take(|_| true)).collect()
    }

    #[test]
    fn s29_groups_take_turns() {
        let mut turns = turns(&[('a', 1), ('a', 2), ('a', 3), ('b', 4), ('c', 5)]);
        assert_eq!(turns.len(), 5);
        assert_eq!(all(&mut turns), [1, 4, 5, 2, 3]);
        assert!(turns.is_empty());
    }

    #[test]
    fn s29_a_key_that_comes_back_does_not_come_before_those_that_wait() {
        let mut turns = turns(&[('a', 1), ('a', 2), ('a', 3)]);
        assert_eq!(turns.take(|_| true), Some(1));
        turns.insert(&'a', 1);
        assert_eq!(all(&mut turns), [2, 3, 1]);
    }

    #[test]
    fn s29_a_group_that_may_not_have_a_turn_is_passed_over() {
        let mut turns = turns(&[('a', 1), ('b', 2)]);
        assert_eq!(turns.take(|group| *group != 'a'), Some(2));
        assert_eq!(turns.take(|group| *group != 'a'), None);
        assert_eq!(turns.take(|_| true), Some(1));
    }

    #[test]
    fn what_waits_no_longer_gets_no_turn() {
        let mut turns = turns(&[('a', 1), ('b', 2)]);
        turns.remove(&'a', &1);
        assert_eq!(all(&mut turns), [2]);
    }
}
