//! ConfigMaps of ours, as they are stored and as far as they may be believed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smilax_core::convention::config_map_name;
use smilax_core::signature::Digest;
use smilax_core::workload_connection::TrustBundle;
use smilax_core::{Revision, Workload};

use super::{Inner, State};
use crate::cluster_view::TrustAnchors;
use crate::controller::change;
use crate::controller::integrity::{Claim, Integrity};
use crate::controller::stored::{Seen, Standing, StoredMap, StoredPolicy};

/// Bytes of ConfigMaps of one namespace that are kept while nobody can say who wrote them; of all.
const MOST_UNJUDGED_OF_NAMESPACE: usize = 4 * 1024 * 1024;
const MOST_UNJUDGED: usize = 16 * 1024 * 1024;

/// Who signs configurations.
#[derive(Debug, Default)]
pub(super) enum Signing {
    /// The authority was not read yet.
    #[default]
    Unknown,
    /// Nobody can.
    Nobody,
    /// This replica can, and so can the others.
    By(Arc<Integrity>),
}

/// Revisions whose signature was verified here.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// The latest of each ConfigMap, by namespace and name.
    latest: BTreeMap<String, BTreeMap<String, Seen>>,
    /// The latest of all.
    highest: Revision,
}

impl Verified {
    fn latest(&self, namespace: &str, name: &str) -> Option<Seen> {
        self.latest.get(namespace)?.get(name).copied()
    }

    fn note(&mut self, namespace: &str, name: &str, seen: Seen) {
        let known = self.latest.entry(namespace.to_owned()).or_default();
        let latest = known.entry(name.to_owned()).or_default();
        *latest = latest.latest(seen);
        self.highest = self.highest.max(seen.revision);
    }
}

impl State {
    /// Takes in whom the mesh trusts, and who signs from now on: together, so that nothing is written with one of them
    /// alone. What is stored is verified first, while others read and write.
    pub fn take_authority(&self, bundle: &TrustBundle, integrity: Integrity) {
        let integrity = self.prepared(integrity);
        self.update(|inner| {
            inner.set_bundle(bundle);
            inner.set_integrity(integrity);
        });
    }

    /// Takes in who signs from now on.
    pub fn take_integrity(&self, integrity: Integrity) {
        let integrity = self.prepared(integrity);
        self.update(|inner| inner.set_integrity(integrity));
    }

    fn prepared(&self, integrity: Integrity) -> Integrity {
        let (before, claims) = self.read(|inner| (inner.integrity().cloned(), inner.claims()));
        let integrity = match before {
            Some(before) => integrity.after(&before),
            None => integrity,
        };
        for claim in claims {
            integrity.prepare(claim);
        }
        integrity
    }

    /// Verifies a ConfigMap that is about to be taken in, while others read and write. Content that proves nothing is let go
    /// at once, and so is what nobody can judge yet, beyond what may wait.
    pub fn prepare_map(&self, namespace: &str, name: &str, map: &mut StoredMap) {
        let Some(claim) = Claim::of(namespace, map) else {
            return;
        };
        let size = map.size();
        let refused = match self.read(|inner| inner.who_judges(namespace, name, size)) {
            Judge::Signer(integrity) => integrity.prepare(claim),
            Judge::Later => return,
            Judge::NoRoom => Some(Standing::Unchecked),
        };
        if let Some(standing) = refused {
            map.standing = standing;
            map.content = None;
        }
    }
}

/// Who judges a ConfigMap that is about to be taken in.
enum Judge {
    Signer(Arc<Integrity>),
    /// Nobody yet. It may wait.
    Later,
    /// Nobody yet, and too much waits already.
    NoRoom,
}

impl Inner {
    fn who_judges(&mut self, namespace: &str, name: &str, size: usize) -> Judge {
        if let Some(integrity) = self.integrity() {
            return Judge::Signer(Arc::clone(integrity));
        }
        let others = self.maps.get(namespace).into_iter().flatten();
        let others = others.filter(|(other, _)| *other != name);
        let held = others.map(|(_, map)| map.size()).sum();
        match self.unjudged.take(namespace, held, size) {
            Some(()) => Judge::Later,
            None => Judge::NoRoom,
        }
    }

    /// Takes in a ConfigMap of ours, or that it is gone. Gives what was known of it before.
    pub fn set_map(&mut self, namespace: &str, name: &str, map: Option<StoredMap>) -> Option<StoredMap> {
        let map = map.map(|map| self.judged(namespace, name, map));
        self.unjudged
            .leave(namespace, map.as_ref().map_or(0, StoredMap::size));
        let maps = self.maps.entry(namespace.to_owned()).or_default();
        let before = match map {
            Some(map) => maps.insert(name.to_owned(), map),
            None => maps.remove(name),
        };
        let told = |one: &StoredMap| (one.policy_digest, one.standing.holds() && one.content.is_some());
        let now = maps.get(name);
        if before.as_ref().map(told) != now.map(told) {
            self.moved_maps.insert((namespace.into(), name.into()));
        }
        before
    }

