//! Serving a client's connection, and deciding for each of its requests.

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONNECTION, HeaderValue};
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::LocalExecutor;
use super::body::{RequestBody, ResponseBody};
use super::errors::{Form, Refusal};
use super::expect::{self, Gate};
use super::headers::{self, Upgrade};
use super::pool::{Hold, Pool};
use super::upstream::{self, Protocol};
use crate::connection::{Connection, Direction, Target};
use crate::drain::Stage;
use crate::metrics::traffic::{Recording, RequestProtocol};
use crate::transport::{ClientStream, HeadClock, HeadLimits};
use crate::{inbound, outbound};

/// Bytes of a request's headers at most.
const HEADER_BYTES: usize = 64 * 1024;
/// Bytes buffered of a connection of HTTP/1 at most.
const BUFFER_BYTES: usize = 128 * 1024;
/// Streams of a connection of HTTP/2 at most.
const STREAMS: u32 = 1000;
/// Bytes that a client may send on one stream before the server has taken them.
const STREAM_WINDOW: u32 = 512 * 1024;
/// The same on one connection.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// Bytes waiting to be sent on one stream at most.
const SEND_BUFFER: usize = 256 * 1024;

/// Which version of HTTP a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// How connections from clients are served.
#[derive(Clone, Debug)]
pub struct Servers {
    http1: http1::Builder,
    http2: http2::Builder<LocalExecutor>,
}

impl Servers {
    /// Servers that change nothing of what they pass on, and bound everything that they read. Names of headers are in
    /// lower case afterwards, as they always are in HTTP/2; they mean the same in any case (RFC 9110 section 5.1).
    pub fn new() -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .max_header_size(HEADER_BYTES)
            .max_buf_size(BUFFER_BYTES)
            .auto_date_header(false)
            // The stream keeps the time itself: hyper would count the time between requests too.
            .header_read_timeout(None);
        let mut http2 = http2::Builder::new(LocalExecutor);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEADER_BYTES.try_into().unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .auto_date_header(false);
        Self { http1, http2 }
    }
}

impl Default for Servers {
    fn default() -> Self {
        Self::new()
    }
}

/// Serves a client's connection until it ends. Draining ends it gently, between two requests.
///
/// # Errors
/// When the client breaks off, or sends what is no HTTP.
pub async fn serve(connection: Connection, stream: TcpStream, version: Version) -> hyper::Result<()> {
    match version {
        Version::Http1 => serve_http1(connection, stream).await,
        Version::Http2 => serve_http2(connection, stream).await,
    }
}

async fn serve_http1(connection: Connection, stream: TcpStream) -> hyper::Result<()> {
    let worker = Rc::clone(&connection.worker);
    let limits = worker.shared.settings.limits;
    let clock = Arc::new(HeadClock::default());
    let stream = ClientStream::new(
        stream,
        Arc::clone(&clock),
        HeadLimits {
            head: limits.header_read,
            idle: limits.idle,
        },
    );
    let service = service_fn(move |request| {
        clock.request_begins();
        let exchange = Exchange {
            connection: connection.clone(),
            clock: Some(Arc::clone(&clock)),
            protocol: Protocol::Http1,
        };
        exchange.answer(request)
    });
    let served = worker
        .servers
        .http1
        .serve_connection(stream, service)
        .with_upgrades();
    let mut served = pin!(served);
    tokio::select! {
        result = served.as_mut() => return result,
        () = worker.shared.lifecycle.stopping().cancelled() => served.as_mut().graceful_shutdown(),
    }
    served.await
}

async fn serve_http2(connection: Connection, stream: TcpStream) -> hyper::Result<()> {
    let worker = Rc::clone(&connection.worker);
    let lifecycle = &worker.shared.lifecycle;
    let end = match connection.direction {
        Direction::Inbound => lifecycle.draining(),
        Direction::Outbound => lifecycle.stopping(),
    };
    let service = service_fn(move |request| {
        let exchange = Exchange {
            connection: connection.clone(),
            clock: None,
            protocol: Protocol::Http2,
        };
        exchange.answer(request)
    });
    let served = worker
        .servers
        .http2
        .serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    tokio::select! {
        result = served.as_mut() => return result,
        () = end.cancelled() => served.as_mut().graceful_shutdown(),
    }
    served.await
}

