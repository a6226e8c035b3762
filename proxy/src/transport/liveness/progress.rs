//! When a connection last showed that its other side lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

/// The last sign of life on one connection: bytes came, or the kernel took bytes again after it had taken none, which
/// it does as the other side acknowledges earlier ones. Bytes that the kernel takes at once say nothing.
#[derive(Clone, Debug)]
pub struct Progress {
    since: Instant,
    /// Microseconds from `since`.
    last: Arc<AtomicU64>,
}

/// Whether the kernel took the bytes that it was last offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sending {
    /// It did.
    #[default]
    Flowing,
    /// It waits for the other side.
    Blocked,
}

impl Progress {
    /// Of a connection that is made now.
    pub fn new() -> Self {
        Self {
            since: Instant::now(),
            last: Arc::default(),
        }
    }

    /// The other side gave a sign of life.
    pub fn made(&self) {
        let micros = u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.last.store(micros, Ordering::Relaxed);
    }

    /// Takes what came of offering bytes to the kernel.
    pub fn offered<T>(&self, sending: &mut Sending, taken: &Poll<T>) {
        match (taken, *sending) {
            (Poll::Pending, _) => *sending = Sending::Blocked,
            (Poll::Ready(_), Sending::Blocked) => {
                *sending = Sending::Flowing;
                self.made();
            }
            (Poll::Ready(_), Sending::Flowing) => {}
        }
    }

    /// When that was last.
    pub fn last(&self) -> Instant {
        self.since + Duration::from_micros(self.last.load(Ordering::Relaxed))
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}
