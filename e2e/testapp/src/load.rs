//! A load client that counts: every request once, never retried, by who answered and how it failed.

mod exchange;
mod histogram;
mod open_loop;
mod report;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use clap::{Args, ValueEnum};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use exchange::Exchange;
pub use report::{FailureCount, FailureKind, Outcome, Report, Tally, Turn, WINDOW_MS, Window};

/// No load lasts longer, in seconds.
pub const LONGEST_SECONDS: u64 = 600;
/// After a failure a closed loop waits so long, so that a dead server is not asked a million times.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(10);

/// What to send, and how fast.
#[derive(Clone, Debug, PartialEq, Eq, Args, Serialize, Deserialize)]
pub struct LoadOptions {
    /// Where to: `http://web:8080/path`; for TCP `http://HOST:PORT`.
    #[arg(long)]
    pub url: String,
    /// Stop after so many requests.
    #[arg(long, required_unless_present = "duration")]
    pub requests: Option<u64>,
    /// Stop after so many seconds; 600 at most, which is also the bound of a load that counts requests.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LONGEST_SECONDS))]
    pub duration: Option<u64>,
    /// Requests a second, begun on schedule whether or not earlier ones are answered; 0: one after the other.
    #[arg(long, default_value_t = 0)]
    pub rate: u32,
    /// Connections, each with one request at a time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub connections: u32,
    /// Begin each request when it is due, on a connection of its own when all are busy. `--rate` is needed, and
    /// `--connections` are those at the start, which are used in turn; they count requests by time in `timeline`.
    #[arg(long)]
    #[serde(default)]
    pub open_loop: bool,
    /// Milliseconds after which a request counts as hung in `timeline`, answered or not.
    #[arg(long, default_value_t = 2000)]
    #[serde(default)]
    pub hung_after_ms: u64,
    /// Milliseconds until a request counts as failed, connecting included.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pub timeout_ms: u64,
    /// What to speak.
    #[arg(long, value_enum, default_value_t = Speech::Http1)]
    #[serde(default)]
    pub speak: Speech,
    /// Open a new connection for each request.
    #[arg(long)]
    pub no_keep_alive: bool,
    /// Method.
    #[arg(long, default_value = "GET", value_parser = parse_method)]
    pub method: String,
    /// Path with query, instead of that of the URL.
    #[arg(long)]
    pub path: Option<String>,
    /// Sent as Host instead of the authority of the URL.
    #[arg(long)]
    pub host: Option<String>,
    /// Header, `Name=Value`; may be repeated.
    #[arg(long = "header", value_parser = crate::client::parse_header)]
    pub headers: Vec<(String, String)>,
}

/// What a load speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speech {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    H2,
    /// Unary calls of `smilax.test.Echo/Who`.
    Grpc,
    /// A TCP connection for each request: sends a line and reads the one that answers.
    Tcp,
    /// A TCP connection for each request: reads the line with which the server greets.
    TcpServerFirst,
}

/// Stops a load from outside, and lets others look at what it counted so far.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    tally: Arc<Mutex<Tally>>,
    started: Arc<Mutex<Option<Instant>>>,
}

impl Stop {
    /// Ends the load as soon as the requests under way are answered.
    pub fn stop(&self) {
        self.token.cancel();
    }

    /// What was counted so far.
    pub fn report(&self) -> Report {
        let duration = self
            .started
            .lock()
            .map_or(Duration::ZERO, |started| started.elapsed());
        self.tally.lock().report(duration)
    }
}

/// Sends the load and says what came back.
///
/// # Errors
/// When the options contradict each other; requests that fail are counted instead.
pub async fn run(options: &LoadOptions, stop: &Stop) -> anyhow::Result<Report> {
    let exchange = Exchange::new(options)?;
    let start = Instant::now();
    *stop.started.lock() = Some(start);
    if options.open_loop {
        ensure!(options.rate > 0, "--open-loop needs a --rate");
        stop.tally
            .lock()
            .keep_timeline(Duration::from_millis(options.hung_after_ms));
    }
    let schedule = Arc::new(Schedule {
        next: AtomicU64::new(0),
        requests: options.requests.unwrap_or(u64::MAX),
        interval: (options.rate > 0).then(|| Duration::from_secs(1) / options.rate),
        start,
        end: start + Duration::from_secs(options.duration.unwrap_or(LONGEST_SECONDS)),
    });
    if options.open_loop {
        open_loop::run(&exchange, options.connections, &schedule, stop).await?;
        return Ok(stop.report());
    }
    let workers: Vec<_> = (0..options.connections)
        .map(|_| {
            let worker = work(exchange.clone(), Arc::clone(&schedule), stop.clone());
            tokio::spawn(worker)
        })
        .collect();
    for worker in workers {
        worker.await?;
    }
    Ok(stop.report())
}

/// Hands out the moments at which requests begin.
struct Schedule {
    next: AtomicU64,
    requests: u64,
    interval: Option<Duration>,
    start: Instant,
    end: Instant,
}

impl Schedule {
    /// When the next request begins; `None` when there is none.
    fn take(&self) -> Option<Instant> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let due = match self.interval {
            Some(interval) => self.start + interval.mul_f64(number_as_f64(number)),
            None => Instant::now(),
        };
        (number < self.requests && due < self.end).then_some(due)
    }
}

async fn work(mut exchange: Exchange, schedule: Arc<Schedule>, stop: Stop) {
    while let Some(due) = schedule.take() {
        tokio::select! {
            () = stop.token.cancelled() => return,
            () = tokio::time::sleep_until(due) => {}
        }
        if stop.token.is_cancelled() {
            return;
        }
        let failed = send(&mut exchange, due, &schedule, &stop).await;
        if failed && schedule.interval.is_none() {
            tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
        }
    }
}

/// Sends one request that was due then, and counts it; whether it failed.
async fn send(exchange: &mut Exchange, due: Instant, schedule: &Schedule, stop: &Stop) -> bool {
    let (outcome, opened) = exchange.once().await;
    let mut tally = stop.tally.lock();
    tally.opened(opened);
    // Measured from when the request was due: a client that is held up must not hide it.
    tally.record(&outcome, due - schedule.start, due.elapsed());
    outcome.failure.is_some()
}

fn parse_method(text: &str) -> Result<String, String> {
    http::Method::from_bytes(text.as_bytes())
        .map(|_| text.to_owned())
        .map_err(|error| format!("method {text:?}: {error}"))
}

/// Exact below 2^53, which ten minutes of requests do not reach.
#[expect(
    clippy::cast_precision_loss,
    reason = "ten minutes of requests stay far below 2^53"
)]
fn number_as_f64(number: u64) -> f64 {
    number as f64
}