    /// Takes in every ConfigMap of ours that there is.
    pub fn reset_maps(&mut self, all: impl IntoIterator<Item = (String, String, StoredMap)>) {
        let mut gone = std::mem::take(&mut self.maps);
        for (namespace, name, map) in all {
            // What was known goes back first, so that only what differs has moved.
            if let Some(before) = gone.get_mut(&namespace).and_then(|maps| maps.remove(&name)) {
                self.maps
                    .entry(namespace.clone())
                    .or_default()
                    .insert(name.clone(), before);
            }
            self.set_map(&namespace, &name, Some(map));
        }
        let gone = gone.iter().flat_map(|(namespace, maps)| {
            maps.keys()
                .map(move |name| (Arc::from(namespace.as_str()), Arc::from(name.as_str())))
        });
        self.moved_maps.extend(gone);
        self.unjudged = Unjudged::default();
    }

    /// Whether something of a namespace was let go that can be judged now.
    pub(super) fn is_unjudged(&self, namespace: &str) -> bool {
        let mut maps = self.maps.get(namespace).into_iter().flat_map(BTreeMap::values);
        self.integrity().is_some() && maps.any(StoredMap::is_unread)
    }

    /// ConfigMaps, by namespace and name, whose policy may have changed since the last call.
    pub fn take_moved_maps(&mut self) -> BTreeSet<(Arc<str>, Arc<str>)> {
        std::mem::take(&mut self.moved_maps)
    }

    /// A stored policy and its revision, unless somebody but the operator may have written it.
    pub fn policy(&self, namespace: &str, name: &str) -> Option<(&StoredPolicy, Revision)> {
        let map = self.maps.get(namespace)?.get(name)?;
        let held = Some(map).filter(|map| map.standing.holds())?;
        Some((&held.content.as_ref()?.policy, held.revision?))
    }

    /// The highest revision that the operator is known to have written; without an authority, the highest stored.
    pub fn highest_revision(&self) -> Revision {
        if self.integrity().is_some() {
            return self.verified.highest;
        }
        let maps = self.maps.values().flat_map(BTreeMap::values);
        // Nobody can tell who wrote these: a forged one must not exhaust the numbers of the whole mesh.
        maps.filter_map(|map| map.revision)
            .filter(|revision| change::is_believable(*revision))
            .max()
            .unwrap_or_default()
    }

    /// The highest revision that the operator is known to have written.
    pub fn verified_revision(&self) -> Revision {
        self.verified.highest
    }

    /// The newest revision of a workload's configuration that the operator wrote.
    pub fn stored_revision(&self, workload: &Workload) -> Option<Revision> {
        let name = config_map_name(&workload.account);
        match self.policy(&workload.namespace, &name) {
            Some((_, revision)) => Some(revision),
            None => Some(self.verified.latest(&workload.namespace, &name)?.revision),
        }
    }

    /// Takes in the bundle that the mesh is to trust.
    pub fn set_bundle(&mut self, bundle: &TrustBundle) {
        let text: Arc<str> = change::render(bundle).into();
        if self.bundle.as_ref() != Some(&text) {
            self.bundle = Some(text);
            self.mark_all();
        }
    }

    /// Takes in who signs from now on, and judges everything again.
    fn set_integrity(&mut self, integrity: Integrity) {
        self.signing = Signing::By(Arc::new(integrity));
        self.unjudged = Unjudged::default();
        let maps = std::mem::take(&mut self.maps);
        for (namespace, maps) in maps {
            for (name, mut map) in maps {
                // What was judged by another one, and let go, has to be read again to be judged by this one.
                if map.content.is_none() {
                    map.standing = Standing::Unchecked;
                    self.reading.ask();
                }
                self.set_map(&namespace, &name, Some(map));
            }
        }
        self.mark_all();
    }

    /// Nobody can sign. Who could before still does.
    pub fn cannot_sign(&mut self) {
        if matches!(self.signing, Signing::Unknown) {
            self.signing = Signing::Nobody;
        }
    }

    /// Whether it is known who signs, or that nobody can. Pods that are created before would take what nobody signed, for as
    /// long as they live.
    pub fn knows_signer(&self) -> bool {
        !matches!(self.signing, Signing::Unknown)
    }

    /// Forgets what was verified of a ConfigMap that is gone.
    pub fn forget_prepared(&self, namespace: &str, map: &StoredMap) {
        if let Some(integrity) = self.integrity() {
            integrity.forget(&Workload::new(namespace, map.account.as_str()));
        }
    }

