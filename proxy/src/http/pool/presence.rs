//! Whether anybody is at an address.
//!
//! A Service without endpoints refuses connections, but the kernel says so only about once a second to each caller
//! (`icmp_ratelimit`); whoever tries in between waits for a retransmission. So when nobody has answered at an address
//! for a while and a connection is refused, requests are refused at once, and the address is tried aside from them
//! until somebody is there. An address at which somebody has answered lately is never judged by one refusal: behind it
//! may be others.

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A connection that was made this recently speaks for the address in spite of a refusal.
const RECENTLY: Duration = Duration::from_secs(10);
/// How often an address where nobody is gets tried.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// How long an attempt that is under way when an absence begins may still take. One that can succeed has succeeded by
/// then; the others would wait for retransmissions that are not answered either.
const LAST_MOMENT: Duration = Duration::from_millis(100);
/// How long it is tried without anybody asking for it.
const FORGET: Duration = Duration::from_secs(30);

/// What is known of an address. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Presence(Rc<Known>);

#[derive(Debug)]
struct Known {
    answered: Cell<Option<Instant>>,
    asked: Cell<Instant>,
    absent: Cell<bool>,
    begins: Notify,
}

impl Presence {
    /// Nothing is known yet.
    pub(super) fn unknown() -> Self {
        Self(Rc::new(Known {
            answered: Cell::new(None),
            asked: Cell::new(Instant::now()),
            absent: Cell::new(false),
            begins: Notify::new(),
        }))
    }

    /// Whether nobody is there, as far as is known.
    pub(super) fn is_absent(&self) -> bool {
        self.0.absent.get()
    }

    /// Whether something is known that is worth keeping.
    pub(super) fn is_known(&self) -> bool {
        self.is_absent() || self.answered_lately()
    }

    fn answered_lately(&self) -> bool {
        self.0.answered.get().is_some_and(|at| at.elapsed() < RECENTLY)
    }

    /// Somebody wants to go there.
    pub(super) fn asked(&self) {
        self.0.asked.set(Instant::now());
    }

    /// Somebody answered.
    pub(super) fn answered(&self) {
        self.0.answered.set(Some(Instant::now()));
        self.0.absent.set(false);
    }

    /// A connection was refused. Whether that starts an absence, which then must be watched with [`Self::watch`].
    pub(super) fn refused(&self) -> bool {
        let begins = !self.is_known();
        if begins {
            self.0.absent.set(true);
            self.0.begins.notify_waiters();
        }
        begins
    }

    /// Resolves when an attempt that is under way is in vain: a moment after an absence began, unless somebody answered.
    pub(super) async fn in_vain(&self) {
        loop {
            let begins = self.0.begins.notified();
            if self.is_absent() {
                tokio::time::sleep(LAST_MOMENT).await;
                if self.is_absent() {
                    return;
                }
            } else {
                begins.await;
            }
        }
    }

    /// Tries again and again until somebody answers or nobody asks any more.
    pub(super) async fn watch<F: Future<Output = bool>>(self, attempt: impl Fn() -> F) {
        while self.is_absent() {
            tokio::time::sleep(TRY_AGAIN).await;
            if attempt().await {
                self.answered();
            } else if self.0.asked.get().elapsed() > FORGET {
                self.0.absent.set(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_begins_an_absence_once() {
        let presence = Presence::unknown();
        assert!(presence.refused() && presence.is_absent());
        assert!(!presence.refused(), "it is watched already");
    }

    #[tokio::test(start_paused = true)]
    async fn where_somebody_answered_lately_one_refusal_proves_nothing() {
        let presence = Presence::unknown();
        presence.answered();
        assert!(!presence.refused() && !presence.is_absent() && presence.is_known());
        tokio::time::advance(RECENTLY).await;
        assert!(presence.refused());
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_is_under_way_is_given_up_when_another_was_refused() {
        let presence = Presence::unknown();
        let from = Instant::now();
        let refusal = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            presence.refused();
        };
        tokio::join!(presence.in_vain(), refusal);
        assert_eq!(from.elapsed(), Duration::from_secs(1) + LAST_MOMENT);
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_goes_on_when_somebody_answers_in_the_last_moment() {
        let presence = Presence::unknown();
        presence.refused();
        let answer = async {
            tokio::time::sleep(LAST_MOMENT / 2).await;
            presence.answered();
        };
        let given_up = tokio::time::timeout(RECENTLY, presence.in_vain());
        let (given_up, ()) = tokio::join!(given_up, answer);
        assert!(given_up.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_absence_ends_when_somebody_answers() {
        let presence = Presence::unknown();
        presence.refused();
        let tries = Cell::new(0);
        let watch = presence.clone().watch(|| {
            tries.set(tries.get() + 1);
            let here = tries.get() == 3;
            async move { here }
        });
        watch.await;
        assert_eq!((tries.get(), presence.is_absent()), (3, false));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_is_forgotten() {
        let presence = Presence::unknown();
        presence.refused();
        let from = Instant::now();
        presence.clone().watch(|| async { false }).await;
        assert!(!presence.is_absent() && from.elapsed() >= FORGET);
    }
}
