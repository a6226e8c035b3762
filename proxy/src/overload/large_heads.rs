//! Heads that have grown large before they are complete.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many there are, in all connections of a proxy. Each of them costs the processor as much as dozens of ordinary
/// requests, so they take turns: see [`LargeHeads::turns`].
#[derive(Debug, Default)]
pub struct LargeHeads(AtomicUsize);

impl LargeHeads {
    /// A head has grown large.
    pub fn begin(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// It is complete, or its connection is over.
    pub fn end(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// How often the other connections of a thread have their turn before more of a large head is read: about one of
    /// them then goes on in each round, however many there are.
    #[must_use]
    pub fn turns(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}
