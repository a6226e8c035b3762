//! What is to be written of the status of objects, and when. Pure: the time comes in.
//!
//! What changes of the objects themselves is written at once, and so is another state of `Programmed`. Another count of
//! proxies alone waits until the last write is a minute old: two thousand acknowledgements are not two thousand writes.
//! When more are due than may be written, they take turns; one object is written five times a second at most.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use smilax_compiler::status::{self, DesiredStatus, Knowledge};
use tokio::time::Instant;

use super::acknowledgement::{Acknowledgements, Held};
use super::kinds::SmiKind;
use super::pace::Pace;
use super::state::{ObjectKey, StoredObject};

/// How old the last write must be before another count is written, and how long proxies have to come back to a new
/// leader.
pub const COUNT_PERIOD: Duration = Duration::from_mins(1);

/// The statuses as they should be, and which of them are to be looked at.
#[derive(Debug)]
pub struct Statuses {
    /// Who enforces what.
    pub known: Acknowledgements,
    desired: BTreeMap<ObjectKey, DesiredStatus>,
    written: BTreeMap<ObjectKey, Instant>,
    pace: Pace<ObjectKey>,
    later: BTreeMap<ObjectKey, Instant>,
    /// To be looked at; in turns, from the one after `last`.
    again: BTreeSet<ObjectKey>,
    last: Option<ObjectKey>,
    /// When this operator began to lead.
    since: Instant,
    gathering: Knowledge,
}

/// Where an object is kept.
pub fn key_of(status: &DesiredStatus) -> Option<ObjectKey> {
    let kind = SmiKind::from_kind(&status.object.kind)?;
    Some((kind, status.object.namespace.clone(), status.object.name.clone()))
}

/// The objects of a namespace; those of others are not looked at.
pub(super) fn keys_of<'a, T>(
    objects: &'a BTreeMap<ObjectKey, T>,
    namespace: &'a str,
) -> impl Iterator<Item = &'a ObjectKey> {
    SmiKind::ALL.into_iter().flat_map(move |kind| {
        let first = (kind, Arc::from(namespace), Arc::from(""));
        let from = objects.range(first..).map(|(key, _)| key);
        from.take_while(move |key| key.0 == kind && *key.1 == *namespace)
    })
}

impl Statuses {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> Self {
        Self {
            known: Acknowledgements::default(),
            desired: BTreeMap::new(),
            written: BTreeMap::new(),
            pace: Pace::default(),
            later: BTreeMap::new(),
            again: BTreeSet::new(),
            last: None,
            since: now,
            gathering: Knowledge::Gathering,
        }
    }

    /// Takes in the statuses of every object of a namespace, which are then looked at.
    pub fn set(
        &mut self,
        namespace: &str,
        statuses: Vec<DesiredStatus>,
        stored: &BTreeMap<ObjectKey, StoredObject>,
    ) {
        let mut held = BTreeMap::new();
        let mut gone: BTreeSet<ObjectKey> = keys_of(&self.desired, namespace).cloned().collect();
        for key in &gone {
            self.desired.remove(key);
        }
        for status in statuses {
            let Some(key) = key_of(&status) else { continue };
            let uid = stored.get(&key).map(|object| object.uid.clone());
            held.insert(
                key.clone(),
                Held {
                    uid: uid.unwrap_or_default(),
                    generation: status.object.generation,
                    holders: status.holders.clone(),
                    learners: status.learners.clone(),
                },
            );
            self.again.insert(key.clone());
            gone.remove(&key);
            self.desired.insert(key, status);
        }
        self.known.set_objects(namespace, held);
        for key in &gone {
            self.written.remove(key);
            self.later.remove(key);
        }
    }

    /// Of the statuses that are to be written by now, at most so many. The others keep their turn: what changes again and
    /// again does not come before them.
    pub fn take_due(
        &mut self,
        stored: &BTreeMap<ObjectKey, StoredObject>,
        now: Instant,
        most: usize,
    ) -> Vec<DesiredStatus> {
        self.again.append(&mut self.known.take_changed());
        if self.gathering == Knowledge::Gathering && now >= self.since + COUNT_PERIOD {
            self.gathering = Knowledge::Complete;
            self.again.extend(self.desired.keys().cloned());
        }
        let due = self.later.extract_if(.., |_, at| *at <= now);
        self.again.extend(due.map(|(key, _)| key));
        let mut found = Vec::new();
        while found.len() < most {
            let Some(key) = self.take_next() else { break };
            found.extend(self.due(&key, stored, now));
        }
        found
    }

    /// The next whose turn it is.
    fn take_next(&mut self) -> Option<ObjectKey> {
        let after = self.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.again.range((after, Bound::Unbounded)).next();
        let key = next.or_else(|| self.again.first())?.clone();
        self.again.remove(&key);
        self.last = Some(key.clone());
        Some(key)
    }

    /// The status of an object, when it is to be written by now.
    fn due(
        &mut self,
        key: &ObjectKey,
        stored: &BTreeMap<ObjectKey, StoredObject>,
        now: Instant,
    ) -> Option<DesiredStatus> {
        self.later.remove(key);
        let object = stored.get(key)?;
        // What was said of an object that is gone is not said of the one that has its name now, which is compiled soon.
        if self.known.uid(key) != Some(&object.uid) {
            return None;
        }
        let mut desired = self.desired.get(key)?.clone();
        desired.settle(&self.known.enforcement(key), &object.conditions, self.gathering);
        if !status_differs(&desired, object) {
            return None;
        }
        let last = self.written.get(key).copied().unwrap_or(self.since);
        let count_only = desired.columns_match(&object.columns)
            && status::differs_in_count_only(&object.conditions, &desired.conditions);
        if count_only && now < last + COUNT_PERIOD {
            self.later.insert(key.clone(), last + COUNT_PERIOD);
            return None;
        }
        if let Err(at) = self.pace.allows(key, now) {
            self.later.insert(key.clone(), at);
            return None;
        }
        Some(desired)
    }

    /// Every status of a namespace is to be looked at again.
    pub fn look_again(&mut self, namespace: &str) {
        self.again.extend(keys_of(&self.desired, namespace).cloned());
    }

    /// Whether some are to be looked at now.
    pub fn is_waiting(&self) -> bool {
        !self.again.is_empty()
    }

    /// A status was written.
    pub fn wrote(&mut self, key: ObjectKey, now: Instant) {
        self.pace.spend(key.clone(), now);
        self.written.insert(key, now);
    }

    /// How many wait for their time or their turn.
    pub fn waiting(&self) -> usize {
        self.later.len() + self.again.len()
    }

    /// When something is to be looked at without anything happening.
    pub fn next(&self) -> Option<Instant> {
        let gathered = (self.gathering == Knowledge::Gathering).then(|| self.since + COUNT_PERIOD);
        self.later.values().copied().chain(gathered).min()
    }
}

fn status_differs(desired: &DesiredStatus, object: &StoredObject) -> bool {
    !object.is_in_keeping(desired) || status::merge(&object.conditions, &desired.conditions, "").is_some()
}

#[cfg(test)]
mod tests;
