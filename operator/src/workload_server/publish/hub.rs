//! The newest value of everything that somebody follows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use smilax_core::Workload;
use smilax_core::workload_connection::OperatorMessage;

use super::concerned::{Changes, concerned};
use super::connection::Follower;
use super::frames::Frames;
use super::topic::{Topic, Version};
use super::value::Value;
use crate::controller::State;
use crate::controller::state::Inner;
use crate::workload_server::WorkloadMetrics;
use crate::workload_server::tls::Contexts;

/// How long changes are gathered: what belongs together comes together, and nobody waits for it.
const SETTLE: Duration = Duration::from_millis(2);

/// Follows what is seen, and tells those who follow it.
#[derive(Debug)]
pub struct Hub {
    state: Arc<State>,
    contexts: Contexts,
    metrics: WorkloadMetrics,
    /// Values are made under this lock, so that nothing older comes after something newer.
    topics: Mutex<Topics>,
    followers: AtomicU64,
}

#[derive(Debug, Default)]
struct Topics {
    by_name: BTreeMap<Topic, Published>,
    /// Values published so far.
    count: u64,
    listed: Listed,
}

/// Whether everything was listed: to tell less than there is would take endpoints and rights away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Listed {
    #[default]
    NotYet,
    All,
}

/// A topic, while it has followers.
#[derive(Debug, Default)]
struct Published {
    frames: Option<Frames>,
    version: Version,
    followers: BTreeMap<u64, Arc<Follower>>,
}

impl Hub {
    /// Of what was seen, and of who is trusted.
    pub fn new(state: Arc<State>, contexts: Contexts, metrics: WorkloadMetrics) -> Self {
        Self {
            state,
            contexts,
            metrics,
            topics: Mutex::default(),
            followers: AtomicU64::new(0),
        }
    }

    /// Follows what is seen, for ever.
    pub async fn run(&self) {
        let (mut seen, mut contexts) = (self.state.changes(), self.contexts.clone());
        // Whatever came before this began is looked at too.
        seen.mark_changed();
        contexts.mark_changed();
        loop {
            tokio::select! {
                biased;
                changed = contexts.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    contexts.borrow_and_update();
                    let mut topics = self.topics.lock();
                    topics.publish(vec![(Topic::Bundle, self.bundle())]);
                }
                changed = seen.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(SETTLE).await;
                    seen.borrow_and_update();
                    self.follow();
                }
            }
        }
    }

    /// Publishes what moved since the last time.
    pub(super) fn follow(&self) {
        let mut topics = self.topics.lock();
        let before = topics.listed;
        let values = self.state.read(|inner| {
            if !inner.is_listed() {
                return Vec::new();
            }
            let changes = Changes {
                moved: inner.index.take_moved(),
                maps: inner.take_moved_maps(),
            };
            topics.listed = Listed::All;
            let concerned = match before {
                Listed::NotYet => topics.by_name.keys().cloned().collect(),
                Listed::All => concerned(&topics.by_name, &inner.index, changes),
            };
            values(concerned, inner)
        });
        topics.publish(values);
    }

    pub(super) fn follower(&self, workload: Workload) -> Arc<Follower> {
        Follower::new(self.followers.fetch_add(1, Ordering::Relaxed), workload)
    }

    /// Somebody follows these topics from now on.
    pub(super) fn join(&self, follower: &Arc<Follower>, joined: Vec<Topic>) {
        let mut topics = self.topics.lock();
        let mut new = Vec::new();
        for topic in joined {
            let published = topics.by_name.entry(topic.clone()).or_insert_with(|| {
                self.metrics.topics.inc();
                Published::default()
            });
            if published
                .followers
                .insert(follower.number, Arc::clone(follower))
                .is_none()
            {
                self.metrics.subscriptions.inc();
            }
            match &published.frames {
                Some(_) => follower.changed(&topic, published.version),
                None => new.push(topic),
            }
        }
        let mut values = Vec::new();
        if new.contains(&Topic::Bundle) {
            values.push((Topic::Bundle, self.bundle()));
        }
        if topics.listed == Listed::All {
            let new = new.into_iter().collect();
            values.extend(self.state.read(|inner| self::values(new, inner)));
        }
        topics.publish(values);
    }

    /// Somebody follows these topics no longer.
    pub(super) fn leave(&self, follower: &Follower, left: Vec<Topic>) {
        let mut topics = self.topics.lock();
        for topic in left {
            let Some(published) = topics.by_name.get_mut(&topic) else {
                continue;
            };
            if published.followers.remove(&follower.number).is_some() {
                self.metrics.subscriptions.dec();
            }
            if published.followers.is_empty() {
                topics.by_name.remove(&topic);
                self.metrics.topics.dec();
            }
        }
    }

    /// The newest value of a topic, as this follower is told it.
    pub(super) fn newest(&self, topic: &Topic, follower: &Follower) -> Option<(Bytes, Version)> {
        let topics = self.topics.lock();
        let published = topics.by_name.get(topic)?;
        let frame = published.frames.as_ref()?.of(&follower.workload).clone();
        Some((frame, published.version))
    }

    /// Counts a frame on its way.
    pub(super) fn count(&self, topic: &Topic, frame: &Bytes) {
        let kind = [topic.kind()];
        self.metrics.pushes.with_label_values(&kind).inc();
        let bytes = u64::try_from(frame.len()).unwrap_or(u64::MAX);
        self.metrics.pushed_bytes.with_label_values(&kind).inc_by(bytes);
    }

    fn bundle(&self) -> Value {
        let context = self.contexts.borrow();
        context.as_ref().map_or(Value::Nothing, |context| {
            Value::Message(OperatorMessage::Bundle(context.in_use.bundle.clone()))
        })
    }
}

impl Topics {
    /// Takes in values, and wakes who follows those that are new.
    fn publish(&mut self, values: Vec<(Topic, Value)>) {
        for (topic, value) in values {
            let Some(published) = self.by_name.get_mut(&topic) else {
                continue;
            };
            let revision = value.revision();
            // One revision line, never back.
            if revision.is_some_and(|revision| {
                published.frames.is_some() && Version::from(revision) <= published.version
            }) {
                continue;
            }
            let Some(frames) = value.encoded(&topic) else {
                continue;
            };
            if published.frames.as_ref() == Some(&frames) {
                continue;
            }
            self.count += 1;
            published.version = revision.map_or_else(|| Version::nth(self.count), Version::from);
            let before = published.frames.replace(frames);
            let told =
                |frames: Option<&Frames>, to: &Follower| frames.map(|one| one.of(&to.workload).clone());
            for follower in published.followers.values() {
                // A policy is new by its revision; anything else only to whom something else is told now.
                let same = told(before.as_ref(), follower) == told(published.frames.as_ref(), follower);
                if revision.is_some() || !same {
                    follower.changed(&topic, published.version);
                }
            }
        }
    }
}

fn values(topics: BTreeSet<Topic>, inner: &mut Inner) -> Vec<(Topic, Value)> {
    let with_value = |topic: Topic| {
        let value = Value::of(&topic, inner);
        (topic, value)
    };
    topics.into_iter().map(with_value).collect()
}
