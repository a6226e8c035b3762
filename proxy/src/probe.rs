//! Asks the application what kubelet wants to know of it.

pub mod grpc;
pub mod tls;

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use smilax_core::probe::{Check, Probe, ProbeTable, Scheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::settings::Settings;

/// Probes of one pod.
#[derive(Debug)]
pub struct Prober {
    table: ProbeTable,
    addresses: Vec<IpAddr>,
}

/// Why the application does not count as healthy.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No probe stands at this path.
    #[error("no probe stands for this path")]
    Unknown,
    /// Nobody accepts the connection.
    #[error("cannot connect to port {0}: {1}")]
    Connect(u16, io::Error),
    /// It took too long.
    #[error("no answer within {0} s")]
    TimedOut(u32),
    /// It answered something else than a success.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// It does not serve, says gRPC.
    #[error("gRPC health is {0}")]
    NotServing(grpc::Health),
    /// It answered nothing that can be understood.
    #[error("it broke off: {0}")]
    Broken(String),
}

impl Failure {
    /// The status that tells kubelet.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unknown => StatusCode::NOT_FOUND,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Prober {
    /// Asks as kubelet would: at the pod's address, else on loopback.
    pub fn new(settings: &Settings) -> Self {
        let mut addresses: Vec<IpAddr> = settings.pod.ips.first().copied().into_iter().collect();
        addresses.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        addresses.dedup();
        Self {
            table: settings.probes.clone(),
            addresses,
        }
    }

    /// Asks what stands at `path`. `headers` are those that kubelet sent.
    ///
    /// # Errors
    /// [`Failure`] when the application is not healthy.
    pub async fn ask(&self, path: &str, headers: &HeaderMap) -> Result<(), Failure> {
        let probe = self.table.get(path).ok_or(Failure::Unknown)?;
        let seconds = probe.timeout_seconds.max(1);
        let limit = Duration::from_secs(seconds.into());
        tokio::time::timeout(limit, self.ask_probe(probe, headers))
            .await
            .unwrap_or(Err(Failure::TimedOut(seconds)))
    }

    async fn ask_probe(&self, probe: &Probe, headers: &HeaderMap) -> Result<(), Failure> {
        let (stream, address) = self.connect(probe.port).await?;
        match &probe.check {
            Check::Tcp => Ok(()),
            Check::Grpc { service } => grpc::check(stream, address, service).await,
            Check::Http {
                path,
                scheme,
                headers: named,
            } => {
                let request = http_request(path, named, address, headers)?;
                match scheme {
                    Scheme::Http => http_get(stream, request).await,
                    Scheme::Https => http_get(tls::unverified(stream, address.ip()).await?, request).await,
                }
            }
        }
    }

    async fn connect(&self, port: u16) -> Result<(TcpStream, SocketAddr), Failure> {
        let mut failure = None;
        for &address in &self.addresses {
            let address = SocketAddr::new(address, port);
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok((stream, address)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let error = failure.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
        Err(Failure::Connect(port, error))
    }
}

/// As kubelet makes it: the probe's own headers, and the name that kubelet goes by.
fn http_request(
    path: &str,
    named: &[(String, String)],
    address: SocketAddr,
    kubelet: &HeaderMap,
) -> Result<Request<Empty<Bytes>>, Failure> {
    let broken = |error: &dyn std::fmt::Display| Failure::Broken(format!("the probe is not usable: {error}"));
    let target = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let mut request = Request::get(target)
        .body(Empty::new())
        .map_err(|error| broken(&error))?;
    let headers = request.headers_mut();
    for (name, value) in named {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| broken(&error))?;
        let value = HeaderValue::from_str(value).map_err(|error| broken(&error))?;
        if name == HOST || name == USER_AGENT {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    if !headers.contains_key(HOST) {
        let host = HeaderValue::from_str(&address.to_string()).map_err(|error| broken(&error))?;
        headers.insert(HOST, host);
    }
    if let Some(agent) = kubelet.get(USER_AGENT)
        && !headers.contains_key(USER_AGENT)
    {
        headers.insert(USER_AGENT, agent.clone());
    }
    Ok(request)
}

async fn http_get<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| Failure::Broken(error.to_string());
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let response = tokio::select! {
        response = sender.send_request(request) => response.map_err(broken)?,
        ended = connection => return Err(Failure::Broken(ended.err().map_or_else(|| "no answer".to_owned(), |error| error.to_string()))),
    };
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(Failure::Status(status))
    }
}
