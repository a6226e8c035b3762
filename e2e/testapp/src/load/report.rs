//! The accounting of a load.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::histogram::Histogram;

/// What became of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Name of the server that answered.
    pub backend: Option<String>,
    /// Its pod.
    pub pod: Option<String>,
    /// HTTP status.
    pub status: Option<u16>,
    /// How it failed, with an example's text.
    pub failure: Option<(FailureKind, String)>,
}

/// Kinds of failures.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// No connection.
    Connect,
    /// No complete answer in time.
    Timeout,
    /// The connection broke before the answer was complete.
    Broken,
    /// An answer that is neither 2xx nor 3xx.
    Status(u16),
    /// A gRPC status that is not OK, or none.
    Grpc(String),
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Timeout => f.write_str("timeout"),
            Self::Broken => f.write_str("broken"),
            Self::Status(code) => write!(f, "status-{code}"),
            Self::Grpc(code) => write!(f, "grpc-{code}"),
        }
    }
}

/// What a load counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Requests that ended, well or not.
    pub requests: u64,
    /// Failures by kind; empty when all went well.
    pub failures: Vec<FailureCount>,
    /// Answers by the name of the server.
    pub by_backend: BTreeMap<String, u64>,
    /// Answers by pod.
    pub by_pod: BTreeMap<String, u64>,
    /// Answers by HTTP status.
    pub by_status: BTreeMap<String, u64>,
    /// Connections opened.
    pub connections: u64,
    /// Median latency in microseconds; at most 1/64 too high, as is the next.
    pub p50_us: u64,
    /// 99th percentile of latency in microseconds.
    pub p99_us: u64,
    /// Largest latency in microseconds.
    pub max_us: u64,
    /// How long it took, in seconds.
    pub duration_s: f64,
    /// When it began, in milliseconds since the epoch.
    #[serde(default)]
    pub began_at_ms: u64,
    /// When another server answered than before, in the order of the answers; the first 10,000 times.
    #[serde(default)]
    pub turns: Vec<Turn>,
    /// What became of requests by the time at which they were due, of an open loop.
    #[serde(default)]
    pub timeline: Vec<Window>,
}

/// Milliseconds of a window of the timeline.
pub const WINDOW_MS: u64 = 100;

/// Requests that were due within the same tenth of a second.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// How many ended, well or not.
    pub requests: u64,
    /// How many failed.
    pub failed: u64,
    /// How many took longer than a request may, answered or not.
    pub hung: u64,
    /// Answers by pod, failures among them.
    pub by_pod: BTreeMap<String, u64>,
}

/// Another server answers than the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Which one.
    pub backend: String,
    /// When the request was due, in milliseconds since the start.
    pub due_at_ms: u64,
    /// When its answer was complete, in milliseconds since the start.
    pub answered_at_ms: u64,
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureCount {
    /// `connect`, `timeout`, `broken`, `status-CODE` or `grpc-CODE`.
    pub kind: String,
    /// How many.
    pub count: u64,
    /// Text of the first.
    pub example: String,
    /// When the first request that failed so was due, in milliseconds since the start.
    pub first_at_ms: u64,
    /// When the last was.
    pub last_at_ms: u64,
}

impl Report {
    /// Failures of every kind.
    pub fn failed(&self) -> u64 {
        self.failures.iter().map(|failure| failure.count).sum()
    }
}

/// Turns that are kept at most.
const MOST_TURNS: usize = 10_000;

/// A count that grows.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    turns: Vec<Turn>,
    requests: u64,
    connections: u64,
    failures: BTreeMap<FailureKind, FailureCount>,
    by_backend: BTreeMap<String, u64>,
    by_pod: BTreeMap<String, u64>,
    by_status: BTreeMap<u16, u64>,
    latencies: Histogram,
    timeline: Option<Timeline>,
}

#[derive(Clone, Debug)]
struct Timeline {
    hung_after: Duration,
    windows: Vec<Window>,
}

