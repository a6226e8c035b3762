//! One connection of a client, as far as it costs something.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use prometheus::IntCounter;
use smilax_core::admission::{Activity, Load, Permit, Place};
use tokio_util::sync::CancellationToken;

use super::{Budget, Budgets, LargeHeads, Receiver, Way};

/// A connection that has a place. It has it until the last of this is dropped.
#[derive(Debug)]
pub struct Admitted {
    /// What it is doing.
    pub activity: Arc<Activity>,
    /// Cancelled when it has to end.
    pub end: CancellationToken,
    costs: Costs,
    place: Place<CancellationToken>,
    /// For a head that is coming and has grown large.
    large_head: Mutex<Option<Permit>>,
    has_large_head: AtomicBool,
}

/// Where it counts what a connection costs.
#[derive(Clone, Debug)]
pub struct Costs {
    /// Bytes that are held, by who gets them.
    pub budgets: Arc<Budgets>,
    /// Who gets what the client sends.
    pub requests_to: Receiver,
    /// Who gets what the client is sent.
    pub responses_to: Receiver,
    /// Requests under way; `None` where they are not bounded.
    pub load: Option<Arc<Load>>,
    /// Heads that have grown large.
    pub large_heads: Arc<LargeHeads>,
    /// Counts requests that were refused.
    pub refused: IntCounter,
}

/// There is no memory for one more request of this source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests are under way")]
pub struct TooMany;

impl Admitted {
    /// A connection that has this place.
    #[must_use]
    pub fn new(
        activity: Arc<Activity>,
        end: CancellationToken,
        costs: Costs,
        place: Place<CancellationToken>,
    ) -> Arc<Self> {
        Arc::new(Self {
            activity,
            end,
            costs,
            place,
            large_head: Mutex::default(),
            has_large_head: AtomicBool::new(false),
        })
    }

    /// Heads of all connections that have grown large.
    #[must_use]
    pub fn large_heads(&self) -> &LargeHeads {
        &self.costs.large_heads
    }

    /// The budget for bytes that go this way.
    #[must_use]
    pub fn budget(&self, way: Way) -> &Arc<Budget> {
        let costs = &self.costs;
        costs.budgets.of(match way {
            Way::Request => costs.requests_to,
            Way::Response => costs.responses_to,
        })
    }

    /// Room for a head that has grown large before it is complete. It is given back when the head ends.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn begin_large_head(&self, bytes: usize) -> Result<(), TooMany> {
        let permit = self.admit(bytes)?;
        *self.large_head.lock() = permit;
        self.has_large_head.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The head is complete, or what it belongs to is over.
    pub fn end_head(&self) {
        // Most never were large, and take no lock.
        if self.has_large_head.load(Ordering::Relaxed) {
            self.has_large_head.store(false, Ordering::Relaxed);
            *self.large_head.lock() = None;
        }
    }

    /// Room for a request, whose head is complete, that costs so many bytes while it is under way. `Ok(None)` where requests
    /// are not bounded.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn begin_request(&self, bytes: usize) -> Result<Option<Permit>, TooMany> {
        self.end_head();
        self.admit(bytes)
    }

    fn admit(&self, bytes: usize) -> Result<Option<Permit>, TooMany> {
        match &self.costs.load {
            None => Ok(None),
            Some(load) => {
                let permit = load.admit(self.place.share(), bytes);
                if permit.is_none() {
                    self.costs.refused.inc();
                }
                permit.map(Some).ok_or(TooMany)
            }
        }
    }
}
