//! What was seen of the cluster, shared by the watches, the writer and the webhooks.

mod maps;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smilax_compiler::Index;
use smilax_compiler::index::Settings;
use smilax_compiler::model::Pod;
use smilax_compiler::status::{DesiredStatus, Stored};
use smilax_core::Workload;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

use super::acknowledgement::{CountedPod, Ready};
use super::kinds::{SmiKind, Watched};
use super::measuring::Measuring;
use super::oversize::Oversize;
use super::stored::StoredMap;
use crate::cluster_view::LimitRangeView;
use maps::{Reading, Signing, Unjudged, Verified};

/// The index and what is stored, behind one lock that is never held across an await.
#[derive(Debug)]
pub struct State {
    inner: Mutex<Inner>,
    changed: Notify,
    /// Groups wait to be measured.
    groups: Notify,
    /// ConfigMaps are to be read again.
    maps: Notify,
    /// Rises with every update, for those who are not the writer.
    version: watch::Sender<u64>,
}

/// What the lock protects.
#[derive(Debug)]
pub struct Inner {
    /// Objects that decide.
    pub index: Index,
    /// ConfigMaps of ours, by namespace and name.
    pub maps: BTreeMap<String, BTreeMap<String, StoredMap>>,
    /// Namespace and name of those whose content may have changed since it was last asked.
    moved_maps: BTreeSet<(Arc<str>, Arc<str>)>,
    /// Status of SMI objects as stored.
    pub objects: BTreeMap<ObjectKey, StoredObject>,
    /// LimitRanges, by namespace and name.
    pub limit_ranges: BTreeMap<Arc<str>, BTreeMap<Arc<str>, LimitRangeView>>,
    /// UIDs of the pods that are Ready.
    ready: BTreeSet<String>,
    /// Namespaces with pods that may be others, or Ready or not, than when this was last asked.
    moved_pods: BTreeSet<Arc<str>>,
    /// Text of the trust bundle that lies beside every policy; `None` while there is none.
    bundle: Option<Arc<str>>,
    /// Who signs ConfigMaps.
    signing: Signing,
    verified: Verified,
    unjudged: Unjudged,
    reading: Reading,
    /// Configurations that are too large to be kept.
    pub oversize: Oversize,
    /// HTTPRouteGroups that are not in the index yet.
    pub measuring: Measuring,
    unlisted: BTreeSet<Watched>,
}

/// Whether a pod takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Its condition Ready holds.
    Ready,
    /// It does not, or the pod is gone.
    NotReady,
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
    /// Generation that its status speaks of as a whole.
    pub observed_generation: Option<i64>,
    /// Strings in its status.
    pub columns: BTreeMap<String, String>,
}

impl StoredObject {
    /// Whether its status says what it should, beside its conditions.
    pub fn is_in_keeping(&self, desired: &DesiredStatus) -> bool {
        self.observed_generation == Some(desired.object.generation) && desired.columns_match(&self.columns)
    }
}

