//! How long one endpoint takes to answer, as balancing sees it.

use std::time::Duration;

/// Time in which an answer loses most of its weight against later ones.
const MEMORY: Duration = Duration::from_secs(2);
/// Time in which a latency loses most of its meaning when no answer follows, so that an endpoint that was slow gets
/// another chance. Longer than the memory of answers: slow endpoints still get some requests, which keep it true.
const STALE: Duration = Duration::from_secs(4);
/// Time without news after which an idle endpoint gets one request to tell how it does now. A pod that hung and was left
/// alone has its share again within this time, whatever its latency was. Longer, and pods come back late; shorter, and a
/// slow endpoint gets more of few requests than its share.
const RETRIAL: Duration = Duration::from_secs(3);
/// Answers before latency counts; of these, the fastest does. The first answers of a new endpoint pay for cold caches and
/// connections; taking them at face value once gave one of two equal endpoints 4 of 60 requests.
const WARM_UP: u32 = 8;
/// One answer counts as at most this many times the latency so far. A pause that happens once on a busy node is no news;
/// an endpoint that became slow stays slow, and reaches any latency within a few answers.
const MAX_RISE: f64 = 4.0;
/// Latency, in seconds, from which a rise is counted.
const RISE_FLOOR: f64 = 0.001;
/// Latencies that differ by less than a factor of two, or by less than this, in seconds, count as equal. Below it, an
/// even spread is worth more to users than the difference.
const NEGLIGIBLE: f64 = 0.010;

/// An exponentially weighted moving average (EWMA) over time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Latency {
    seconds: f64,
    at: Duration,
    samples: u32,
}

impl Latency {
    pub(super) fn first(sample: Duration, now: Duration) -> Self {
        Self {
            seconds: sample.as_secs_f64(),
            at: now,
            samples: 1,
        }
    }

    /// One that begins with a bad answer.
    pub(super) fn first_penalty(penalty: Duration, now: Duration) -> Self {
        Self {
            samples: WARM_UP,
            ..Self::first(penalty, now)
        }
    }

    /// With one more answer that took `sample`.
    pub(super) fn with(self, sample: Duration, now: Duration) -> Self {
        let sample = sample.as_secs_f64();
        let seconds = if self.samples < WARM_UP || self.is_due_for_retrial(now) {
            self.seconds.min(sample)
        } else {
            let sample = sample.min(MAX_RISE * self.seconds.max(RISE_FLOOR));
            let kept = self.decay(now, MEMORY);
            self.seconds * kept + sample * (1.0 - kept)
        };
        Self {
            seconds,
            at: now,
            samples: self.samples.saturating_add(1),
        }
    }

    /// With an answer that was bad, or that nobody waited for any longer: it counts in full, and never as good news.
    pub(super) fn with_penalty(self, penalty: Duration, now: Duration) -> Self {
        let penalty = penalty.as_secs_f64().max(self.seconds);
        let kept = self.decay(now, MEMORY).min(1.0 - 1.0 / f64::from(WARM_UP));
        Self {
            seconds: self.seconds * kept + penalty * (1.0 - kept),
            at: now,
            samples: self.samples.saturating_add(WARM_UP),
        }
    }

    /// The average, not aged.
    pub(super) fn average(self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.seconds).ok()
    }

    /// What is left of it, in seconds, after a time without news; `None` before there were enough answers to tell.
    pub(super) fn aged(self, now: Duration) -> Option<f64> {
        (self.samples >= WARM_UP).then(|| self.seconds * self.decay(now, STALE))
    }

    /// Whether it is too old to keep requests away.
    pub(super) fn is_due_for_retrial(self, now: Duration) -> bool {
        now.saturating_sub(self.at) >= RETRIAL
    }

    fn decay(self, now: Duration, time_constant: Duration) -> f64 {
        (-now.saturating_sub(self.at).as_secs_f64() / time_constant.as_secs_f64()).exp()
    }
}

/// Whether two latencies, in seconds, count as equal.
pub(super) fn are_comparable(one: f64, other: f64) -> bool {
    one <= 2.0 * other + NEGLIGIBLE && other <= 2.0 * one + NEGLIGIBLE
}

/// Share of requests that the first of two idle endpoints gets, from 0 to 1: in inverse proportion to the squares of their
/// latencies. In plain proportion, an endpoint that is five times as slow would still add a fifth to the mean latency.
pub(super) fn share(first: f64, second: f64) -> f64 {
    let (first, second) = (first.max(RISE_FLOOR), second.max(RISE_FLOOR));
    second * second / (first * first + second * second)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn measured(samples: &[u32], pause: Duration) -> f64 {
        let mut now = Duration::ZERO;
        let mut latency = Latency::first(2 * MILLISECOND, now);
        for sample in [2; 20].iter().chain(samples) {
            now += pause;
            latency = latency.with(MILLISECOND * *sample, now);
        }
        latency.aged(now).unwrap()
    }

    #[test]
    fn the_first_answers_do_not_tell_and_a_slow_one_among_them_is_forgiven() {
        let mut latency = Latency::first(60 * MILLISECOND, Duration::ZERO);
        for _ in 2..WARM_UP {
            latency = latency.with(2 * MILLISECOND, Duration::ZERO);
            assert_eq!(latency.aged(Duration::ZERO), None);
        }
        let warm = latency.with(2 * MILLISECOND, Duration::ZERO);
        assert!(are_comparable(warm.aged(Duration::ZERO).unwrap(), 0.002));
    }

    #[test]
    fn one_slow_answer_is_no_news_at_any_rate() {
        for pause in [1, 10, 100, 1000] {
            let latency = measured(&[500], pause * MILLISECOND);
            assert!(are_comparable(latency, 0.002), "every {pause} ms: {latency}");
        }
    }

    #[test]
    fn an_endpoint_that_became_slow_is_known_as_slow_soon() {
        assert!(!are_comparable(measured(&[200; 40], 50 * MILLISECOND), 0.002));
    }

    #[test]
    fn a_penalty_counts_at_once_and_never_as_good_news() {
        let latency = Latency::first(MILLISECOND * 2, Duration::ZERO);
        let penalised = latency.with_penalty(MILLISECOND * 500, MILLISECOND);
        assert!(!are_comparable(penalised.aged(MILLISECOND).unwrap(), 0.002));
        let slow = Latency::first_penalty(Duration::from_secs(1), Duration::ZERO);
        let penalised = slow.with_penalty(MILLISECOND, MILLISECOND);
        assert!(penalised.aged(MILLISECOND).unwrap() >= 0.99);
    }

    #[test]
    fn after_a_time_without_news_one_fast_answer_is_believed_at_once() {
        let hung = Latency::first_penalty(Duration::from_secs(5), Duration::ZERO);
        let too_soon = hung.with(20 * MILLISECOND, RETRIAL.mul_f64(0.99));
        assert!(!are_comparable(too_soon.aged(RETRIAL).unwrap(), 0.020));
        let retried = hung.with(20 * MILLISECOND, RETRIAL);
        assert!(are_comparable(retried.aged(RETRIAL).unwrap(), 0.020));
    }

    #[test]
    fn latency_without_news_is_forgotten() {
        let latency = Latency::first_penalty(Duration::from_secs(1), Duration::ZERO);
        let aged = latency.aged(Duration::from_mins(1)).unwrap();
        assert!(are_comparable(aged, 0.001));
    }
}
