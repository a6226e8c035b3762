//! When what failed is tried again. Pure but for the waiting: the time comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

/// Wait before something that failed is tried again; doubles with each failure in a row.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_AT_MOST: Duration = Duration::from_secs(15);
/// What somebody else wrote first was looked at since: soon it may go well.
const OVERTAKEN_AT_MOST: Duration = Duration::from_secs(2);

/// Namespaces in which something failed, and why; a refusal counts more than a conflict.
pub(super) type Failed = BTreeMap<String, Cause>;

/// Why a write failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Somebody else wrote first.
    Overtaken,
    /// Anything else.
    Refused,
}

/// Namespaces in which something failed, each with a time of its own: one that fails does not hold up another, and what
/// fails again before its time is no reason to wait longer.
#[derive(Debug, Default)]
pub(super) struct Retry(BTreeMap<String, Pending>);

/// When a namespace is tried again.
#[derive(Debug, Default)]
struct Pending {
    /// `None` while it is tried.
    at: Option<Instant>,
    failures: u32,
}

impl Retry {
    /// Resolves when something is to be tried again; never while nothing is.
    pub(super) async fn due(&self) {
        until(self.0.values().filter_map(|pending| pending.at).min()).await;
    }

    pub(super) fn take_due(&mut self, now: Instant) -> BTreeSet<String> {
        let due = self
            .0
            .iter_mut()
            .filter(|(_, pending)| pending.at.is_some_and(|at| at <= now));
        due.map(|(namespace, pending)| {
            pending.at = None;
            namespace.clone()
        })
        .collect()
    }

    /// A namespace is to be tried at this time, though nothing failed there.
    pub(super) fn wait(&mut self, namespace: String, until: Instant) {
        let pending = self.0.entry(namespace).or_default();
        pending.at = Some(pending.at.map_or(until, |at| at.min(until)));
    }

    /// Takes in what failed; what was to be tried again and did not fail went well.
    pub(super) fn after(&mut self, failed: Failed, now: Instant) {
        self.0
            .retain(|namespace, pending| pending.at.is_some() || failed.contains_key(namespace));
        self.failed(failed, now);
    }

    /// Takes in what failed while something is still to be tried.
    pub(super) fn failed(&mut self, failed: Failed, now: Instant) {
        for (namespace, cause) in failed {
            let pending = self.0.entry(namespace).or_default();
            if pending.at.is_none() {
                pending.at = Some(now + backoff(pending.failures, cause));
                pending.failures = pending.failures.saturating_add(1);
            }
        }
    }
}

fn backoff(failures: u32, cause: Cause) -> Duration {
    let most = match cause {
        Cause::Overtaken => OVERTAKEN_AT_MOST,
        Cause::Refused => RETRY_AT_MOST,
    };
    (RETRY * 2u32.saturating_pow(failures.min(5))).min(most)
}

/// Resolves at this time; never without one.
pub(super) async fn until(due: Option<Instant>) {
    match due {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn these(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn refused(names: &[&str]) -> Failed {
        names
            .iter()
            .map(|&name| (name.to_owned(), Cause::Refused))
            .collect()
    }

    #[test]
    fn what_somebody_else_wrote_first_is_tried_again_soon_however_often() {
        let mut retry = Retry::default();
        let mut now = Instant::now();
        for _ in 0..9 {
            retry.after([("shop".to_owned(), Cause::Overtaken)].into(), now);
            now += OVERTAKEN_AT_MOST;
            assert_eq!(retry.take_due(now), these(&["shop"]));
        }
    }

    #[test]
    fn f16_what_was_written_often_enough_waits_for_its_time_and_counts_as_no_failure() {
        let mut retry = Retry::default();
        let now = Instant::now();
        let soon = now + RETRY / 2;
        retry.after(Failed::new(), now);
        retry.wait("shop".to_owned(), soon);
        assert!(retry.take_due(now).is_empty());
        assert_eq!(retry.take_due(soon), these(&["shop"]));
        retry.after(refused(&["shop"]), soon);
        assert_eq!(
            retry.take_due(soon + RETRY),
            these(&["shop"]),
            "the first failure"
        );
    }

    #[test]
    fn a_namespace_that_fails_again_and_again_does_not_hold_up_another() {
        let mut retry = Retry::default();
        let mut now = Instant::now();
        for _ in 0..5 {
            retry.after(refused(&["bad"]), now);
            now += RETRY_AT_MOST;
            assert_eq!(retry.take_due(now), these(&["bad"]));
        }
        retry.after(refused(&["bad", "other"]), now);
        assert_eq!(retry.take_due(now + RETRY), these(&["other"]));
    }

    #[test]
    fn what_fails_before_its_time_is_no_reason_to_wait_longer() {
        let mut retry = Retry::default();
        let now = Instant::now();
        for _ in 0..5 {
            retry.after(refused(&["shop"]), now);
        }
        assert_eq!(retry.take_due(now + RETRY), these(&["shop"]));
    }

    #[test]
    fn what_went_well_waits_shortly_when_it_fails_later() {
        let mut retry = Retry::default();
        let now = Instant::now();
        retry.after(refused(&["shop"]), now);
        retry.take_due(now + RETRY);
        retry.after(refused(&["shop"]), now);
        assert!(
            retry.take_due(now + RETRY).is_empty(),
            "the second wait is longer"
        );
        retry.take_due(now + RETRY * 2);
        retry.after(Failed::new(), now);
        retry.after(refused(&["shop"]), now);
        assert_eq!(retry.take_due(now + RETRY), these(&["shop"]));
    }
}
