//! Requests and connections, by who talked to whom.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ::http::StatusCode;
use prometheus::{Histogram, IntCounter, IntCounterVec, Opts, Registry};
use smilax_core::{DestinationName, SpiffeId, grpc};

use super::peers::{HTTP_LABELS, OVERFLOW, Peers, TCP_LABELS};
use super::{Metrics, Room, registered};
use crate::tcp::Meter;

/// Istio's bounds, in milliseconds.
pub(crate) const DURATION_BUCKETS: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

pub(crate) type SeriesKey = (Peers, Option<HttpKey>);

/// What distinguishes requests between the same two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HttpKey {
    protocol: RequestProtocol,
    code: u16,
    flags: Flags,
    grpc: Option<u16>,
}

/// What a request is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestProtocol {
    /// HTTP of any version.
    Http,
    /// gRPC.
    Grpc,
}

/// What went wrong, in Envoy's letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Flags {
    /// Nothing.
    #[default]
    None,
    /// No connection upstream.
    UpstreamFailure,
    /// Nowhere to connect to.
    NoHealthyUpstream,
    /// The connection upstream ended before the response did.
    UpstreamTermination,
    /// The client went away before the response ended.
    DownstreamTermination,
    /// The client's request is not acceptable.
    DownstreamProtocolError,
    /// There was no room for the request.
    Overflow,
}

/// What one worker measures about one destination. Series are looked up once and kept.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Arc<Metrics>,
    peers: Peers,
    http: RefCell<Vec<(HttpKey, HttpSeries)>>,
    tcp: RefCell<Option<Rc<TcpSeries>>>,
}

#[derive(Clone, Debug)]
struct HttpSeries {
    requests: IntCounter,
    durations: Histogram,
}

#[derive(Debug)]
pub(crate) struct TcpVectors {
    opened: IntCounterVec,
    closed: IntCounterVec,
    sent: IntCounterVec,
    received: IntCounterVec,
}

#[derive(Debug)]
struct TcpSeries {
    opened: IntCounter,
    closed: IntCounter,
    sent: IntCounter,
    received: IntCounter,
}

/// A request under way. It is counted when this is dropped: a client that goes away drops it early.
#[derive(Debug)]
pub struct Recording {
    telemetry: Rc<Telemetry>,
    started: Instant,
    protocol: RequestProtocol,
    outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
struct Outcome {
    code: u16,
    flags: Flags,
    grpc: Option<u16>,
    finished: bool,
}

/// A TCP connection under way. It is counted as closed when this is dropped.
#[derive(Debug)]
pub struct TcpRecording(Rc<TcpSeries>);

impl Flags {
    fn letters(self) -> &'static str {
        match self {
            Self::None => "-",
            Self::UpstreamFailure => "UF",
            Self::NoHealthyUpstream => "UH",
            Self::UpstreamTermination => "UC",
            Self::DownstreamTermination => "DC",
            Self::DownstreamProtocolError => "DPE",
            Self::Overflow => "UO",
        }
    }
}

impl RequestProtocol {
    fn text(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Grpc => "grpc",
        }
    }
}

impl TcpVectors {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let vector = |name: &str, help: &str| {
            let labels = HTTP_LABELS.get(..TCP_LABELS).unwrap_or_default();
            registered(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        Ok(Self {
            opened: vector("istio_tcp_connections_opened_total", "TCP connections opened")?,
            closed: vector("istio_tcp_connections_closed_total", "TCP connections closed")?,
            sent: vector("istio_tcp_sent_bytes_total", "Bytes sent to clients in response")?,
            received: vector("istio_tcp_received_bytes_total", "Bytes received from clients")?,
        })
    }

    fn series(&self, peers: &Peers) -> TcpSeries {
        let mut labels: Vec<&str> = peers.values().collect();
        labels.extend(["tcp", Flags::None.letters()]);
        TcpSeries {
            opened: self.opened.with_label_values(&labels),
            closed: self.closed.with_label_values(&labels),
            sent: self.sent.with_label_values(&labels),
            received: self.received.with_label_values(&labels),
        }
    }
}

impl Telemetry {
    /// What is measured about what this pod sends to `destination`.
    pub fn outbound(metrics: &Arc<Metrics>, destination: Option<&DestinationName>) -> Rc<Self> {
        let peers = Peers::outbound(&metrics.pod, destination, &metrics.cluster_domain);
        Self::new(metrics, peers)
    }

