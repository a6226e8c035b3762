//! Time for the pings of HTTP/2 that is used up by nothing but silence.
//!
//! hyper takes a connection for lost when a ping is not answered in time, and for nothing else. That ended healthy
//! connections in two cases, with every request on them:
//!
//! - This process was stopped, or starved of CPU, for longer than the timeout. hyper looks at the time before it reads the
//!   socket, where the answer lies. So every wait ends with [`GRACE`] in which the process runs and reads.
//! - The ping, or its answer, waits behind a long upload or download on a thin link. So a wait counts from the last sign of
//!   life of the connection ([`Progress`]).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Sleep, Timer};
use tokio::time::Instant;

use super::Progress;

/// Running time at the end of every wait. Enough to read what arrived during a stall, and little beside the timeout.
const GRACE: Duration = Duration::from_millis(50);

/// A timer whose waits are over after silence only.
#[derive(Clone, Debug)]
pub struct SilenceTimer {
    progress: Progress,
}

struct SilenceSleep {
    /// How long the silence must last.
    duration: Duration,
    progress: Progress,
    stage: Stage,
    sleep: Pin<Box<tokio::time::Sleep>>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Waiting,
    Grace,
}

impl SilenceTimer {
    /// One for the connection that `progress` is of.
    pub fn new(progress: Progress) -> Self {
        Self { progress }
    }
}

impl Timer for SilenceTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until((Instant::now() + duration).into_std())
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        let deadline = Instant::from_std(deadline);
        Box::pin(SilenceSleep {
            duration: deadline.saturating_duration_since(Instant::now()),
            progress: self.progress.clone(),
            stage: Stage::Waiting,
            sleep: Box::pin(tokio::time::sleep_until(before(deadline))),
        })
    }

    fn now(&self) -> std::time::Instant {
        Instant::now().into_std()
    }
}

fn before(deadline: Instant) -> Instant {
    deadline.checked_sub(GRACE).unwrap_or(deadline)
}

impl Sleep for SilenceSleep {}

impl Future for SilenceSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            match self.stage {
                Stage::Waiting => {
                    self.stage = Stage::Grace;
                    self.sleep.as_mut().reset(now + GRACE);
                }
                Stage::Grace => {
                    let deadline = self.progress.last() + self.duration;
                    if deadline <= now {
                        return Poll::Ready(());
                    }
                    self.stage = Stage::Waiting;
                    self.sleep.as_mut().reset(before(deadline));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures::FutureExt;

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(1_650);

    #[tokio::test(start_paused = true)]
    async fn silence_is_over_in_time() {
        let start = Instant::now();
        SilenceTimer::new(Progress::new()).sleep(TIMEOUT).await;
        let took = start.elapsed();
        assert!((1_650..1_660).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_counts_from_the_last_sign_of_life() {
        let (start, progress) = (Instant::now(), Progress::new());
        let wait = SilenceTimer::new(progress.clone()).sleep(TIMEOUT);
        let signs = async {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(1)).await;
                progress.made();
            }
        };
        tokio::join!(wait, signs);
        let took = start.elapsed();
        assert!((6_650..6_660).contains(&took.as_millis()), "{took:?}");
    }

    #[tokio::test]
    #[expect(clippy::disallowed_methods, reason = "the stall is what is tested")]
    async fn a_wait_that_a_stall_outlasted_is_not_over_before_the_process_ran() {
        let mut sleep = SilenceTimer::new(Progress::new()).sleep(2 * GRACE);
        assert!(sleep.as_mut().now_or_never().is_none());
        thread::sleep(4 * GRACE);
        tokio::task::yield_now().await;
        assert!(sleep.as_mut().now_or_never().is_none());
        sleep.await;
    }
}
