//! Who is gone is forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::FleetStore;
use crate::controller::State;

/// How often it is looked.
const PERIOD: Duration = Duration::from_mins(1);

/// Who was not there when it was looked last. A pod may be heard of, from another replica even, before the watch here
/// tells of it, and nobody tells it twice: who is missed once is not gone yet.
#[derive(Debug, Default)]
pub(super) struct Missed(BTreeSet<Box<str>>);

impl Missed {
    /// Forgets those who are not among `pods`, and were not the last time.
    pub(super) fn look(&mut self, fleet: &FleetStore, pods: &BTreeSet<String>) {
        let before = std::mem::take(&mut self.0);
        fleet.retain(|uid| {
            let lives = pods.contains(uid);
            if !lives && !before.contains(uid) {
                self.0.insert(uid.into());
            }
            lives || !before.contains(uid)
        });
    }
}

/// Forgets what pods told that are gone, for ever.
pub async fn forget(state: Arc<State>, fleet: Arc<FleetStore>) {
    let mut missed = Missed::default();
    loop {
        tokio::time::sleep(PERIOD).await;
        if state.unlisted().is_empty() {
            missed.look(&fleet, &state.read(|inner| inner.pod_uids()));
        }
    }
}