/// One request and its response.
struct Exchange {
    connection: Connection,
    clock: Option<Arc<HeadClock>>,
    protocol: Protocol,
}

impl Exchange {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<ResponseBody>, Infallible> {
        let (form, counted_as) = if headers::is_grpc(request.headers()) {
            (Form::Grpc, RequestProtocol::Grpc)
        } else {
            (Form::Plain, RequestProtocol::Http)
        };
        let worker = &self.connection.worker;
        let mut recording = match self.connection.direction {
            Direction::Outbound => worker.unknown_telemetry.request(counted_as),
            Direction::Inbound => worker.inbound_telemetry.request(counted_as),
        };
        let mut response = match self.carry(request, &mut recording).await {
            Ok((response, hold)) => {
                recording.status(response.status());
                if let Some(status) = response.headers().get("grpc-status") {
                    recording.grpc_status(status.as_bytes());
                }
                let clock = self.clock.clone();
                response.map(|body| ResponseBody::upstream(body, hold, recording, clock))
            }
            Err(refusal) => {
                tracing::debug!(original = %self.connection.original, %refusal, "answered a request");
                refusal.answer(form, recording, self.clock.clone())
            }
        };
        if self.asks_to_go_elsewhere() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    /// A caller that keeps a connection of HTTP/1 is told to make another; HTTP/2 has its own way.
    fn asks_to_go_elsewhere(&self) -> bool {
        self.protocol == Protocol::Http1
            && match (
                self.connection.direction,
                self.connection.worker.shared.lifecycle.stage(),
            ) {
                (_, Stage::Stopping) | (Direction::Inbound, Stage::Draining) => true,
                (_, Stage::Serving) | (Direction::Outbound, Stage::Draining) => false,
            }
    }

    async fn carry(
        &self,
        mut request: Request<Incoming>,
        recording: &mut Recording,
    ) -> Result<(Response<Incoming>, Hold), Refusal> {
        let on_upgrade = (self.protocol == Protocol::Http1).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        headers::check(&parts)?;
        let target = self.target(&parts, recording)?;
        let upgrade = headers::strip_request(&mut parts);
        upstream::prepare(&mut parts, self.protocol, self.connection.original);
        let waits = self.protocol == Protocol::Http1 && expect::is_expected(&parts.headers);
        let mut request = Request::from_parts(parts, body);
        let gate = waits.then(|| Gate::new(&mut request));
        let request = request.map(|body| match gate {
            Some(gate) => RequestBody::Gated(body, gate),
            None => RequestBody::Client(body),
        });
        let endpoint = self.pool().endpoint(target.address);
        let retries = &self.connection.worker.shared.metrics.retries;
        let (mut response, hold) = upstream::send(&endpoint, self.protocol, request, retries).await?;
        headers::strip_response(response.status(), response.headers_mut());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS
            && let (Upgrade::To(_), Some(client)) = (upgrade, on_upgrade)
        {
            let server = hyper::upgrade::on(&mut response);
            super::upgrade::carry(&self.connection.worker, target.telemetry, client, server);
        }
        Ok((response, hold))
    }

    fn target(&self, parts: &Parts, recording: &mut Recording) -> Result<Target, Refusal> {
        let Connection {
            worker,
            direction,
            original,
        } = &self.connection;
        match direction {
            Direction::Inbound => Ok(inbound::target(worker, *original)),
            Direction::Outbound => outbound::request_target(worker, *original, parts, |target| {
                recording.concerns(&target.telemetry);
            }),
        }
    }

    fn pool(&self) -> &Pool {
        match self.connection.direction {
            Direction::Inbound => &self.connection.worker.inbound,
            Direction::Outbound => &self.connection.worker.outbound,
        }
    }
}
