//! The fault of this server, set at run time, and the requests that it holds.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::fault::{Fault, Injected};

/// What is injected.
#[derive(Debug, Default)]
pub(super) struct Injection {
    fault: Mutex<Fault>,
    in_flight: AtomicU64,
}

/// A request, counted until this is dropped.
#[derive(Debug)]
pub(super) struct InFlight<'a>(&'a AtomicU64);

impl Injection {
    /// Injects this from now on.
    pub(super) fn set(&self, fault: Fault) -> Injected {
        *self.fault.lock() = fault;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Injected {
            since_ms: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// What is injected now.
    pub(super) fn fault(&self) -> Fault {
        *self.fault.lock()
    }

    /// Counts a request.
    pub(super) fn begin(&self) -> InFlight<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(&self.in_flight)
    }

    /// Requests that are not answered yet.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_while_they_are_held() {
        let injection = Injection::default();
        let first = injection.begin();
        let second = injection.begin();
        assert_eq!(injection.in_flight(), 2);
        drop(first);
        drop(second);
        assert_eq!(injection.in_flight(), 0);
    }
}
