//! Bytes held for all who get them in one way.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use smilax_core::admission::Load;
use tokio::sync::Notify;

/// Bytes read at once under pressure.
pub const FEW_BYTES: usize = 8 * 1024;

/// Who gets bytes that this proxy holds. Each has a budget of its own, so that an application that is slow does not have
/// its callers turned away, and a server that takes nothing does not hold up what the application is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receiver {
    /// Clients from outside: responses of the application. Those that take nothing are closed when it is used up.
    Client,
    /// The application: requests from outside, and responses to its own requests.
    Application,
    /// Servers elsewhere: requests of the application.
    Server,
}

/// A budget for each receiver.
#[derive(Debug)]
pub struct Budgets {
    client: Arc<Budget>,
    application: Arc<Budget>,
    server: Arc<Budget>,
}

impl Budgets {
    /// Nothing is held yet. `limit` is in bytes, for each.
    #[must_use]
    pub fn new(limit: usize, load: &Arc<Load>) -> Self {
        let budget = || Arc::new(Budget::new(limit, Arc::clone(load)));
        Self {
            client: budget(),
            application: budget(),
            server: budget(),
        }
    }

    /// The one of this receiver.
    #[must_use]
    pub fn of(&self, receiver: Receiver) -> &Arc<Budget> {
        match receiver {
            Receiver::Client => &self.client,
            Receiver::Application => &self.application,
            Receiver::Server => &self.server,
        }
    }
}

/// Bytes that are held for one receiver, and how many there should be at most.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
    load: Arc<Load>,
    /// Told when it begins to run short.
    short: Notify,
}

/// How many bytes are read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As many as there is room for.
    Much,
    /// [`FEW_BYTES`].
    Little,
}

/// How short the budget is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Less than half of it is used.
    None,
    /// Half of it: less is read at once.
    High,
    /// All of it: nothing more is read for a body of which anything is held.
    Full,
}

impl Pressure {
    /// That of so many bytes.
    #[must_use]
    pub fn of(held: usize, limit: usize) -> Self {
        if held >= limit {
            Self::Full
        } else if held >= limit / 2 {
            Self::High
        } else {
            Self::None
        }
    }

    /// Bytes that may be held of one body, or of one direction of a connection, before more of it is read. Never none: what
    /// is taken goes on under any pressure.
    #[must_use]
    pub fn allowance(self) -> usize {
        match self {
            Self::None => usize::MAX,
            Self::High => 2 * FEW_BYTES,
            Self::Full => 1,
        }
    }
}

impl Budget {
    /// Nothing is held yet.
    #[must_use]
    pub fn new(limit: usize, load: Arc<Load>) -> Self {
        Self {
            limit,
            held: AtomicUsize::new(0),
            load,
            short: Notify::new(),
        }
    }

    /// So many bytes more.
    pub fn hold(&self, bytes: usize) {
        let before = self.held.fetch_add(bytes, Ordering::Relaxed);
        if before < self.limit / 2 && before + bytes >= self.limit / 2 {
            self.short.notify_one();
        }
    }

    /// So many bytes less.
    pub fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Bytes that are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// How short it is.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        Pressure::of(self.held(), self.limit)
    }

    /// How many bytes should be read at once. The libraries keep buffers as large as what they read for as long as a
    /// connection lasts, which nobody counts.
    #[must_use]
    pub fn reading(&self) -> Reading {
        match self.pressure() {
            Pressure::None if !self.load.is_crowded() => Reading::Much,
            Pressure::None | Pressure::High | Pressure::Full => Reading::Little,
        }
    }

    /// Bytes above half of it.
    #[must_use]
    pub fn excess(&self) -> usize {
        self.held().saturating_sub(self.limit / 2)
    }

    /// Completes when it begins to run short.
    pub async fn runs_short(&self) {
        self.short.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_pressure_rises_with_what_is_held_and_falls_with_what_is_taken() {
        let budget = Budget::new(100, Load::new(usize::MAX));
        let pressures = [49, 1, 49, 1].map(|bytes| {
            budget.hold(bytes);
            budget.pressure()
        });
        assert_eq!(
            pressures,
            [Pressure::None, Pressure::High, Pressure::High, Pressure::Full]
        );
        assert_eq!(budget.excess(), 50);
        budget.release(51);
        assert_eq!((budget.pressure(), budget.excess()), (Pressure::None, 0));
    }

    #[test]
    fn s6_little_is_read_at_once_while_much_is_held_or_many_requests_are_under_way() {
        let load = Load::new(800);
        let budget = Budget::new(100, Arc::clone(&load));
        assert_eq!(budget.reading(), Reading::Much);
        let request = load.admit(&Arc::default(), 100);
        assert_eq!(budget.reading(), Reading::Little);
        drop(request);
        assert_eq!(budget.reading(), Reading::Much);
        budget.hold(50);
        assert_eq!(budget.reading(), Reading::Little);
    }

    #[test]
    fn s6_the_more_is_held_the_less_a_connection_may_have() {
        let all = [Pressure::None, Pressure::High, Pressure::Full];
        assert!(all.is_sorted_by_key(|pressure| std::cmp::Reverse(pressure.allowance())));
        assert!(all.iter().all(|pressure| pressure.allowance() > 0));
    }
}
