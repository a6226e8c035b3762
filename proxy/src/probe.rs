//! Asks the application what kubelet wants to know of it, as kubelet itself would
//! (`pkg/probe` and `pkg/kubelet/lifecycle` of Kubernetes 1.34).

mod exchange;
pub mod grpc;
mod http_get;
mod request_line;
pub mod tls;
pub mod url;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use bytes::Bytes;
use http::StatusCode;
use http::header::{HeaderMap, HeaderValue, USER_AGENT};
use smilax_core::convention::PROXY_PORTS;
use smilax_core::probe::{Check, Probe, ProbeTable, Purpose};
use tokio::net::TcpStream;

use crate::settings::Settings;
use http_get::{Client, HttpGet};

/// Probes of one pod.
#[derive(Debug)]
pub struct Prober {
    table: ProbeTable,
    address: IpAddr,
}

/// What kubelet is told.
#[derive(Debug)]
pub enum Outcome {
    /// The application is healthy, or the hook was carried out.
    Success,
    /// The application redirects to another host. kubelet counts it as healthy and tells about it in an Event, if it gets
    /// the redirect itself.
    Redirected(Redirect),
    /// The application is not healthy.
    Failure(Failure),
    /// The hook was not carried out. Any answer means success to kubelet, so there must be none.
    HookFailed(Failure),
}

/// A redirect that is not followed.
#[derive(Debug)]
pub struct Redirect {
    /// From 300 to 399.
    pub status: StatusCode,
    /// Where to, which is another host.
    pub location: Option<HeaderValue>,
    /// The first 10 KiB.
    pub body: Bytes,
}

/// Why the application does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The table has no probe for this path.
    #[error("no probe is configured for this path")]
    Unknown,
    /// The application does not accept the connection.
    #[error("cannot connect to port {0}: {1}")]
    Connect(u16, io::Error),
    /// It took too long.
    #[error("no answer within {0} s")]
    TimedOut(u32),
    /// The answer is no success.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// It does not serve, says gRPC.
    #[error("gRPC health is {0}")]
    NotServing(grpc::Health),
    /// gRPC answered with an error.
    #[error("gRPC status {0}: {1}")]
    Rpc(u16, String),
    /// Too many redirects, or one that leads nowhere.
    #[error("{0}")]
    Redirect(String),
    /// HTTP was answered where TLS was expected.
    #[error("it answered HTTP to an HTTPS client")]
    NotTls,
    /// The connection broke in the middle of the body.
    #[error("the body broke off: {0}")]
    Body(hyper::Error),
    /// It answered nothing that can be understood.
    #[error("it broke off: {0}")]
    Broken(String),
}

impl Failure {
    /// The status that tells kubelet: the application's own, since kubelet names it in the Event.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Status(status) if status.as_u16() >= 400 => *status,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Prober {
    /// Asks at the pod's first address, as kubelet does. An application that listens on loopback alone is not ready:
    /// neither kubelet nor a caller reaches it.
    pub fn new(settings: &Settings) -> Self {
        let address = settings.pod.ips.first().copied();
        Self {
            table: settings.probes.clone(),
            address: address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        }
    }

    /// Asks what stands at `path`. `kubelet` are the headers that kubelet sent.
    pub async fn ask(&self, path: &str, kubelet: &HeaderMap) -> Outcome {
        let Some(probe) = find(&self.table, path) else {
            return Outcome::Failure(Failure::Unknown);
        };
        let seconds = probe.timeout_seconds.max(1);
        let limit = Duration::from_secs(seconds.into());
        let outcome = tokio::time::timeout(limit, self.ask_probe(probe, kubelet))
            .await
            .unwrap_or(Err(Failure::TimedOut(seconds)));
        match (outcome, client(probe)) {
            (Ok(Some(redirect)), Client::Probe) => Outcome::Redirected(redirect),
            (Ok(_), _) => Outcome::Success,
            (Err(failure), Client::Probe) => Outcome::Failure(failure),
            (Err(failure), Client::Hook) => Outcome::HookFailed(failure),
        }
    }

    async fn ask_probe(&self, probe: &Probe, kubelet: &HeaderMap) -> Result<Option<Redirect>, Failure> {
        let agent = kubelet.get(USER_AGENT);
        match &probe.check {
            Check::Tcp => self.connect(probe.port).await.map(|_| None),
            Check::Grpc { service } => {
                let stream = self.connect(probe.port).await?;
                let address = SocketAddr::new(self.address, probe.port);
                grpc::check(stream, address, service, agent, probe.timeout_seconds).await?;
                Ok(None)
            }
            Check::Http {
                path,
                scheme,
                headers,
            } => {
                let client = client(probe);
                let get = HttpGet::new(self, client, headers, agent)?;
                get.ask(*scheme, probe.port, path).await
            }
        }
    }

    async fn connect(&self, port: u16) -> Result<TcpStream, Failure> {
        // A redirect may name any port of the pod. Those of the proxy answer nobody without a mesh.
        if PROXY_PORTS.contains(&port) {
            return Err(Failure::Connect(port, io::ErrorKind::ConnectionRefused.into()));
        }
        TcpStream::connect((self.address, port))
            .await
            .map_err(|error| Failure::Connect(port, error))
    }
}

/// The probe that stands at this path. The path holds the key of the pod, so how long it takes must not tell how much of it is right.
fn find<'a>(table: &'a ProbeTable, path: &str) -> Option<&'a Probe> {
    table.0.iter().fold(None, |found, probe| {
        let same = verify_slices_are_equal(probe.path.as_bytes(), path.as_bytes()).is_ok();
        if same { Some(probe) } else { found }
    })
}

fn client(probe: &Probe) -> Client {
    match probe.purpose() {
        Some(Purpose::PostStart | Purpose::PreStop) => Client::Hook,
        Some(Purpose::Liveness | Purpose::Readiness | Purpose::Startup) | None => Client::Probe,
    }
}
