//! One workload's configuration, and the proxies that have it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use smilax_compiler::status::Rejection;
use smilax_core::Revision;

use super::{ObjectKey, Told};

/// A workload's configuration, what is in it, and the proxies that have it.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// The latest revision that is known to carry all that was compiled; `None` while a later one is to be written.
    pub(super) current: Option<Revision>,
    /// The latest revision that was written. What proxies tell of later ones is not true, or not known to be true yet.
    pub(super) latest: Option<Revision>,
    /// From which revision on each object's generation is in it.
    pub(super) required: BTreeMap<ObjectKey, Revision>,
    pub(super) by_revision: BTreeMap<Revision, BTreeSet<ObjectKey>>,
    /// Objects whose generation is in no written revision yet.
    pub(super) awaiting: BTreeSet<ObjectKey>,
    /// Proxies that count, by the UID of the pod.
    pub(super) proxies: BTreeMap<Arc<str>, Proxy>,
    /// How many have a revision in force.
    pub(super) in_force: BTreeMap<Revision, usize>,
    /// Those that reject something.
    pub(super) rejecting: BTreeSet<Arc<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) pod: String,
    pub(super) told: Told,
}

impl Holding {
    pub(super) fn take_in(&mut self, key: &ObjectKey) {
        match self.current {
            Some(revision) => self.require(key, revision),
            None => {
                self.awaiting.insert(key.clone());
            }
        }
    }

    pub(super) fn require(&mut self, key: &ObjectKey, revision: Revision) {
        self.leave_out(key);
        self.required.insert(key.clone(), revision);
        self.by_revision.entry(revision).or_default().insert(key.clone());
    }

    pub(super) fn leave_out(&mut self, key: &ObjectKey) {
        self.awaiting.remove(key);
        if let Some(revision) = self.required.remove(key)
            && let Some(keys) = self.by_revision.get_mut(&revision)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.by_revision.remove(&revision);
            }
        }
    }

    /// Puts a proxy in its place, and gives what was there.
    pub(super) fn put(&mut self, uid: &Arc<str>, proxy: Option<Proxy>) -> Option<Proxy> {
        if let Some(revision) = proxy.as_ref().and_then(|one| one.told.revision) {
            *self.in_force.entry(revision).or_default() += 1;
        }
        let rejects = proxy.as_ref().is_some_and(|one| one.told.rejected.is_some());
        if rejects {
            self.rejecting.insert(uid.clone());
        } else {
            self.rejecting.remove(uid);
        }
        let before = match proxy {
            Some(proxy) => self.proxies.insert(uid.clone(), proxy),
            None => self.proxies.remove(uid),
        };
        if let Some(revision) = before.as_ref().and_then(|one| one.told.revision)
            && let Some(count) = self.in_force.get_mut(&revision)
        {
            *count -= 1;
            if *count == 0 {
                self.in_force.remove(&revision);
            }
        }
        before
    }

    /// A revision was written. Whether some proxy had told of it, or of one before it that was not known either.
    pub(super) fn raise(&mut self, revision: Revision) -> bool {
        if self.latest >= Some(revision) {
            return false;
        }
        let unknown = (
            self.latest.map_or(Bound::Unbounded, Bound::Excluded),
            Bound::Included(revision),
        );
        self.latest = Some(revision);
        self.in_force.range(unknown).next().is_some() || !self.rejecting.is_empty()
    }

    /// Whether a revision is known to have been written, or one after it.
    pub(super) fn knows(&self, revision: Revision) -> bool {
        self.latest >= Some(revision)
    }

    /// How many proxies have what is required in force.
    pub(super) fn enforcing(&self, required: Revision) -> usize {
        let later = self.in_force.range(required..);
        later
            .filter(|(revision, _)| self.knows(**revision))
            .map(|(_, count)| count)
            .sum()
    }

    /// Proxies that refuse a configuration with what is required, and have none with it in force.
    pub(super) fn rejections(&self, required: Revision) -> impl Iterator<Item = Rejection> {
        self.rejecting.iter().filter_map(move |uid| {
            let proxy = self.proxies.get(uid)?;
            let (revision, reason) = proxy.told.rejected.as_ref()?;
            let refuses =
                *revision >= required && self.knows(*revision) && proxy.told.revision < Some(required);
            refuses.then(|| Rejection {
                pod: proxy.pod.clone(),
                reason: reason.clone(),
            })
        })
    }
}
