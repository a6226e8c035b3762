//! What a connection is doing, told by whoever serves it and read by whoever decides about places.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

/// What a connection is doing, in the order in which connections give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It has not finished its handshake.
    Handshaking,
    /// It has not completed a request.
    Fresh,
    /// It has, and nothing is under way.
    Idle,
    /// A request is under way, or its response is still being written.
    Busy,
}

/// What one connection is doing. Only the thread that serves it writes; any may read.
#[derive(Debug, Default)]
pub struct Activity {
    handshaking: AtomicBool,
    completed: AtomicU32,
    under_way: AtomicU32,
    held: AtomicUsize,
    taken: AtomicU32,
    pauses: AtomicBool,
}

/// A request under way; over when dropped.
#[derive(Debug)]
pub struct UnderWay(Arc<Activity>);

impl Activity {
    /// A connection that may send requests at once.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A connection that begins with a handshake.
    #[must_use]
    pub fn handshaking() -> Arc<Self> {
        Arc::new(Self {
            handshaking: AtomicBool::new(true),
            ..Self::default()
        })
    }

    /// The handshake is done.
    pub fn shaken(&self) {
        self.handshaking.store(false, Ordering::Relaxed);
    }

    /// Whether its other side may take nothing for as long as it likes.
    pub fn may_pause(&self) -> bool {
        self.pauses.load(Ordering::Relaxed)
    }

    /// From here on its other side may take nothing for as long as it likes: many requests go over it at a time, so that
    /// one that is not taken says nothing about the others, or nobody knows what goes over it.
    pub fn allow_pauses(&self) {
        self.pauses.store(true, Ordering::Relaxed);
    }

    /// A request begins.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(self))
    }

    /// So many bytes are held for the other side, which does not take them.
    pub fn hold(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    /// So many of them are held no longer.
    pub fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.take();
    }

    /// Some bytes were taken, perhaps not all that are counted together.
    pub fn take(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
    }

    /// How often bytes were taken; begins anew after the largest number.
    #[must_use]
    pub fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Requests that are over; begins anew after the largest number.
    #[must_use]
    pub fn completed(&self) -> u32 {
        self.completed.load(Ordering::Relaxed)
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0
    }

    /// What it is doing.
    #[must_use]
    pub fn standing(&self) -> Standing {
        if self.handshaking.load(Ordering::Relaxed) {
            Standing::Handshaking
        } else if !self.is_idle() || self.held() > 0 {
            // The end of a response may still be on its way to a slow client.
            Standing::Busy
        } else if self.completed() > 0 {
            Standing::Idle
        } else {
            Standing::Fresh
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.completed.fetch_add(1, Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}