    /// Who signs; `None` while nobody does.
    pub fn integrity(&self) -> Option<&Arc<Integrity>> {
        match &self.signing {
            Signing::By(integrity) => Some(integrity),
            Signing::Unknown | Signing::Nobody => None,
        }
    }

    fn claims(&self) -> Vec<Claim> {
        let maps = self.maps.iter();
        maps.flat_map(|(namespace, maps)| maps.values().filter_map(move |map| Claim::of(namespace, map)))
            .collect()
    }

    /// Whom a pod that is created now trusts for its configuration. `None` while the leader is of a version that does not
    /// sign, as during an upgrade: the pod would wait for a signature.
    pub fn anchors(&self) -> Option<TrustAnchors> {
        // Once seen, this holds: whoever tampers with every map must not bring about pods without anchors.
        let signed = self.verified.highest != Revision::default();
        let mut maps = self.maps.values().flat_map(BTreeMap::values);
        let integrity = self.integrity()?;
        (signed || !maps.any(|map| map.standing == Standing::Unsigned)).then(|| integrity.anchors())
    }

    /// Forgets the revisions of a namespace that is gone.
    pub fn forget_revisions(&mut self, namespace: &str) {
        self.verified.latest.remove(namespace);
    }

    /// Text of the bundle that lies beside every policy.
    pub fn bundle(&self) -> Option<&str> {
        self.bundle.as_deref()
    }

    /// Generations of the bundles in all stored ConfigMaps.
    pub fn bundle_generations(&self) -> Vec<u64> {
        let maps = self.maps.values().flat_map(BTreeMap::values);
        maps.filter_map(|map| map.bundle_generation).collect()
    }

    /// Stored ConfigMaps, `namespace/name`, that do not carry this bundle.
    pub fn without_bundle(&self, bundle: &TrustBundle) -> Vec<String> {
        let digest = Digest::of(change::render(bundle).as_bytes());
        self.maps
            .iter()
            .flat_map(|(namespace, maps)| maps.iter().map(move |(name, map)| (namespace, name, map)))
            .filter(|(_, _, map)| map.bundle_digest != digest)
            .map(|(namespace, name, _)| format!("{namespace}/{name}"))
            .collect()
    }

    fn judged(&mut self, namespace: &str, name: &str, mut map: StoredMap) -> StoredMap {
        let Some(integrity) = self.integrity().cloned() else {
            map.standing = Standing::Unchecked;
            return map;
        };
        let before = self.maps.get(namespace).and_then(|maps| maps.get(name));
        // A signature is verified once, however often the object is told again.
        let known =
            before.filter(|before| before.standing != Standing::Unchecked && before.same_signed(&map));
        if let Some(before) = known {
            map.standing = before.standing.clone();
        } else {
            map.standing = integrity.judge(namespace, &map, self.verified.latest(namespace, name));
        }
        if !map.standing.holds() {
            map.content = None;
        } else if let (Some(seen), false) = (map.seen(), map.is_unread()) {
            self.verified.note(namespace, name, seen);
        }
        map
    }
}

/// Bytes that are read while nobody can say who wrote them, and not taken in yet.
#[derive(Debug, Default)]
pub(super) struct Unjudged {
    of_namespaces: BTreeMap<String, usize>,
    of_all: usize,
}

impl Unjudged {
    /// Takes so many bytes beside those that the namespace holds, if there is room. What there is no room for is read again
    /// when it can be judged.
    fn take(&mut self, namespace: &str, held: usize, bytes: usize) -> Option<()> {
        let waiting = self.of_namespaces.get(namespace).copied().unwrap_or_default();
        let waiting = waiting.saturating_add(bytes);
        let of_all = self.of_all.saturating_add(bytes);
        if held.saturating_add(waiting) > MOST_UNJUDGED_OF_NAMESPACE || of_all > MOST_UNJUDGED {
            return None;
        }
        self.of_namespaces.insert(namespace.to_owned(), waiting);
        self.of_all = of_all;
        Some(())
    }

    /// So many bytes were taken in.
    fn leave(&mut self, namespace: &str, bytes: usize) {
        if let Some(waiting) = self.of_namespaces.get_mut(namespace) {
            *waiting = waiting.saturating_sub(bytes);
            self.of_all = self.of_all.saturating_sub(bytes);
        }
    }
}

/// Whether ConfigMaps are to be read again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Reading {
    /// They were.
    #[default]
    Done,
    /// What was let go before can be judged now.
    Asked,
}

impl Reading {
    fn ask(&mut self) {
        *self = Self::Asked;
    }
}