impl State {
    /// Nothing seen yet.
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::new(Inner {
                index: Index::new(settings),
                maps: BTreeMap::new(),
                moved_maps: BTreeSet::new(),
                objects: BTreeMap::new(),
                ready: BTreeSet::new(),
                moved_pods: BTreeSet::new(),
                bundle: None,
                signing: Signing::default(),
                verified: Verified::default(),
                unjudged: Unjudged::default(),
                reading: Reading::default(),
                oversize: Oversize::default(),
                measuring: Measuring::default(),
                limit_ranges: BTreeMap::new(),
                unlisted: Watched::all().collect(),
            }),
            changed: Notify::new(),
            groups: Notify::new(),
            maps: Notify::new(),
            version: watch::Sender::new(0),
        })
    }

    /// Reads or changes the state, and tells the writer.
    pub fn update<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let (result, measuring, reading) = {
            let mut inner = self.inner.lock();
            let result = change(&mut inner);
            (
                result,
                inner.measuring.is_waiting(),
                std::mem::take(&mut inner.reading),
            )
        };
        if reading == Reading::Asked {
            self.maps.notify_one();
        }
        if measuring {
            self.groups.notify_one();
        }
        self.changed.notify_one();
        self.version
            .send_modify(|version| *version = version.wrapping_add(1));
        result
    }

    /// Changes what is no news to the writer, and tells all others.
    pub fn tell<R>(&self, change: impl FnOnce(&mut Inner) -> R) -> R {
        let result = change(&mut self.inner.lock());
        self.version
            .send_modify(|version| *version = version.wrapping_add(1));
        result
    }

    /// Rises with every update.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Reads the state without telling anybody.
    pub fn read<R>(&self, read: impl FnOnce(&mut Inner) -> R) -> R {
        read(&mut self.inner.lock())
    }

    /// Waits until something was updated since the last wait.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until some group may have to be measured.
    pub async fn groups_wait(&self) {
        self.groups.notified().await;
    }

    /// Waits until ConfigMaps are to be read again.
    pub async fn maps_asked_for(&self) {
        self.maps.notified().await;
    }

    /// Lets a burst of updates come to rest: none for `quiet`, or the burst has lasted `at_most`.
    pub async fn settled(&self, quiet: Duration, at_most: Duration) {
        let latest = Instant::now() + at_most;
        while timeout(quiet, self.changed()).await.is_ok() && Instant::now() < latest {}
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

    /// Whether nothing can be known of a kind yet.
    pub fn is_unlisted(&self, kind: Watched) -> bool {
        self.unlisted.contains(&kind)
    }

    /// Whether something that a namespace's configurations are made of is listed, and not measured yet: what is written
    /// without it would take rights away for a moment. Or whether something that is stored in it is not judged yet.
    pub fn is_incomplete(&self, namespace: &str) -> bool {
        self.is_unjudged(namespace)
            || self.measuring.is_unknown(namespace)
            || self
                .index
                .imported_by(namespace)
                .any(|other| self.measuring.is_unknown(other))
    }

    /// Whether every kind has been.
    pub fn is_listed(&self) -> bool {
        self.unlisted.is_empty()
    }

    /// Takes in whether a pod is Ready.
    pub fn set_ready(&mut self, uid: &str, ready: Readiness) {
        match ready {
            Readiness::Ready => {
                self.ready.insert(uid.to_owned());
            }
            Readiness::NotReady => {
                self.ready.remove(uid);
            }
        }
    }

    /// Takes in every pod that is Ready.
    pub fn reset_ready(&mut self, all: BTreeSet<String>) {
        self.ready = all;
    }

    /// Something changed of pods of a namespace.
    pub fn mark_pods(&mut self, namespace: &str) {
        if !self.moved_pods.contains(namespace) {
            self.moved_pods.insert(namespace.into());
        }
    }

    /// Something may have changed of any pod.
    pub fn mark_all_pods(&mut self) {
        let all = self.index.namespaces().map(|one| one.name.clone());
        self.moved_pods.extend(all);
    }

    /// Namespaces with pods that may be others, or Ready or not, than at the last call.
    pub fn take_moved_pods(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.moved_pods)
    }

    /// Every pod of a namespace that has a proxy and has not ended.
    pub fn counted_pods(&self, namespace: &str) -> Vec<CountedPod> {
        let pods = self
            .index
            .contents(namespace)
            .map(|contents| contents.pods.values());
        pods.into_iter()
            .flatten()
            .filter(|pod| self.is_of_installation(pod) && !pod.finished)
            .map(|pod| CountedPod {
                uid: pod.meta.uid.as_str().into(),
                name: format!("{}/{}", pod.meta.namespace, pod.meta.name),
                workload: Workload::new(pod.meta.namespace.clone(), pod.account.clone()),
                ready: if self.ready.contains(&pod.meta.uid) {
                    Ready::Yes
                } else {
                    Ready::No
                },
            })
            .collect()
    }

    /// Every Ready pod with a proxy of this installation: its UID, and `namespace/name`. A rotation waits for them, and not
    /// for a pod whose containers only bear the names of ours.
    pub fn ready_proxies(&self) -> Vec<(String, String)> {
        self.index
            .namespaces()
            .filter_map(|namespace| self.index.contents(&namespace.name))
            .flat_map(|contents| contents.pods.values())
            .filter(|pod| self.is_of_installation(pod) && !pod.finished && self.ready.contains(&pod.meta.uid))
            .map(|pod| {
                let name = format!("{}/{}", pod.meta.namespace, pod.meta.name);
                (pod.meta.uid.clone(), name)
            })
            .collect()
    }

    fn is_of_installation(&self, pod: &Pod) -> bool {
        let images = &self.index.settings().sidecar_images;
        pod.sidecar.as_ref().is_some_and(|one| images.has(&one.image))
    }

    /// UIDs of every pod that is known.
    pub fn pod_uids(&self) -> BTreeSet<String> {
        self.index
            .namespaces()
            .filter_map(|namespace| self.index.contents(&namespace.name))
            .flat_map(|contents| contents.pods.values())
            .map(|pod| pod.meta.uid.clone())
            .collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::stored::{Content, StoredPolicy};

    const QUIET: Duration = Duration::from_millis(5);
    const AT_MOST: Duration = Duration::from_millis(50);

    /// How long a burst with an update every three milliseconds is gathered.
    async fn gathered(updates: u32) -> Duration {
        let state = State::new(Settings::default());
        let bursting = Arc::clone(&state);
        tokio::spawn(async move {
            for _ in 0..updates {
                bursting.update(|_| ());
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        });
        let begin = Instant::now();
        state.settled(QUIET, AT_MOST).await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_gathered_until_it_comes_to_rest() {
        let last = Duration::from_millis(3) * 9;
        assert_eq!(gathered(10).await, last + QUIET);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_without_end_holds_nothing_back_for_ever() {
        assert!(gathered(10_000).await <= AT_MOST + QUIET);
    }

    fn map(revision: &str) -> StoredMap {
        let content = Content {
            policy: StoredPolicy::Text(format!(r#"{{"revision":"{revision}"}}"#).into()),
            bundle: "".into(),
            signature: "".into(),
        };
        StoredMap {
            resource_version: revision.to_owned(),
            ..StoredMap::of(String::new(), content)
        }
    }

    fn moved(inner: &mut Inner) -> Vec<String> {
        inner
            .take_moved_maps()
            .into_iter()
            .map(|(_, name)| name.to_string())
            .collect()
    }

    #[test]
    fn only_configmaps_whose_policy_is_another_have_moved() {
        let state = State::new(Settings::default());
        state.update(|inner| {
            for name in ["a", "b", "c"] {
                inner.set_map("shop", name, Some(map("1.1")));
            }
            moved(inner);
            inner.set_map("shop", "a", Some(map("1.1")));
            assert_eq!(moved(inner), [""; 0]);
            inner.set_map("shop", "a", Some(map("1.2")));
            assert_eq!(moved(inner), ["a"]);
            let listed = [("a", "1.2"), ("b", "1.3"), ("d", "1.1")];
            let listed = listed.map(|(name, revision)| ("shop".to_owned(), name.to_owned(), map(revision)));
            inner.reset_maps(listed);
            assert_eq!(moved(inner), ["b", "c", "d"]);
            let names: Vec<_> = inner.maps["shop"].keys().map(String::as_str).collect();
            assert_eq!(names, ["a", "b", "d"]);
        });
    }
}
