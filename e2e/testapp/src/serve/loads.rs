//! Loads that run in the server, so that they outlive the command that started them and the API server's connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::fetch::Started;
use crate::load::{self, LoadOptions, Report, Stop};

/// The loads of this server, by id.
#[derive(Clone, Default)]
pub(super) struct Loads {
    running: Arc<Mutex<BTreeMap<u64, Running>>>,
}

struct Running {
    stop: Stop,
    task: tokio::task::JoinHandle<anyhow::Result<Report>>,
}

impl Loads {
    /// Starts one.
    pub(super) fn start(&self, options: LoadOptions) -> Started {
        let stop = Stop::default();
        let watched = stop.clone();
        let task = tokio::spawn(async move { load::run(&options, &watched).await });
        let mut running = self.running.lock();
        let id = running.last_key_value().map_or(1, |(id, _)| id + 1);
        running.insert(id, Running { stop, task });
        Started { id }
    }

    /// What it counted so far.
    pub(super) fn look(&self, id: u64) -> Option<Report> {
        Some(self.running.lock().get(&id)?.stop.report())
    }

    /// Stops it and gives what it counted.
    pub(super) async fn stop(&self, id: u64) -> Option<anyhow::Result<Report>> {
        let running = self.running.lock().remove(&id)?;
        running.stop.stop();
        Some(running.task.await.map_err(anyhow::Error::from).flatten())
    }
}
