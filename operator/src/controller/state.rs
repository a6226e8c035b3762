//! What was seen of the cluster, shared by the watches, the writer and the webhooks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use smilax_compiler::Index;
use smilax_compiler::index::Settings;
use smilax_compiler::status::Stored;
use smilax_core::Revision;
use tokio::sync::Notify;

use super::change::StoredMap;
use super::kinds::{SmiKind, Watched};
use super::oversize::Oversize;

/// The index and what is stored, behind one lock that is never held across an await.
#[derive(Debug)]
pub struct State {
    inner: Mutex<Inner>,
    changed: Notify,
}

/// What the lock protects.
#[derive(Debug)]
pub struct Inner {
    /// Objects that decide.
    pub index: Index,
    /// ConfigMaps of ours, by namespace and name.
    pub maps: BTreeMap<String, BTreeMap<String, StoredMap>>,
    /// Status of SMI objects as stored.
    pub objects: BTreeMap<ObjectKey, StoredObject>,
    /// Configurations that are too large to be kept.
    pub oversize: Oversize,
    unlisted: BTreeSet<Watched>,
}

/// Which SMI object.
pub type ObjectKey = (SmiKind, Arc<str>, Arc<str>);

/// What is stored of an SMI object beside its specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    /// Identity of the object.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// Its conditions.
    pub conditions: Vec<Stored>,
    /// Strings in its status.
    pub columns: BTreeMap<String, String>,
}

impl State {
    /// Nothing seen yet.
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                index: Index::new(settings),
                maps: BTreeMap::new(),
                objects: BTreeMap::new(),
                oversize: Oversize::default(),
                unlisted: Watched::all().collect(),
            }),
            changed: Notify::new(),
        })
    }

    /// Reads or changes the state, and tells the writer.
    pub fn update<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let result = change(&mut self.inner.lock());
        self.changed.notify_one();
        result
    }

    /// Reads the state without telling anybody.
    pub fn read<R>(&self, read: impl FnOnce(&mut Inner) -> R) -> R {
        read(&mut self.inner.lock())
    }

    /// Waits until something was updated since the last wait.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Kinds that were not listed yet; nothing may be written before there are none.
    pub fn unlisted(&self) -> Vec<Watched> {
        self.inner.lock().unlisted.iter().copied().collect()
    }
}

impl Inner {
    /// A kind has been listed, or is known not to exist.
    pub fn listed(&mut self, kind: Watched) {
        self.unlisted.remove(&kind);
    }

    /// The highest revision of any stored ConfigMap.
    pub fn highest_revision(&self) -> Revision {
        let maps = self.maps.values().flat_map(BTreeMap::values);
        maps.filter_map(StoredMap::revision).max().unwrap_or_default()
    }

    /// Marks every namespace that has, or should have, something of ours.
    pub fn mark_all(&mut self) {
        let mut all: BTreeSet<Arc<str>> = self.index.namespaces().map(|one| one.name.clone()).collect();
        all.extend(self.maps.keys().map(|name| Arc::from(name.as_str())));
        for namespace in all {
            self.index.mark(&namespace);
        }
    }
}
