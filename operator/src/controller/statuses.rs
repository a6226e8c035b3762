//! What is to be written of the status of objects, and when. Pure: the time comes in.
//!
//! What changes of the objects themselves is written at once, and so is another state of `Programmed`. Another count of
//! proxies alone waits until the last write is a minute old: two thousand acknowledgements are not two thousand writes.
//! When more are due than may be written, namespaces take turns, and objects within them; one object is written five times
//! a second at most.
//!
//! A status comes before the Events about it, and is written once more to remember them: whoever is killed in between has
//! told them, and whoever comes next sees that they are not remembered, and tells them again. The other way round they
//! would never be told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use smilax_compiler::FindingId;
use smilax_compiler::status::{self, DesiredStatus, Knowledge};
use tokio::time::Instant;

use super::acknowledgement::{Acknowledgements, Held};
use super::findings::Finding;
use super::kinds::SmiKind;
use super::pace::Pace;
use super::state::{ObjectKey, StoredObject};
use super::turns::Turns;

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
    /// To be looked at, by namespace.
    again: Turns<Arc<str>, ObjectKey>,
    /// What Events told of objects whose status does not remember it yet.
    told: BTreeMap<ObjectKey, Told>,
    /// What Events are to tell of the objects that were looked at.
    untold: BTreeMap<ObjectKey, Vec<Finding>>,
    /// When this operator began to lead.
    since: Instant,
    gathering: Knowledge,
}

/// What Events told of an object.
#[derive(Debug, Default)]
struct Told {
    uid: String,
    findings: BTreeSet<FindingId>,
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
            again: Turns::default(),
            told: BTreeMap::new(),
            untold: BTreeMap::new(),
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
            self.look_at(key.clone());
            gone.remove(&key);
            self.desired.insert(key, status);
        }
        self.known.set_objects(namespace, held);
        for key in gone {
            self.written.remove(&key);
            self.later.remove(&key);
            self.told.remove(&key);
            self.untold.insert(key, Vec::new());
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
        for key in self.known.take_changed() {
            self.look_at(key);
        }
        if self.gathering == Knowledge::Gathering && now >= self.since + COUNT_PERIOD {
            self.gathering = Knowledge::Complete;
            let all: Vec<ObjectKey> = self.desired.keys().cloned().collect();
            self.look_at_all(all);
        }
        let due = self.later.extract_if(.., |_, at| *at <= now);
        let due: Vec<ObjectKey> = due.map(|(key, _)| key).collect();
        self.look_at_all(due);
        let mut found = Vec::new();
        while found.len() < most {
            let Some(key) = self.again.take(|_| true) else {
                break;
            };
            found.extend(self.due(&key, stored, now));
        }
        found
    }

    /// What Events are to tell of objects that were looked at since the last call; it replaces what they were to tell before.
    pub fn take_untold(&mut self) -> BTreeMap<ObjectKey, Vec<Finding>> {
        let mut untold = std::mem::take(&mut self.untold);
        for (key, findings) in &mut untold {
            // Some were told since, maybe.
            if let Some(told) = self.told.get(key) {
                findings.retain(|one| one.uid() != told.uid || !told.findings.contains(&one.id()));
            }
        }
        untold
    }

    /// An Event told a finding about an SMI object.
    pub fn told(&mut self, finding: &Finding) {
        let Finding::Smi { key, uid, diagnostic } = finding else {
            return;
        };
        let told = self.told.entry(key.clone()).or_default();
        if told.uid != *uid {
            *told = Told {
                uid: uid.clone(),
                ..Told::default()
            };
        }
        told.findings.insert(diagnostic.id());
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
        self.recall(key, &mut desired, object);
        if !status_differs(&desired, object) {
            self.announce(key, &desired, object);
            return None;
        }
        let last = self.written.get(key).copied().unwrap_or(self.since);
        let count_only = desired.columns_match(&object.columns)
            && status::differs_in_count_only(&object.conditions, &desired.conditions);
        if count_only && now < last + COUNT_PERIOD {
            self.announce(key, &desired, object);
            self.later.insert(key.clone(), last + COUNT_PERIOD);
            return None;
        }
        if let Err(at) = self.pace.allows(key, now) {
            self.later.insert(key.clone(), at);
            return None;
        }
        self.announce(key, &desired, object);
        Some(desired)
    }

    /// Takes in what Events told of an object, and forgets what its status remembers, or what no longer holds.
    fn recall(&mut self, key: &ObjectKey, desired: &mut DesiredStatus, object: &StoredObject) {
        let none = BTreeSet::new();
        let told = self.told.get_mut(key).filter(|told| told.uid == object.uid);
        desired.recall(
            &object.columns,
            told.as_ref().map_or(&none, |told| &told.findings),
        );
        let is_remembered = desired.columns_match(&object.columns);
        match told {
            Some(told) if !is_remembered => told.findings.retain(|one| desired.reported.contains(one)),
            _ => drop(self.told.remove(key)),
        }
    }

    /// Events are to tell what they have not told yet.
    fn announce(&mut self, key: &ObjectKey, desired: &DesiredStatus, object: &StoredObject) {
        let untold = desired.untold().into_iter().map(|diagnostic| Finding::Smi {
            key: key.clone(),
            uid: object.uid.clone(),
            diagnostic,
        });
        self.untold.insert(key.clone(), untold.collect());
    }

    /// The status of an object is to be looked at again.
    pub fn look_at(&mut self, key: ObjectKey) {
        self.again.insert(&key.1.clone(), key);
    }

    fn look_at_all(&mut self, keys: impl IntoIterator<Item = ObjectKey>) {
        for key in keys {
            self.look_at(key);
        }
    }

    /// Every status of a namespace is to be looked at again.
    pub fn look_again(&mut self, namespace: &str) {
        let all: Vec<ObjectKey> = keys_of(&self.desired, namespace).cloned().collect();
        self.look_at_all(all);
    }

    /// Whether some are to be looked at now.
    pub fn is_waiting(&self) -> bool {
        !self.again.is_empty()
    }

    /// A status was written, which remembers what was told by then.
    pub fn wrote(&mut self, status: &DesiredStatus, now: Instant) {
        let Some(key) = key_of(status) else { return };
        if let Some(told) = self.told.get_mut(&key) {
            told.findings.retain(|one| !status.reported.contains(one));
            if told.findings.is_empty() {
                self.told.remove(&key);
            }
        }
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