impl Timeline {
    fn record(&mut self, outcome: &Outcome, at: Duration, latency: Duration) {
        let number = usize::try_from(millis(at) / WINDOW_MS).unwrap_or(usize::MAX);
        if self.windows.len() <= number {
            self.windows.resize(number + 1, Window::default());
        }
        let window = &mut self.windows[number];
        window.requests += 1;
        window.failed += u64::from(outcome.failure.is_some());
        window.hung += u64::from(latency > self.hung_after);
        if let Some(pod) = &outcome.pod {
            count(&mut window.by_pod, pod);
        }
    }
}

impl Tally {
    /// Keeps a timeline, in which a request hangs that takes longer than this.
    pub fn keep_timeline(&mut self, hung_after: Duration) {
        self.timeline = Some(Timeline {
            hung_after,
            windows: Vec::new(),
        });
    }

    /// Counts one request that was due `at` after the start and took `latency`.
    pub fn record(&mut self, outcome: &Outcome, at: Duration, latency: Duration) {
        self.requests += 1;
        self.latencies.record(latency);
        if let Some(timeline) = &mut self.timeline {
            timeline.record(outcome, at, latency);
        }
        if let Some(name) = &outcome.backend {
            count(&mut self.by_backend, name);
            self.turn(name, at, at + latency);
        }
        if let Some(pod) = &outcome.pod {
            count(&mut self.by_pod, pod);
        }
        if let Some(status) = outcome.status {
            *self.by_status.entry(status).or_default() += 1;
        }
        if let Some((kind, text)) = &outcome.failure {
            let at = millis(at);
            let failures = self.failures.entry(kind.clone()).or_insert_with(|| FailureCount {
                kind: kind.to_string(),
                count: 0,
                example: text.clone(),
                first_at_ms: at,
                last_at_ms: at,
            });
            failures.count += 1;
            failures.first_at_ms = failures.first_at_ms.min(at);
            failures.last_at_ms = failures.last_at_ms.max(at);
        }
    }

    fn turn(&mut self, backend: &str, due: Duration, answered: Duration) {
        let same = self.turns.last().is_some_and(|last| last.backend == backend);
        if !same && self.turns.len() < MOST_TURNS {
            self.turns.push(Turn {
                backend: backend.to_owned(),
                due_at_ms: millis(due),
                answered_at_ms: millis(answered),
            });
        }
    }

    /// Counts connections that were opened.
    pub fn opened(&mut self, connections: u64) {
        self.connections += connections;
    }