    /// What is measured about what this pod is sent; `proven` is who calls, and who this pod is, where both have
    /// proven it.
    pub fn inbound(metrics: &Arc<Metrics>, proven: Option<(&SpiffeId, &SpiffeId)>) -> Rc<Self> {
        Self::new(metrics, Peers::inbound(&metrics.pod, proven))
    }

    fn new(metrics: &Arc<Metrics>, peers: Peers) -> Rc<Self> {
        Rc::new(Self {
            metrics: Arc::clone(metrics),
            peers,
            http: RefCell::default(),
            tcp: RefCell::default(),
        })
    }

    /// Begins to measure a request.
    pub fn request(self: &Rc<Self>, protocol: RequestProtocol) -> Recording {
        Recording {
            telemetry: Rc::clone(self),
            started: Instant::now(),
            protocol,
            outcome: Outcome {
                code: 0,
                flags: Flags::None,
                grpc: None,
                finished: false,
            },
        }
    }

    /// Begins to measure a TCP connection.
    pub fn connection(&self) -> TcpRecording {
        let mut cached = self.tcp.borrow_mut();
        let series = cached.get_or_insert_with(|| {
            let peers = match self.metrics.room_for((self.peers.clone(), None)) {
                Room::Left => self.peers.clone(),
                Room::Full => self.peers.overflow(),
            };
            Rc::new(self.metrics.tcp.series(&peers))
        });
        series.opened.inc();
        TcpRecording(Rc::clone(series))
    }

    fn record(&self, key: HttpKey, started: Instant) {
        let milliseconds = started.elapsed().as_secs_f64() * 1000.0;
        let mut cached = self.http.borrow_mut();
        if let Some((_, series)) = cached.iter().find(|(known, _)| *known == key) {
            series.add(milliseconds);
            return;
        }
        let series = self.series(key);
        series.add(milliseconds);
        cached.push((key, series));
    }

    fn series(&self, key: HttpKey) -> HttpSeries {
        let code = key.code.to_string();
        let grpc = key.grpc.map_or_else(String::new, |status| status.to_string());
        let (peers, code) = match self.metrics.room_for((self.peers.clone(), Some(key))) {
            Room::Left => (self.peers.clone(), code.as_str()),
            Room::Full => (self.peers.overflow(), OVERFLOW),
        };
        let mut labels: Vec<&str> = peers.values().collect();
        labels.extend([key.protocol.text(), key.flags.letters(), code, &grpc]);
        HttpSeries {
            requests: self.metrics.requests.with_label_values(&labels),
            durations: self.metrics.durations.with_label_values(&labels),
        }
    }
}

impl HttpSeries {
    fn add(&self, milliseconds: f64) {
        self.requests.inc();
        self.durations.observe(milliseconds);
    }
}

impl Recording {
    /// The response has this status.
    pub fn status(&mut self, status: StatusCode) {
        self.outcome.code = status.as_u16();
    }

    /// gRPC says that it ended so; codes that do not exist count as unknown (2).
    pub fn grpc_status(&mut self, status: &[u8]) {
        if self.protocol == RequestProtocol::Grpc {
            self.outcome.grpc = Some(grpc::parse_status(status));
        }
    }

    /// Something went wrong.
    pub fn flag(&mut self, flags: Flags) {
        self.outcome.flags = flags;
    }

    /// The response has ended.
    pub fn finish(&mut self) {
        self.outcome.finished = true;
    }

    /// Namespace and name of the destination that it counts for.
    pub fn destination(&self) -> (&str, &str) {
        self.telemetry.peers.destination()
    }

    /// Counts for another destination from here on.
    pub fn concerns(&mut self, telemetry: &Rc<Telemetry>) {
        self.telemetry = Rc::clone(telemetry);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let Outcome {
            code,
            mut flags,
            grpc,
            finished,
        } = self.outcome;
        if !finished && flags == Flags::None {
            flags = Flags::DownstreamTermination;
        }
        let key = HttpKey {
            protocol: self.protocol,
            code,
            flags,
            grpc,
        };
        self.telemetry.record(key, self.started);
    }
}

impl Meter for TcpRecording {
    fn received(&self, bytes: u64) {
        self.0.received.inc_by(bytes);
    }

    fn sent(&self, bytes: u64) {
        self.0.sent.inc_by(bytes);
    }
}

impl Drop for TcpRecording {
    fn drop(&mut self) {
        self.0.closed.inc();
    }
}
