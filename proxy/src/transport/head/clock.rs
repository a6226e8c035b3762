//! What an HTTP/1 connection is doing.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::http::raw_target::RawTarget;
use crate::transport::defect::DefectCell;

/// What the client is waited for, or waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Nothing has come since the last response.
    Idle = 0,
    /// A head has begun.
    Head = 1,
    /// A request's body is read.
    Body = 2,
    /// A request is here, and its response is not complete.
    Busy = 3,
}

/// What an HTTP/1 connection is doing; shared between the stream, which sees bytes, and the service, which sees
/// requests.
#[derive(Debug, Default)]
pub struct HeadClock {
    phase: AtomicU8,
    turns: AtomicU32,
    finished: AtomicBool,
    unread: AtomicBool,
    park: AtomicBool,
    waker: AtomicWaker,
    replaced: AtomicBool,
    target: Mutex<Option<RawTarget>>,
    /// What is wrong with the request that begins.
    pub defect: DefectCell,
}

/// Whether a request has a body that is yet to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestRest {
    /// All of it is here.
    None,
    /// Its body.
    Body,
}

impl HeadClock {
    /// A request's headers are complete.
    pub fn request_begins(&self, rest: RequestRest) {
        self.turn_to(match rest {
            RequestRest::None => Phase::Busy,
            RequestRest::Body => Phase::Body,
        });
    }

    /// Its body is complete, or is not wanted any more.
    pub fn body_ends(&self) {
        if self.phase() == Phase::Body {
            self.turn_to(Phase::Busy);
            // Only now is it watched whether the client goes away.
            self.waker.wake();
        }
    }

    /// Its response is complete. Whatever is unread of the request may still come.
    pub fn request_ends(&self) {
        if !self.unread.load(Ordering::Relaxed) {
            self.turn_to(Phase::Idle);
        }
    }

    /// The response has begun before the request was read; the connection ends with it.
    pub fn leaves_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// The target of the request that begins, where the library got another for it.
    pub fn raw_target(&self) -> Option<RawTarget> {
        // Nobody waits for the lock: it is only taken for such requests, in one task.
        let replaced = self.replaced.load(Ordering::Relaxed) && self.replaced.swap(false, Ordering::Relaxed);
        replaced.then(|| self.target.lock().take()).flatten()
    }

    /// Whether the server may be put away, as the connection has been idle for a while. Said once.
    pub fn takes_park(&self) -> bool {
        self.park.load(Ordering::Relaxed) && self.park.swap(false, Ordering::Relaxed)
    }

    pub(super) fn park(&self) {
        self.park.store(true, Ordering::Relaxed);
    }

    /// Bytes have come, of a head if nothing else is under way.
    pub(super) fn head_begins(&self) {
        if self.phase() == Phase::Idle {
            self.phase.store(Phase::Head as u8, Ordering::Relaxed);
        }
    }

    pub(super) fn client_finishes(&self) {
        self.finished.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::Relaxed)
    }

    pub(super) fn waker(&self) -> &AtomicWaker {
        &self.waker
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Body,
            _ => Phase::Busy,
        }
    }

    /// Changes with each phase, and with each piece of a body.
    pub(super) fn turns(&self) -> u32 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(super) fn set_raw_target(&self, target: RawTarget) {
        *self.target.lock() = Some(target);
        self.replaced.store(true, Ordering::Relaxed);
    }

    /// Whether the client has finished sending while its request is answered. It may still read.
    pub fn client_has_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    /// Bytes have come.
    pub(super) fn body_goes_on(&self) {
        if self.phase() == Phase::Body {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn turn_to(&self, phase: Phase) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.phase.store(phase as u8, Ordering::Relaxed);
    }
}
