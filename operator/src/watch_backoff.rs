//! How long a watch that broke waits before it is opened again.

use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use kube::runtime::watcher::{self, Event};
use tokio::time::{Instant, sleep_until};

/// How long a watch may stay silent before it is opened again, in seconds. A connection that died without a word is
/// noticed within this time.
pub(crate) const WATCH_TIMEOUT: u32 = 60;
/// After the first break.
const FIRST: Duration = Duration::from_millis(800);
/// At most, before chance is added: an API server that is back is noticed within ten seconds, and one that refused is asked
/// again within fifteen.
const MOST_AWAY: Duration = Duration::from_secs(8);
const MOST_ANSWERED: Duration = Duration::from_secs(12);
/// A watch that broke this long after the wait before did well meanwhile: once in such a time, a list harms nobody.
const WELL: Duration = Duration::from_secs(10);

/// A watch that waits after each break.
///
/// The waits of kube begin anew with whatever comes: after a list that succeeds, so that a watch whose place is forgotten
/// again and again would be listed again and again, at full speed. These begin anew only when a watch did well for a while.
pub(crate) fn paced<K>(
    watch: impl Stream<Item = watcher::Result<Event<K>>> + Send,
) -> impl Stream<Item = watcher::Result<Event<K>>> + Send
where
    K: Send,
{
    let state = (Box::pin(watch), WatchBackoff::default(), None);
    stream::unfold(state, async |(mut watch, mut backoff, due)| {
        if let Some(due) = due {
            sleep_until(due).await;
        }
        let seen = watch.next().await?;
        let now = Instant::now();
        let due = seen
            .as_ref()
            .err()
            .map(|error| now + backoff.after(Break::of(error), now));
        Some((seen, (watch, backoff, due)))
    })
}

/// What a break says of the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    /// It answered, and not as it should.
    Answered,
    /// It could not be asked, or fell silent.
    Away,
}

impl Break {
    fn of(error: &watcher::Error) -> Self {
        match error {
            watcher::Error::InitialListFailed(source)
            | watcher::Error::WatchStartFailed(source)
            | watcher::Error::WatchFailed(source)
                if !matches!(source, kube::Error::Api(_)) =>
            {
                Self::Away
            }
            _ => Self::Answered,
        }
    }
}

/// What an API server answers that is back says nothing of how long it was away: each kind of break has its own waits.
#[derive(Debug, Default)]
struct WatchBackoff {
    answered: Waits,
    away: Waits,
}

impl WatchBackoff {
    fn after(&mut self, what: Break, now: Instant) -> Duration {
        let wait = match what {
            Break::Answered => self.answered.next(now, MOST_ANSWERED),
            Break::Away => self.away.next(now, MOST_AWAY),
        };
        // Watches that broke together come back one after the other.
        wait.mul_f64(1.0 + fastrand::f64() / 4.0)
    }
}

/// Waits that double.
#[derive(Debug, Default)]
struct Waits {
    /// The wait before, and when it ended.
    before: Option<(Duration, Instant)>,
}

impl Waits {
    fn next(&mut self, now: Instant, most: Duration) -> Duration {
        let wait = match self.before {
            Some((wait, ended)) if now.saturating_duration_since(ended) < WELL => (wait * 2).min(most),
            _ => FIRST,
        };
        self.before = Some((wait, now + wait));
        wait
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use kube::core::Status;

    use super::*;

    fn answered(code: u16) -> watcher::Error {
        watcher::Error::WatchError(Status::failure("", "").with_code(code).boxed())
    }

    fn away() -> watcher::Error {
        watcher::Error::WatchStartFailed(kube::Error::Service("connection refused".into()))
    }

    /// How long each of these breaks is waited for.
    async fn waited_after(breaks: Vec<watcher::Error>) -> Vec<Duration> {
        let count = breaks.len();
        let watch = stream::iter(breaks.into_iter().map(Err).chain([Ok(Event::<Pod>::Init)]));
        let mut watch = std::pin::pin!(paced(watch));
        let mut waits = Vec::new();
        let mut before = Instant::now();
        for _ in 0..=count {
            watch.next().await;
            waits.push(before.elapsed());
            before = Instant::now();
        }
        waits.split_off(1)
    }

    #[test]
    fn the_wait_grows_while_watches_break_soon_after_they_were_opened() {
        let mut waits = Waits::default();
        let mut now = Instant::now();
        let mut all = Vec::new();
        for _ in 0..6 {
            let wait = waits.next(now, MOST_ANSWERED);
            // A list succeeds, and the watch breaks right after it.
            now += wait + Duration::from_millis(50);
            all.push(wait.as_millis());
        }
        assert_eq!(all, [800, 1600, 3200, 6400, 12_000, 12_000]);
    }

    #[test]
    fn after_a_watch_that_did_well_the_wait_is_short_again() {
        let mut waits = Waits::default();
        let start = Instant::now();
        waits.next(start, MOST_AWAY);
        waits.next(start + Duration::from_secs(1), MOST_AWAY);
        let later = start + Duration::from_secs(1) + FIRST * 2 + WELL;
        assert_eq!(waits.next(later, MOST_AWAY), FIRST);
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_is_back_is_noticed_within_ten_seconds_however_long_it_was_away() {
        let waits = waited_after((0..1000).map(|_| away()).collect()).await;
        assert!(waits.iter().sum::<Duration>() > Duration::from_hours(2));
        let longest = waits.iter().max().unwrap();
        assert!(
            *longest <= Duration::from_secs(10) + Duration::from_millis(1),
            "{longest:?}"
        );
        assert!(waits[999] >= MOST_AWAY, "{:?}", waits[999]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_api_server_answers_that_is_back_is_not_waited_for_as_if_it_were_away_still() {
        let mut breaks: Vec<_> = (0..20).map(|_| away()).collect();
        breaks.push(answered(410));
        let waits = waited_after(breaks).await;
        assert!(waits[20] <= FIRST * 2, "{:?}", waits[20]);
    }
}
