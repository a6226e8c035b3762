//! Heads that have grown large before they are complete.

use std::collections::BTreeMap;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// Lets them take turns, over all connections of a proxy. Each piece of a large head costs the processor as much as dozens
/// of ordinary requests, so one of them is read at a time, and the other connections go on in between.
#[derive(Debug, Default)]
pub struct LargeHeads(Mutex<Queue>);

/// Place of a head in the queue.
#[derive(Debug, PartialEq, Eq)]
pub struct Ticket(u64);

#[derive(Debug, Default)]
struct Queue {
    last: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl LargeHeads {
    /// Ready when it is the turn of the head that has `ticket`, which is taken then. Without one, the head joins the queue
    /// at its end: also when nobody is before it, it lets the ready tasks of its thread run first. Nobody is polled before
    /// it is its turn.
    pub fn poll_turn(&self, ticket: &mut Option<Ticket>, cx: &Context<'_>) -> Poll<()> {
        let mut queue = self.0.lock();
        let number = match ticket {
            Some(Ticket(number)) if queue.first() == Some(*number) => {
                *ticket = None;
                queue.wake_next();
                return Poll::Ready(());
            }
            Some(Ticket(number)) => *number,
            None => {
                queue.last += 1;
                *ticket = Some(Ticket(queue.last));
                queue.last
            }
        };
        queue.waiting.insert(number, cx.waker().clone());
        if queue.first() == Some(number) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// The head that had this ticket is complete, or its connection is over.
    pub fn leave(&self, Ticket(number): Ticket) {
        let mut queue = self.0.lock();
        if queue.first() == Some(number) {
            queue.wake_next();
        } else {
            queue.waiting.remove(&number);
        }
    }
}

impl Queue {
    fn first(&self) -> Option<u64> {
        self.waiting.first_key_value().map(|(&number, _)| number)
    }

    /// Takes out the first, and wakes who is first then.
    fn wake_next(&mut self) {
        self.waiting.pop_first();
        if let Some((_, next)) = self.waiting.first_key_value() {
            next.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[derive(Default)]
    struct Head {
        ticket: Option<Ticket>,
        woken: Arc<Woken>,
    }

    impl Head {
        fn is_ready(&mut self, heads: &LargeHeads) -> bool {
            let waker = Waker::from(Arc::clone(&self.woken));
            let polled = heads.poll_turn(&mut self.ticket, &Context::from_waker(&waker));
            polled.is_ready()
        }

        fn woken(&self) -> usize {
            self.woken.0.load(Ordering::Relaxed)
        }
    }

    #[test]
    fn s36_one_large_head_is_woken_at_a_time_and_the_next_when_it_had_its_turn() {
        let heads = LargeHeads::default();
        let mut waiting: [Head; 100] = std::array::from_fn(|_| Head::default());
        assert!(waiting.iter_mut().all(|head| !head.is_ready(&heads)));
        for turn in 0..waiting.len() {
            let woken: usize = waiting.iter().map(Head::woken).sum();
            assert_eq!((woken, waiting[turn].woken()), (turn + 1, 1));
            assert!(waiting[turn].is_ready(&heads));
        }
    }

    #[test]
    fn s36_a_head_that_had_its_turn_is_behind_those_that_wait() {
        let heads = LargeHeads::default();
        let [mut one, mut other] = [Head::default(), Head::default()];
        assert!(!one.is_ready(&heads) && !other.is_ready(&heads));
        assert!(one.is_ready(&heads));
        assert!(!one.is_ready(&heads), "the other one is before it");
        assert!(other.is_ready(&heads));
        assert!(one.is_ready(&heads));
    }

    #[test]
    fn s36_a_head_that_is_over_holds_up_nobody() {
        let heads = LargeHeads::default();
        let [mut one, mut other, mut last] = [Head::default(), Head::default(), Head::default()];
        assert!(
            [&mut one, &mut other, &mut last]
                .into_iter()
                .all(|head| !head.is_ready(&heads))
        );
        heads.leave(other.ticket.take().unwrap());
        heads.leave(one.ticket.take().unwrap());
        assert_eq!((other.woken(), last.woken()), (0, 1));
        assert!(last.is_ready(&heads));
    }
}
