//! Notices when the mounted configuration changes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt as _;
use inotify::{EventStream, Inotify, WatchMask};
use smilax_core::convention;
use tokio::time::{Interval, MissedTickBehavior, interval};

use crate::settings::ConfigLocation;

/// How often the file is read even when nothing was noticed: the watch may have been lost.
const SAFETY_NET: Duration = Duration::from_secs(10);
const EVENT_BYTES: usize = 4096;

/// Notices changes of one file.
///
/// The directory is watched, not the file: kubelet never writes the file, it swaps the directory's `..data` link.
pub struct Watch {
    directory: PathBuf,
    events: Option<EventStream<[u8; EVENT_BYTES]>>,
    ticks: Interval,
}

impl ConfigLocation {
    /// The file; in a directory, where it is when it is not packed.
    pub fn file(&self) -> PathBuf {
        match self {
            Self::Directory(directory) => directory.join(convention::POLICY_KEY),
            Self::File(file) => file.clone(),
        }
    }
}

impl Watch {
    /// Watches the file's directory. Where that is not possible yet, it is tried again with each tick.
    pub fn new(file: &Path) -> Self {
        let directory = match file.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let mut ticks = interval(SAFETY_NET);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.reset();
        Self {
            events: watch(&directory),
            directory,
            ticks,
        }
    }

    /// Returns when the file may have changed.
    pub async fn changed(&mut self) {
        let Some(events) = &mut self.events else {
            self.ticks.tick().await;
            self.events = watch(&self.directory);
            return;
        };
        tokio::select! {
            event = events.next() => {
                if !matches!(event, Some(Ok(event)) if !event.mask.contains(inotify::EventMask::IGNORED)) {
                    // The directory itself was replaced; the next tick watches the new one.
                    self.events = None;
                }
            }
            _ = self.ticks.tick() => {}
        }
    }
}

fn watch(directory: &Path) -> Option<EventStream<[u8; EVENT_BYTES]>> {
    let started = Inotify::init().and_then(|inotify| {
        let mask = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE | WatchMask::DELETE;
        inotify.watches().add(directory, mask)?;
        inotify.into_event_stream([0; EVENT_BYTES])
    });
    started
        .inspect_err(|error| tracing::debug!(directory = %directory.display(), %error, "cannot watch; reading it now and then"))
        .ok()
}
