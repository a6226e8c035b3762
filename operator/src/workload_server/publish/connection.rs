//! One stream's side of the hub.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use smilax_core::Workload;
use smilax_core::workload_connection::{Hello, Subscribe};
use tokio::sync::Notify;

use super::Hub;
use super::session::{Change, Session};
use super::topic::{Topic, Version};

/// What a stream follows. When it goes, nothing is published for it any more.
#[derive(Debug)]
pub(crate) struct Connection {
    hub: Arc<Hub>,
    follower: Arc<Follower>,
}

/// What the hub knows of a stream.
#[derive(Debug)]
pub(super) struct Follower {
    pub(super) number: u64,
    /// Whose proxy reads it, by its certificate.
    pub(super) workload: Workload,
    session: Mutex<Session>,
    wake: Notify,
}

impl Follower {
    pub(super) fn new(number: u64, workload: Workload) -> Arc<Self> {
        Arc::new(Self {
            number,
            workload,
            session: Mutex::default(),
            wake: Notify::new(),
        })
    }

    /// A topic has a newer value.
    pub(super) fn changed(&self, topic: &Topic, version: Version) {
        self.session.lock().changed(topic, version);
        self.wake.notify_one();
    }
}

impl Connection {
    /// The stream of a workload's proxy; it follows nothing yet.
    pub(crate) fn new(hub: Arc<Hub>, workload: Workload) -> Self {
        let follower = hub.follower(workload);
        Self { hub, follower }
    }

    /// The proxy has said what it has.
    pub(crate) fn hello(&self, hello: &Hello) {
        let workload = &self.follower.workload;
        let change = self.follower.session.lock().hello(workload, hello);
        self.apply(change);
    }

    /// The proxy wants to be told of something else.
    pub(crate) fn subscribe(&self, subscribe: Subscribe) {
        let change = self.follower.session.lock().subscribe(subscribe);
        self.apply(change);
        // What is asked for again is told again.
        self.follower.wake.notify_one();
    }

    /// The next frame for this proxy; waits until there is something that it was not told.
    pub(crate) async fn frame(&self) -> Bytes {
        loop {
            let next = self.follower.session.lock().next().cloned();
            let Some(topic) = next else {
                self.follower.wake.notified().await;
                continue;
            };
            match self.hub.newest(&topic, &self.follower) {
                Some((frame, version)) => {
                    self.follower.session.lock().sent(&topic, version);
                    self.hub.count(&topic, &frame);
                    return frame;
                }
                None => self.follower.session.lock().withdrawn(&topic),
            }
        }
    }

    fn apply(&self, change: Change) {
        self.hub.leave(&self.follower, change.left);
        self.hub.join(&self.follower, change.joined);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let all = self.follower.session.lock().follows().cloned().collect();
        self.hub.leave(&self.follower, all);
    }
}
