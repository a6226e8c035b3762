//! How long a watch that broke waits before it is opened again.

use std::time::Duration;

use kube::runtime::utils::Backoff;
use tokio::time::Instant;

/// After the first break.
const FIRST: Duration = Duration::from_millis(800);
/// At most, before chance is added; an API server that is back is noticed within this time.
const MOST: Duration = Duration::from_secs(16);
/// A watch that broke this long after the wait before did well meanwhile: once in such a time, a list harms nobody.
const WELL: Duration = Duration::from_secs(10);

/// Waits that double, with a quarter of chance. Those of kube begin anew with whatever comes: after a list that
/// succeeds, so that a watch whose place is forgotten again and again would be listed again and again, at full speed.
/// These begin anew only when a watch did well for a while.
#[derive(Debug, Default)]
pub(crate) struct WatchBackoff {
    /// The wait before, and when it ended.
    before: Option<(Duration, Instant)>,
}

impl WatchBackoff {
    fn wait(&mut self, now: Instant) -> Duration {
        let wait = match self.before {
            Some((wait, ended)) if now.saturating_duration_since(ended) < WELL => (wait * 2).min(MOST),
            _ => FIRST,
        };
        self.before = Some((wait, now + wait));
        wait
    }
}

impl Iterator for WatchBackoff {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let wait = self.wait(Instant::now());
        // Watches that broke together come back one after the other.
        Some(wait.mul_f64(1.0 + fastrand::f64() / 4.0))
    }
}

impl Backoff for WatchBackoff {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_while_watches_break_soon_after_they_were_opened() {
        let mut backoff = WatchBackoff::default();
        let mut now = Instant::now();
        let mut waits = Vec::new();
        for _ in 0..6 {
            let wait = backoff.wait(now);
            // A list succeeds, and the watch breaks right after it.
            backoff.reset();
            now += wait + Duration::from_millis(50);
            waits.push(wait.as_millis());
        }
        assert_eq!(waits, [800, 1600, 3200, 6400, 12_800, 16_000]);
    }

    #[test]
    fn after_a_watch_that_did_well_the_wait_is_short_again() {
        let mut backoff = WatchBackoff::default();
        let start = Instant::now();
        backoff.wait(start);
        backoff.wait(start + Duration::from_secs(1));
        let later = start + Duration::from_secs(1) + FIRST * 2 + WELL;
        assert_eq!(backoff.wait(later), FIRST);
    }
}
