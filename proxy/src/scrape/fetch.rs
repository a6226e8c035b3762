//! One GET to the application.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use smilax_core::application_metrics::ApplicationMetrics;
use smilax_core::convention::PROXY_PORTS;
use smilax_core::probe::Scheme;
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use super::{Failure, Format};
use crate::probe::tls;
use crate::transport::BoxedStream;

/// Where the application is asked, before the pod's own addresses: it may listen everywhere, or on loopback alone.
const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// What the application answered.
pub(super) struct Fetched {
    pub(super) format: Format,
    pub(super) text: Vec<u8>,
}

/// Asks for metrics in a form that the scraper takes. `query` holds the parameters that the scraper gave, which are meant
/// for the application: the sidecar knows none.
pub(super) async fn fetch(
    application: &ApplicationMetrics,
    pod: &[IpAddr],
    accepted: Format,
    query: Option<&str>,
    most_bytes: usize,
) -> Result<Fetched, Failure> {
    let (stream, address) = connect(pod, application.port).await?;
    let target = match query {
        Some(query) => format!("{}?{query}", application.path),
        None => application.path.clone(),
    };
    let request = Request::get(target)
        .header(HOST, address.to_string())
        .header(ACCEPT, accepted.asked_for())
        .header(
            USER_AGENT,
            HeaderValue::from_static(concat!("smilax-proxy/", env!("CARGO_PKG_VERSION"))),
        )
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::new())
        .map_err(|error| broken(&error))?;
    match application.scheme {
        Scheme::Http => exchange(Box::new(stream), request, most_bytes).await,
        Scheme::Https => {
            let stream = tls::unverified_http1(stream, address.ip())
                .await
                .map_err(|error| broken(&error))?;
            exchange(Box::new(stream), request, most_bytes).await
        }
    }
}

/// The ports of the sidecar are none of the application: asking them would ask for this answer again.
async fn connect(pod: &[IpAddr], port: u16) -> Result<(TcpStream, SocketAddr), Failure> {
    let mut failed = io::Error::from(io::ErrorKind::ConnectionRefused);
    if PROXY_PORTS.contains(&port) {
        return Err(Failure::Unreachable(failed));
    }
    for address in LOOPBACK.iter().chain(pod) {
        let address = SocketAddr::new(*address, port);
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok((stream, address)),
            Err(error) => failed = error,
        }
    }
    Err(Failure::Unreachable(failed))
}

async fn exchange(
    stream: BoxedStream,
    request: Request<Empty<Bytes>>,
    most_bytes: usize,
) -> Result<Fetched, Failure> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // How the connection ends is known from the answer.
    let _connection = AbortOnDropHandle::new(tokio::task::spawn_local(async move {
        let _ = connection.await;
    }));
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    if response.status() != StatusCode::OK {
        return Err(Failure::Status(response.status()));
    }
    let content_type = response.headers().get(CONTENT_TYPE);
    let content_type = content_type.map(HeaderValue::as_bytes).unwrap_or_default();
    let content_type = String::from_utf8_lossy(content_type).into_owned();
    let format = Format::of(&content_type).ok_or(Failure::Format(content_type))?;
    let mut body = response.into_body();
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| broken(&error))?.into_data() else {
            continue;
        };
        if text.len() + data.len() > most_bytes {
            return Err(Failure::TooLarge);
        }
        text.extend_from_slice(&data);
    }
    Ok(Fetched { format, text })
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::Broken(error.to_string())
}