    /// Everything counted so far.
    pub fn report(&self, duration: Duration) -> Report {
        Report {
            requests: self.requests,
            failures: self.failures.values().cloned().collect(),
            by_backend: self.by_backend.clone(),
            by_pod: self.by_pod.clone(),
            by_status: self
                .by_status
                .iter()
                .map(|(status, count)| (status.to_string(), *count))
                .collect(),
            connections: self.connections,
            p50_us: self.latencies.quantile(500),
            p99_us: self.latencies.quantile(990),
            max_us: self.latencies.max(),
            duration_s: duration.as_secs_f64(),
            began_at_ms: began_before(duration),
            turns: self.turns.clone(),
            timeline: self
                .timeline
                .as_ref()
                .map(|timeline| timeline.windows.clone())
                .unwrap_or_default(),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// When something began that has lasted this long, in milliseconds since the epoch.
fn began_before(duration: Duration) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    millis(now.saturating_sub(duration))
}

fn count(counts: &mut BTreeMap<String, u64>, key: &str) {
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => {
            counts.insert(key.to_owned(), 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOMENT: Duration = Duration::from_millis(1);

    fn answered(backend: &str, status: u16) -> Outcome {
        Outcome {
            backend: Some(backend.to_owned()),
            pod: Some(format!("{backend}-0")),
            status: Some(status),
            failure: None,
        }
    }

    fn failed(kind: FailureKind, text: &str) -> Outcome {
        Outcome {
            failure: Some((kind, text.to_owned())),
            ..Outcome::default()
        }
    }

    #[test]
    fn it_is_told_when_another_server_begins_to_answer() {
        let mut tally = Tally::default();
        for (at, backend) in [(1, "a"), (2, "a"), (3, "b"), (4, "a")] {
            tally.record(&answered(backend, 200), MOMENT * at, MOMENT);
        }
        let turns: Vec<_> = tally
            .turns
            .iter()
            .map(|turn| (&*turn.backend, turn.answered_at_ms))
            .collect();
        assert_eq!(turns, [("a", 2), ("b", 4), ("a", 5)]);
    }

    #[test]
    fn answers_are_counted_by_backend_pod_and_status() {
        let mut tally = Tally::default();
        tally.record(&answered("web-v1", 200), MOMENT, MOMENT);
        tally.record(&answered("web-v1", 404), MOMENT, MOMENT);
        tally.record(&answered("web-v2", 200), MOMENT, MOMENT);
        let report = tally.report(Duration::from_secs(2));
        assert_eq!(report.requests, 3);
        assert_eq!(
            report.by_backend,
            BTreeMap::from([("web-v1".to_owned(), 2), ("web-v2".to_owned(), 1)])
        );
        assert_eq!(report.by_pod["web-v2-0"], 1);
        assert_eq!(
            report.by_status,
            BTreeMap::from([("200".to_owned(), 2), ("404".to_owned(), 1)])
        );
    }

    #[test]
    fn failures_keep_their_first_text_and_their_span() {
        let mut tally = Tally::default();
        tally.record(
            &failed(FailureKind::Connect, "refused"),
            Duration::from_millis(40),
            MOMENT,
        );
        tally.record(
            &failed(FailureKind::Connect, "later text"),
            Duration::from_millis(90),
            MOMENT,
        );
        tally.record(
            &failed(FailureKind::Timeout, "slow"),
            Duration::from_millis(60),
            MOMENT,
        );
        let report = tally.report(MOMENT);
        assert_eq!(report.failed(), 3);
        let connect = &report.failures[0];
        assert_eq!(
            (connect.kind.as_str(), connect.count, connect.example.as_str()),
            ("connect", 2, "refused")
        );
        assert_eq!((connect.first_at_ms, connect.last_at_ms), (40, 90));
    }

    #[test]
    fn a_failing_status_counts_as_answer_and_as_failure() {
        let mut tally = Tally::default();
        let outcome = Outcome {
            failure: Some((FailureKind::Status(503), "no healthy backend".to_owned())),
            ..answered("web-v1", 503)
        };
        tally.record(&outcome, MOMENT, MOMENT);
        let report = tally.report(MOMENT);
        assert_eq!(report.by_status["503"], 1);
        assert_eq!(report.failures[0].kind, "status-503");
    }

    #[test]
    fn a_timeline_counts_requests_where_they_were_due_and_not_where_they_ended() {
        let mut tally = Tally::default();
        tally.keep_timeline(Duration::from_secs(2));
        tally.record(&answered("web", 200), MOMENT * 50, MOMENT);
        tally.record(&answered("web", 200), MOMENT * 99, Duration::from_secs(3));
        tally.record(
            &failed(FailureKind::Timeout, "slow"),
            MOMENT * 250,
            Duration::from_secs(5),
        );
        let timeline = tally.report(MOMENT).timeline;
        let counts: Vec<_> = timeline
            .iter()
            .map(|window| (window.requests, window.failed, window.hung))
            .collect();
        assert_eq!(counts, [(2, 0, 1), (0, 0, 0), (1, 1, 1)]);
        assert_eq!(timeline[0].by_pod["web-0"], 2);
    }

    #[test]
    fn latencies_are_summed_up() {
        let mut tally = Tally::default();
        for millis in 1..=100 {
            tally.record(&answered("web", 200), MOMENT, Duration::from_millis(millis));
        }
        let report = tally.report(MOMENT);
        assert!((50_000..=50_800).contains(&report.p50_us), "{}", report.p50_us);
        assert!((99_000..=100_000).contains(&report.p99_us), "{}", report.p99_us);
        assert_eq!(report.max_us, 100_000);
    }

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let mut tally = Tally::default();
        tally.record(
            &failed(FailureKind::Grpc("14".to_owned()), "unavailable"),
            MOMENT,
            MOMENT,
        );
        let report = tally.report(Duration::from_millis(1500));
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&text).unwrap(), report);
    }
}
