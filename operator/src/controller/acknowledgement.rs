//! Which proxies enforce which generation of which object. Pure.
//!
//! An object's generation is in a workload's configuration from some revision on: that of the first write, or of the
//! first look at what is stored, after the generation was seen. A proxy enforces it when what it has in force is that
//! revision or a later one. What a change may concern is found by workload and revision, so that thousands of
//! acknowledgements of one change cost little each.
//!
//! What a proxy reports is its own word. It counts as far as it speaks of revisions that were written for its workload and
//! of generations that objects have. A proxy of another namespace is one of those that enforce an object or one of those
//! that do not; what else it says is not repeated to the object's owner.

mod holding;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use smilax_compiler::status::{Enforcement, MOST_NAMED};
use smilax_compiler::{Callers, Workloads};
use smilax_core::{Revision, Workload};

use super::state::ObjectKey;
use super::statuses::keys_of;
use holding::{Holding, Proxy};

/// What is known of objects, configurations, pods and reports.
#[derive(Debug, Default)]
pub struct Acknowledgements {
    objects: BTreeMap<ObjectKey, Held>,
    workloads: HashMap<Workload, Holding>,
    pods: HashMap<Arc<str>, CountedPod>,
    pods_of: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    reports: HashMap<Arc<str>, Told>,
    /// Generations of objects that proxies learned by looking up addresses, by the UID of the pod.
    learned: BTreeMap<ObjectKey, BTreeMap<Arc<str>, i64>>,
    changed: BTreeSet<ObjectKey>,
}

/// An object at a generation, and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Identity of the object.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Workloads whose configurations contain it.
    pub holders: Workloads,
    /// Others that count when they learned it.
    pub learners: Callers,
}

/// A pod with a proxy that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountedPod {
    /// Identity of the pod.
    pub uid: Arc<str>,
    /// `namespace/name`.
    pub name: String,
    /// Whose it is.
    pub workload: Workload,
    /// Whether it counts before its proxy has told anything.
    pub ready: Ready,
}

/// Whether a pod takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ready {
    /// It does.
    Yes,
    /// Not yet, or no longer.
    No,
}

/// What a proxy told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// What it has in force.
    pub revision: Option<Revision>,
    /// What it did not take into force, and why.
    pub rejected: Option<(Revision, String)>,
    /// What it enforces beside its configuration, each with its generation.
    pub learned: BTreeMap<ObjectKey, i64>,
}

impl Acknowledgements {
    /// A later configuration of a workload is to be written, or cannot be.
    pub fn is_behind(&mut self, workload: &Workload) {
        self.workloads.entry(workload.clone()).or_default().current = None;
    }

    /// What was compiled for a workload is stored, as this revision.
    pub fn is_stored(&mut self, workload: &Workload, revision: Revision) {
        let holding = self.workloads.entry(workload.clone()).or_default();
        holding.current = Some(revision);
        if holding.raise(revision) {
            self.changed.extend(holding.required.keys().cloned());
        }
        for object in std::mem::take(&mut holding.awaiting) {
            holding.require(&object, revision);
            self.changed.insert(object);
        }
    }

    /// Which object of this name is known.
    pub fn uid(&self, key: &ObjectKey) -> Option<&str> {
        self.objects.get(key).map(|held| held.uid.as_str())
    }

    /// Takes in every object of a namespace.
    pub fn set_objects(&mut self, namespace: &str, objects: BTreeMap<ObjectKey, Held>) {
        let known = keys_of(&self.objects, namespace);
        let gone: Vec<ObjectKey> = known.filter(|key| !objects.contains_key(*key)).cloned().collect();
        for key in gone {
            if let Some(held) = self.objects.remove(&key) {
                self.release(&key, held.holders.iter());
            }
            self.changed.remove(&key);
        }
        for (key, held) in objects {
            let before = self.objects.insert(key.clone(), held.clone());
            if before.as_ref() == Some(&held) {
                continue;
            }
            let same = before
                .as_ref()
                .filter(|before| before.uid == held.uid && before.generation == held.generation);
            let kept = same.map(|before| before.holders.clone()).unwrap_or_default();
            if let Some(before) = before {
                let left = before.holders.iter();
                self.release(
                    &key,
                    left.filter(|one| !(kept.contains(*one) && held.holders.contains(*one))),
                );
            }
            for workload in held.holders.iter().filter(|one| !kept.contains(*one)) {
                self.workloads.entry(workload.clone()).or_default().take_in(&key);
            }
            self.changed.insert(key);
        }
    }

    /// Takes in every pod of a namespace that has a proxy and has not ended.
    pub fn set_pods(&mut self, namespace: &Arc<str>, pods: impl IntoIterator<Item = CountedPod>) {
        let before = self.pods_of.remove(namespace).unwrap_or_default();
        let mut now = BTreeSet::new();
        for pod in pods {
            now.insert(pod.uid.clone());
            let uid = pod.uid.clone();
            if self.pods.get(&uid) == Some(&pod) {
                continue;
            }
            // A pod's account never changes.
            self.pods.insert(uid.clone(), pod);
            self.look_at(&uid);
        }
        for gone in before.difference(&now) {
            self.forget(gone);
            if let Some(pod) = self.pods.remove(gone) {
                self.count(&pod.workload, gone, None);
            }
        }
        if !now.is_empty() {
            self.pods_of.insert(namespace.clone(), now);
        }
    }

