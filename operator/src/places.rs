//! Places that many share: each key has its own queue, and the queues take turns.
//!
//! ```text
//! of a key: one after the other, within its share ─► of all keys: one of each key, first come, first served
//! ```
//!
//! Whoever asks for much therefore waits behind itself. Before it, a newcomer finds at most one request of every other key.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{AcquireError, Mutex as Turn, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Queues that are kept before it is looked which of them are empty.
const FEW: usize = 64;

/// How many places there are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) all: u32,
    pub(crate) of_one: u32,
    /// How long somebody waits.
    pub(crate) patience: Duration,
}

/// No place became free in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoPlace;

/// The places, by key.
#[derive(Debug)]
pub(crate) struct Places<K> {
    size: Size,
    all: Arc<Semaphore>,
    queues: Mutex<Queues<K>>,
}

#[derive(Debug)]
struct Queues<K> {
    by_key: HashMap<K, Weak<Queue>>,
    /// Look which are empty when there are so many.
    look_at: usize,
}

/// Those of one key.
#[derive(Debug)]
struct Queue {
    turn: Turn<()>,
    share: Arc<Semaphore>,
}

/// Places that somebody has, given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _queue: Arc<Queue>,
    _share: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
}

impl<K: Eq + Hash> Places<K> {
    pub(crate) fn new(size: Size) -> Self {
        Self {
            size,
            all: Arc::new(Semaphore::new(size.all as usize)),
            queues: Mutex::new(Queues {
                by_key: HashMap::new(),
                look_at: FEW,
            }),
        }
    }

    /// So many places at once. Whoever needs more than a key may have gets that.
    pub(crate) async fn take(&self, key: K, places: u32) -> Result<Place, NoPlace> {
        let places = places.min(self.size.of_one);
        let queue = self.queues.lock().of(key, self.size.of_one);
        match timeout(self.size.patience, self.wait(queue, places)).await {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(_)) | Err(_) => Err(NoPlace),
        }
    }

    async fn wait(&self, queue: Arc<Queue>, places: u32) -> Result<Place, AcquireError> {
        let turn = queue.turn.lock().await;
        let share = Arc::clone(&queue.share).acquire_many_owned(places).await?;
        let of_all = Arc::clone(&self.all).acquire_many_owned(places).await?;
        drop(turn);
        Ok(Place {
            _queue: queue,
            _share: share,
            _of_all: of_all,
        })
    }
}

impl<K: Eq + Hash> Queues<K> {
    fn of(&mut self, key: K, share: u32) -> Arc<Queue> {
        if self.by_key.len() >= self.look_at {
            self.by_key.retain(|_, queue| queue.strong_count() > 0);
            self.look_at = FEW.max(2 * self.by_key.len());
        }
        let known = self.by_key.entry(key).or_default();
        known.upgrade().unwrap_or_else(|| {
            let queue = Arc::new(Queue {
                turn: Turn::new(()),
                share: Arc::new(Semaphore::new(share as usize)),
            });
            *known = Arc::downgrade(&queue);
            queue
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const SIZE: Size = Size {
        all: 4,
        of_one: 3,
        patience: Duration::from_secs(1),
    };

    #[tokio::test(start_paused = true)]
    async fn s39_a_key_leaves_room_for_others_however_much_it_asks_for() {
        let places = Places::new(SIZE);
        let _most = places.take("greedy", 100).await.unwrap();
        assert_eq!(places.take("greedy", 1).await.unwrap_err(), NoPlace);
        assert!(places.take("other", 1).now_or_never().unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn s39_who_comes_last_waits_for_one_of_each_other_key_at_most() {
        let places = Places::new(SIZE);
        let (held, last) = (
            places.take("greedy", 3).await.unwrap(),
            places.take("more", 1).await.unwrap(),
        );
        let mut queue: Vec<_> = (0..10).map(|_| Box::pin(places.take("greedy", 1))).collect();
        for one in &mut queue {
            assert!(one.now_or_never().is_none());
        }
        let mut other = Box::pin(places.take("other", 1));
        assert!((&mut other).now_or_never().is_none());
        drop(last);
        assert!(
            (&mut other).now_or_never().unwrap().is_ok(),
            "greedy has its share"
        );
        drop(held);
        assert!((&mut queue[0]).now_or_never().unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn s39_who_waits_for_too_long_is_told_so_and_keeps_nobody_waiting() {
        let places = Places::new(SIZE);
        let held = places.take("a", 3).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert!(places.take("b", 2).await.is_err());
        assert_eq!(begun.elapsed(), SIZE.patience);
        drop(held);
        assert!(places.take("b", 3).now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn s39_keys_that_hold_nothing_are_forgotten() {
        let places = Places::new(SIZE);
        for key in 0..100 * FEW {
            drop(places.take(key, 1).await.unwrap());
        }
        assert!(places.queues.lock().by_key.len() <= FEW);
    }
}
