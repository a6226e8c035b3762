//! Bytes held for all clients of this process.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Bytes read at once from a server under pressure.
pub const FEW_BYTES: usize = 8 * 1024;

/// Bytes held for all clients of this process, and how many there should be at most.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    held: AtomicUsize,
    /// Told when it begins to run short.
    short: Notify,
}

/// How short the budget is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// Less than half of it is used.
    None,
    /// Half of it: less is read at once.
    High,
    /// All of it: for who has something, nothing more is read.
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

    /// Bytes that may be held for one connection of HTTP/1 before more of its response is read.
    #[must_use]
    pub fn allowance(self) -> usize {
        match self {
            Self::None => usize::MAX,
            Self::High => 2 * FEW_BYTES,
            Self::Full => 1,
        }
    }

    /// The same of one connection of HTTP/2, over which many responses go. Some of them may be stalled, and should not hold
    /// up the others.
    #[must_use]
    pub fn shared_allowance(self) -> usize {
        match self {
            Self::None => usize::MAX,
            Self::High => 128 * FEW_BYTES,
            Self::Full => 32 * FEW_BYTES,
        }
    }
}

impl Budget {
    /// Nothing is held yet.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            held: AtomicUsize::new(0),
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
        let budget = Budget::new(100);
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
    fn s6_the_more_is_held_the_less_a_connection_may_have() {
        let all = [Pressure::None, Pressure::High, Pressure::Full];
        assert!(all.is_sorted_by_key(|pressure| std::cmp::Reverse(pressure.allowance())));
        assert!(
            all.iter()
                .all(|pressure| pressure.shared_allowance() >= pressure.allowance())
        );
    }
}