    /// Takes in what a proxy told last.
    pub fn tell(&mut self, uid: &str, told: Told) {
        let uid: Arc<str> = uid.into();
        let before = self.reports.get(&uid);
        if before == Some(&told) {
            return;
        }
        let learned = before.map(|before| before.learned.clone()).unwrap_or_default();
        if learned != told.learned {
            self.unlearn(&uid, learned.into_keys());
            for (key, generation) in &told.learned {
                let by = self.learned.entry(key.clone()).or_default();
                by.insert(uid.clone(), *generation);
            }
            self.changed.extend(told.learned.keys().cloned());
        }
        self.reports.insert(uid.clone(), told);
        self.look_at(&uid);
    }

    /// How far an object is.
    pub fn enforcement(&self, key: &ObjectKey) -> Enforcement {
        let mut enforcement = Enforcement::default();
        let mut rejections = BTreeSet::new();
        let Some(held) = self.objects.get(key) else {
            return enforcement;
        };
        for generation in self.learned_by(key, held) {
            enforcement.of += 1;
            enforcement.enforced += usize::from(generation == held.generation);
        }
        for workload in held.holders.iter() {
            let Some(holding) = self.workloads.get(workload) else {
                continue;
            };
            enforcement.of += holding.proxies.len();
            let Some(&required) = holding.required.get(key) else {
                continue;
            };
            enforcement.enforced += holding.enforcing(required);
            // The owner of an object is told nothing that somebody in another namespace may choose.
            if workload.namespace == key.1 {
                rejections.extend(holding.rejections(required));
            }
        }
        enforcement.more_rejections = rejections.len().saturating_sub(MOST_NAMED);
        enforcement.rejections = rejections.into_iter().take(MOST_NAMED).collect();
        enforcement
    }

    /// Objects that may be further, or less far, than when this was last asked.
    pub fn take_changed(&mut self) -> BTreeSet<ObjectKey> {
        std::mem::take(&mut self.changed)
    }

    /// The generations of an object that proxies learned whose configuration does not hold it. Later ones than it has are
    /// not known, and do not count.
    fn learned_by<'a>(&'a self, key: &ObjectKey, held: &'a Held) -> impl Iterator<Item = i64> + use<'a> {
        let learned = self.learned.get(key).into_iter().flatten();
        learned.filter_map(|(uid, generation)| {
            let pod = self.pods.get(uid)?;
            let counts = !held.holders.contains(&pod.workload) && held.learners.contains(&pod.workload);
            (counts && *generation <= held.generation).then_some(*generation)
        })
    }

    fn forget(&mut self, uid: &Arc<str>) {
        if let Some(told) = self.reports.remove(uid) {
            self.unlearn(uid, told.learned.into_keys());
        }
    }

    fn unlearn(&mut self, uid: &Arc<str>, objects: impl Iterator<Item = ObjectKey>) {
        for key in objects {
            if let Some(by) = self.learned.get_mut(&key) {
                by.remove(uid);
                if by.is_empty() {
                    self.learned.remove(&key);
                }
            }
            self.changed.insert(key);
        }
    }

    fn release<'a>(&mut self, key: &ObjectKey, workloads: impl Iterator<Item = &'a Workload>) {
        for workload in workloads {
            if let Some(holding) = self.workloads.get_mut(workload) {
                holding.leave_out(key);
            }
        }
    }

    fn look_at(&mut self, uid: &Arc<str>) {
        let Some(pod) = self.pods.get(uid) else { return };
        let told = self.reports.get(uid);
        self.changed
            .extend(told.into_iter().flat_map(|told| told.learned.keys().cloned()));
        let proxy = (told.is_some() || pod.ready == Ready::Yes).then(|| Proxy {
            pod: pod.name.clone(),
            told: told.cloned().unwrap_or_default(),
        });
        let workload = pod.workload.clone();
        self.count(&workload, uid, proxy.as_ref());
    }

    fn count(&mut self, workload: &Workload, uid: &Arc<str>, proxy: Option<&Proxy>) {
        let holding = self.workloads.entry(workload.clone()).or_default();
        let before = holding.put(uid, proxy.cloned());
        if before.as_ref() == proxy {
            return;
        }
        let only_revision = match (&before, proxy) {
            (Some(before), Some(after)) if before.told.rejected == after.told.rejected => {
                Some((before.told.revision, after.told.revision))
            }
            _ => None,
        };
        if let Some((before, after)) = only_revision {
            // What both revisions carry, or neither does, is as far as it was.
            // Two equal bounds would be no range.
            let (low, high) = (before.min(after), before.max(after).filter(|_| before != after));
            let low = low.map_or(Bound::Unbounded, Bound::Excluded);
            if let Some(high) = high {
                let between = holding.by_revision.range((low, Bound::Included(high)));
                self.changed.extend(between.flat_map(|(_, keys)| keys).cloned());
            }
        } else {
            let all = holding.required.keys().chain(&holding.awaiting);
            self.changed.extend(all.cloned());
        }
    }
}

#[cfg(test)]
mod tests;
