//! The pods that bindings mean, for every account whose proxies are connected.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smilax_core::{Members, Workload};
use tokio::sync::watch;

use crate::controller::State;

/// How long changes are gathered: pods come and go in bursts.
const SETTLE: Duration = Duration::from_millis(50);

/// Computes members, and tells proxies when they change: the newest only.
#[derive(Debug)]
pub struct MemberHub {
    state: Arc<State>,
    subscribed: Mutex<HashMap<Workload, watch::Sender<Option<Members>>>>,
}

impl MemberHub {
    /// Of what was seen.
    pub fn new(state: Arc<State>) -> Self {
        Self {
            state,
            subscribed: Mutex::default(),
        }
    }

    /// The members of the bindings that a workload's configuration names; `None` until everything was listed: to tell
    /// less than there is would take rights away.
    pub(super) fn subscribe(&self, workload: &Workload) -> watch::Receiver<Option<Members>> {
        let mut subscribed = self.subscribed.lock();
        let sender = subscribed.entry(workload.clone()).or_default();
        self.refresh_one(workload, sender);
        sender.subscribe()
    }

    /// Follows what is seen, for ever.
    pub async fn run(&self) {
        let mut changes = self.state.changes();
        // Whatever came before this began is looked at too.
        changes.mark_changed();
        while changes.changed().await.is_ok() {
            tokio::time::sleep(SETTLE).await;
            changes.borrow_and_update();
            self.refresh();
        }
    }

    /// Computes the members of every workload that somebody listens for.
    pub(super) fn refresh(&self) {
        let workloads: Vec<Workload> = {
            let mut subscribed = self.subscribed.lock();
            subscribed.retain(|_, sender| !sender.is_closed());
            subscribed.keys().cloned().collect()
        };
        for workload in workloads {
            if let Some(sender) = self.subscribed.lock().get(&workload) {
                self.refresh_one(&workload, sender);
            }
        }
    }

    /// Under the lock, so that nothing older comes after something newer.
    fn refresh_one(&self, workload: &Workload, sender: &watch::Sender<Option<Members>>) {
        if !self.state.unlisted().is_empty() {
            return;
        }
        let now = self
            .state
            .read(|inner| Some(smilax_compiler::members(&mut inner.index, workload)));
        sender.send_if_modified(|members| {
            let changed = *members != now;
            *members = now;
            changed
        });
    }
}
