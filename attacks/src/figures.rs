//! What is measured of one attack. Pure.

use serde::{Deserialize, Serialize};
use smilax_testapp::load::Report;

/// What is measured of one attack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Resident memory of the attacked process in MiB.
    pub rss: Rss,
    /// Seconds of processor time that the attacked process used during the attack.
    pub cpu_s: f64,
    /// The same for as long without the attack.
    pub cpu_without_s: f64,
    /// What the victim got before the attack and after it.
    pub without: [Service; 2],
    /// What the victim got during the attack.
    pub with: Service,
    /// What the attacker did.
    pub attacker: Tally,
    /// Whether the attacked process survived.
    pub fate: Fate,
}

/// Resident memory in MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rss {
    /// Before the attack.
    pub before: f64,
    /// The most from the beginning of the attack on.
    pub peak: f64,
    /// 10 s after the attack.
    pub after: f64,
}

/// Whether a process survived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fate {
    /// It did.
    #[default]
    Survived,
    /// It ended, as when it is killed for the memory it uses.
    Ended,
}

/// What a victim got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Requests, or changes, that ended well or not.
    pub requests: u64,
    /// How many of them failed.
    pub lost: u64,
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of latency in milliseconds.
    pub p99_ms: f64,
    /// Text of the first failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// What an attacker did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Connections that were opened.
    pub opened: u64,
    /// Connections that could not be opened.
    pub failed: u64,
    /// Connections that were still open at the end.
    pub open: u64,
    /// Objects that were written to the API server.
    pub objects: u64,
    /// Bytes sent, before TLS.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

impl Figures {
    /// 99th percentile of latency without the attack in milliseconds: the mean of before and after.
    pub fn p99_without_ms(&self) -> f64 {
        f64::midpoint(self.without[0].p99_ms, self.without[1].p99_ms)
    }

    /// Milliseconds of processor time for each object that the attacker wrote; 0 when it wrote none.
    pub fn cpu_per_object_ms(&self) -> f64 {
        if self.attacker.objects == 0 {
            return 0.0;
        }
        millis_of_seconds(self.cpu_s, self.attacker.objects)
    }

    /// Median latency without the attack in milliseconds.
    pub fn p50_without_ms(&self) -> f64 {
        f64::midpoint(self.without[0].p50_ms, self.without[1].p50_ms)
    }
}

impl Service {
    /// Out of the report of a load.
    pub fn of(report: &Report) -> Self {
        let first = report.failures.first();
        Self {
            requests: report.requests,
            lost: report.failed(),
            p50_ms: millis(report.p50_us),
            p99_ms: millis(report.p99_us),
            failure: first.map(|failure| format!("{}: {}", failure.kind, failure.example)),
        }
    }

    /// Out of single durations in milliseconds, `None` where one failed.
    pub fn of_durations(all: &[Option<f64>]) -> Self {
        let mut good: Vec<f64> = all.iter().copied().flatten().collect();
        good.sort_by(f64::total_cmp);
        let requests = u64::try_from(all.len()).unwrap_or(u64::MAX);
        Self {
            requests,
            lost: u64::try_from(all.len() - good.len()).unwrap_or(u64::MAX),
            p50_ms: quantile(&good, 50),
            p99_ms: quantile(&good, 99),
            failure: None,
        }
    }
}

/// The smallest value that so many percent do not exceed; 0 of nothing.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().map_or(0.0, round)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "minutes in microseconds stay far below 2^53"
)]
fn millis(micros: u64) -> f64 {
    round(micros as f64 / 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "nobody writes 2^53 objects")]
fn millis_of_seconds(seconds: f64, parts: u64) -> f64 {
    round(seconds * 1000.0 / parts as f64)
}

/// To two decimals.
pub fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let all: Vec<_> = (1..=200).map(|ms| Some(f64::from(ms))).collect();
        let service = Service::of_durations(&all);
        assert_eq!((service.p50_ms, service.p99_ms, service.lost), (100.0, 198.0, 0));
    }

    #[test]
    fn of_nothing_there_are_no_quantiles() {
        let service = Service::of_durations(&[None, None]);
        assert_eq!((service.requests, service.lost, service.p99_ms), (2, 2, 0.0));
    }

    #[test]
    fn latency_without_the_attack_is_that_of_before_and_after() {
        let service = |p99_ms| Service {
            p99_ms,
            ..Service::default()
        };
        let figures = Figures {
            without: [service(1.0), service(2.0)],
            ..Figures::default()
        };
        assert!((figures.p99_without_ms() - 1.5).abs() < f64::EPSILON);
    }
}
