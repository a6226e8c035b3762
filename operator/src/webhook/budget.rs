//! Memory that all requests share: bytes of bodies, and what is made of them.
//!
//! Nobody who holds what is made of a body waits for bodies, so that requests never wait for each other in a circle.
//! Small reviews have a share of their own: they never stand behind large ones. And no source, a /64 of IPv6 or another
//! address, takes all of anything: the API servers are among the sources, and nobody knows which ones they are.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use smilax_core::admission::Network;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::bodies::{Growth, Ledger, Standing, Ticket};
use crate::places::{NoPlace, Place, Places, Size};

const MIB: usize = 1024 * 1024;
/// What is made of bodies is counted in units of this many bytes, of which a MiB has so many.
const UNIT: usize = 1024;
const UNITS_OF_MIB: u32 = 1024;
/// Bodies, as they are announced; where they are not, as far as they have arrived.
const BODIES: usize = 40 * MIB;
const SMALL_REVIEW: usize = 4 * MIB;
/// How long a request waits for its share. After that the API server hears when to try again, which it does within the
/// time that it has for a webhook.
const PATIENCE: Duration = Duration::from_secs(1);
/// What is made of reviews that take at most [`SMALL_REVIEW`] each.
const SMALL: Size = size(16, 12);
/// What is made of all others. What takes more than one source may have takes all of that.
const LARGE: Size = size(96, 80);
/// How often it is looked whether there is room now, if nobody says so: others grow old enough to give way.
const LOOK: Duration = Duration::from_millis(100);

/// No room became free in time, or it was needed for others.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operator is busy with other requests; try again")]
pub(super) struct Busy;

/// What is left for requests.
#[derive(Debug)]
pub(super) struct Budget {
    bodies: Arc<Bodies>,
    small: Places<Network>,
    large: Places<Network>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            bodies: Arc::new(Bodies {
                ledger: Mutex::new(Ledger::new(BODIES)),
                ended: Notify::new(),
            }),
            small: Places::new(SMALL),
            large: Places::new(LARGE),
        }
    }

    /// A body that begins.
    pub(super) fn body(&self, source: Network) -> Held {
        let gave_way = CancellationToken::new();
        let mut ledger = self.bodies.ledger.lock();
        Held {
            ticket: ledger.begin(source, gave_way.clone(), Instant::now()),
            bodies: Arc::clone(&self.bodies),
            gave_way,
        }
    }

    /// Room for what is made of a body of this source.
    pub(super) async fn work(&self, source: Network, memory: usize) -> Result<Place, Busy> {
        let places = if memory <= SMALL_REVIEW {
            &self.small
        } else {
            &self.large
        };
        let taken = places.take(source, units(memory)).await;
        taken.map_err(|NoPlace| Busy)
    }
}

/// So many MiB, of which one source may have so many.
const fn size(all: u32, of_one: u32) -> Size {
    Size {
        all: all * UNITS_OF_MIB,
        of_one: of_one * UNITS_OF_MIB,
        patience: PATIENCE,
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Bodies of all requests.
#[derive(Debug)]
struct Bodies {
    ledger: Mutex<Ledger<CancellationToken>>,
    /// Told whenever one is gone.
    ended: Notify,
}

/// What is held of one body; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    bodies: Arc<Bodies>,
    ticket: Ticket,
    gave_way: CancellationToken,
}

impl Held {
    /// Room for so many bytes more. Returns how long that took.
    pub(super) async fn grow(&self, more: usize) -> Result<Duration, Busy> {
        let begun = Instant::now();
        loop {
            let ended = self.bodies.ended.notified();
            let growth = self.bodies.ledger.lock().grow(self.ticket, more, Instant::now());
            match growth {
                Growth::Granted => return Ok(begun.elapsed()),
                Growth::Waits(told) => told.iter().for_each(CancellationToken::cancel),
            }
            if begun.elapsed() >= PATIENCE {
                return Err(Busy);
            }
            let _ = timeout_at(begun + PATIENCE, timeout(LOOK, ended)).await;
        }
    }

    /// Does something during which the body may have to give way to others.
    pub(super) async fn unless_needed<T>(&self, work: impl Future<Output = T>) -> Result<T, Busy> {
        self.stand(Standing::Yields);
        let done = tokio::select! {
            biased;
            () = self.gave_way.cancelled() => Err(Busy),
            done = work => Ok(done),
        };
        self.stand(Standing::Stays);
        done
    }

    fn stand(&self, standing: Standing) {
        self.bodies.ledger.lock().stand(self.ticket, standing);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.bodies.ledger.lock().end(self.ticket);
        self.bodies.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn source(number: u8) -> Network {
        Network::of([10, 0, 0, number].into())
    }

    /// A body of a source that takes all that the source may have.
    async fn greedy(budget: &Budget, of: u8) -> Held {
        let held = budget.body(source(of));
        while held.grow(MIB / 4).await.is_ok() {}
        held
    }

    #[tokio::test(start_paused = true)]
    async fn s25_who_finds_no_room_is_sent_away_within_a_second_and_gets_in_when_there_is_some() {
        let budget = Budget::new();
        let held = budget.work(source(1), usize::MAX).await.unwrap();
        let begun = Instant::now();
        assert!(budget.work(source(1), SMALL_REVIEW + 1).await.is_err());
        assert!(begun.elapsed() <= Duration::from_millis(1100));
        drop(held);
        assert!(budget.work(source(1), SMALL_REVIEW + 1).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn s25_small_reviews_do_not_wait_for_large_ones() {
        let budget = Budget::new();
        let _held = budget.work(source(1), usize::MAX).await.unwrap();
        assert!(budget.work(source(1), MIB).now_or_never().unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn s40_the_largest_conversion_leaves_room_for_reviews_of_others() {
        let budget = Budget::new();
        let _held = budget.work(source(1), usize::MAX).await.unwrap();
        assert!(budget.work(source(2), 16 * MIB).now_or_never().unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn s25_bodies_are_charged_and_given_back() {
        let budget = Budget::new();
        let held = greedy(&budget, 1).await;
        let other = budget.body(source(1));
        assert!(other.grow(MIB).await.is_err());
        drop(held);
        assert!(other.grow(MIB).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn s40_a_source_that_waits_gets_in_when_another_gives_way() {
        let budget = Budget::new();
        let [first, second] = [greedy(&budget, 1).await, greedy(&budget, 2).await];
        let slow = async |held: Held| {
            held.unless_needed(futures::future::pending::<()>())
                .await
                .is_err()
        };
        let waiting = async {
            let held = budget.body(source(3));
            let waited = held.grow(6 * MIB).await.unwrap();
            assert!(waited < PATIENCE / 2, "{waited:?}");
        };
        let others = futures::future::select(Box::pin(slow(first)), Box::pin(slow(second)));
        let ((), gave_way) = futures::future::join(waiting, others).await;
        assert!(gave_way.factor_first().0);
    }
}
