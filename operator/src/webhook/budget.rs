//! Memory that all requests share: bytes of bodies, and what is made of them.
//!
//! Nobody who holds what is made of a body waits for bodies, so that requests never wait for each other in a circle.
//! Small reviews have a share of their own: they never stand behind large ones.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

const MIB: usize = 1024 * 1024;
/// The budget is counted in units of this many bytes.
const UNIT: usize = 1024;
/// Bodies, as far as they have arrived.
const BODIES: usize = 40 * MIB;
/// What is made of reviews that take at most [`SMALL_REVIEW`] each.
const SMALL: usize = 16 * MIB;
const SMALL_REVIEW: usize = 4 * MIB;
/// What is made of all others. One alone may take all of it.
const LARGE: usize = 96 * MIB;
/// How long a request waits for its share. After that the API server hears when to try again, which it does within the
/// time that it has for a webhook.
const PATIENCE: Duration = Duration::from_secs(1);

/// No room became free in time.
#[derive(Debug, thiserror::Error)]
#[error("the operator is busy with other requests; try again")]
pub(super) struct Busy;

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share(Option<OwnedSemaphorePermit>);

/// What is left for requests.
#[derive(Debug)]
pub(super) struct Budget {
    bodies: Arc<Semaphore>,
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new() -> Self {
        let units = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT));
        Self {
            bodies: units(BODIES),
            small: units(SMALL),
            large: units(LARGE),
        }
    }

    /// Room for `bytes` more of a body than `held` has.
    pub(super) async fn body(&self, held: &mut Share, bytes: usize) -> Result<(), Busy> {
        held.merge(share(&self.bodies, bytes).await?);
        Ok(())
    }

    /// Room for what is made of a body. What is above all of the budget takes all of it.
    pub(super) async fn work(&self, memory: usize) -> Result<Share, Busy> {
        if memory <= SMALL_REVIEW {
            share(&self.small, memory).await
        } else {
            share(&self.large, memory.min(LARGE)).await
        }
    }
}

#[cfg(test)]
impl Budget {
    /// Takes everything.
    pub(super) async fn exhausted(&self) -> [Share; 3] {
        let all = [(&self.bodies, BODIES), (&self.small, SMALL), (&self.large, LARGE)];
        let all = all.map(|(semaphore, bytes)| share(semaphore, bytes));
        futures::future::join_all(all)
            .await
            .into_iter()
            .collect::<Result<Vec<_>, _>>()
            .unwrap()
            .try_into()
            .unwrap()
    }
}

impl Share {
    pub(super) fn none() -> Self {
        Self(None)
    }

    fn merge(&mut self, Self(more): Self) {
        match (&mut self.0, more) {
            (Some(held), Some(more)) => held.merge(more),
            (held @ None, more) => *held = more,
            (Some(_), None) => {}
        }
    }
}

async fn share(semaphore: &Arc<Semaphore>, bytes: usize) -> Result<Share, Busy> {
    let units = u32::try_from(bytes.div_ceil(UNIT)).map_err(|_| Busy)?;
    match timeout(PATIENCE, Arc::clone(semaphore).acquire_many_owned(units)).await {
        Ok(Ok(permit)) => Ok(Share(Some(permit))),
        Ok(Err(_)) | Err(_) => Err(Busy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn s25_who_finds_no_room_is_sent_away_within_a_second_and_gets_in_when_there_is_some() {
        let budget = Budget::new();
        let held = budget.work(LARGE).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert!(budget.work(SMALL_REVIEW + 1).await.is_err());
        assert!(begun.elapsed() <= Duration::from_millis(1100));
        drop(held);
        assert!(budget.work(LARGE).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn s25_small_reviews_do_not_wait_for_large_ones() {
        let budget = Budget::new();
        let _held = budget.work(2 * LARGE).await.unwrap();
        assert!(budget.work(MIB).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn s25_bodies_are_charged_as_they_arrive() {
        let budget = Budget::new();
        let mut held = Share::none();
        for _ in 0..BODIES / MIB {
            budget.body(&mut held, MIB).await.unwrap();
        }
        assert!(budget.body(&mut held, 1).await.is_err());
        drop(held);
        assert!(budget.body(&mut Share::none(), MIB).await.is_ok());
    }
}
