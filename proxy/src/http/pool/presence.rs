//! Whether anybody is at an address.
//!
//! A Service without endpoints refuses connections, but the kernel says so only about once a second to each caller
//! (`icmp_ratelimit`); whoever tries in between waits for a retransmission. So when nobody has answered at an address
//! for a while and a connection is refused, requests are refused at once, and the address is tried aside from them
//! until somebody is there. An address at which somebody has answered lately is never judged by one refusal: behind it
//! may be others.
//!
//! All workers share what is known: the kernel tells the whole pod once a second, and whoever tries aside would use
//! that up for the others.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
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

/// What is known of every address to which some worker goes.
#[derive(Debug, Default)]
pub struct Presences(Mutex<HashMap<SocketAddr, Weak<Known>>>);

/// What is known of an address. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Presence(Arc<Known>);

#[derive(Debug)]
struct Known {
    facts: Mutex<Facts>,
    begins: Notify,
}

#[derive(Clone, Copy, Debug)]
struct Facts {
    answered: Option<Instant>,
    asked: Instant,
    absent: bool,
}

impl Presences {
    /// What is known of an address, by whichever worker.
    pub(super) fn of(&self, address: SocketAddr) -> Presence {
        let mut known = self.0.lock();
        if let Some(known) = known.get(&address).and_then(Weak::upgrade) {
            return Presence(known);
        }
        known.retain(|_, one| one.strong_count() > 0);
        let presence = Presence::unknown();
        known.insert(address, Arc::downgrade(&presence.0));
        presence
    }
}

impl Presence {
    /// Nothing is known yet.
    pub(super) fn unknown() -> Self {
        let facts = Facts {
            answered: None,
            asked: Instant::now(),
            absent: false,
        };
        Self(Arc::new(Known {
            facts: Mutex::new(facts),
            begins: Notify::new(),
        }))
    }

    /// Whether nobody is there, as far as is known.
    pub(super) fn is_absent(&self) -> bool {
        self.0.facts.lock().absent
    }

    /// Whether something is known that is worth keeping.
    pub(super) fn is_known(&self) -> bool {
        self.0.facts.lock().are_worth_keeping()
    }

    /// Somebody wants to go there.
    pub(super) fn asked(&self) {
        self.0.facts.lock().asked = Instant::now();
    }

    /// Somebody answered.
    pub(super) fn answered(&self) {
        let mut facts = self.0.facts.lock();
        facts.answered = Some(Instant::now());
        facts.absent = false;
    }

    /// A connection was refused. Whether that starts an absence, which then must be watched with [`Self::watch`].
    pub(super) fn refused(&self) -> bool {
        let mut facts = self.0.facts.lock();
        let begins = !facts.are_worth_keeping();
        if begins {
            facts.absent = true;
            self.0.begins.notify_waiters();
        }
        begins
    }

    /// Resolves when an attempt that is under way is in vain: a moment after an absence began, unless somebody answered.
    pub(super) async fn in_vain(&self) {
        loop {
            let begins = self.0.begins.notified();
            tokio::pin!(begins);
            // Whoever is told aside could tell between the question and the wait.
            begins.as_mut().enable();
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
            } else {
                let mut facts = self.0.facts.lock();
                if facts.asked.elapsed() > FORGET {
                    facts.absent = false;
                }
            }
        }
    }
}

impl Facts {
    fn are_worth_keeping(self) -> bool {
        self.absent || self.answered.is_some_and(|at| at.elapsed() < RECENTLY)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_one_worker_hears_the_others_know() {
        let presences = Presences::default();
        let address = SocketAddr::from(([10, 0, 0, 1], 80));
        let (one, other) = (presences.of(address), presences.of(address));
        assert!(one.refused() && other.is_absent());
        assert!(!presences.of(SocketAddr::from(([10, 0, 0, 1], 81))).is_absent());
        drop((one, other));
        assert!(!presences.of(address).is_absent(), "nobody remembers it");
    }

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
