//! Connections of the API server.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::server::ResolvesServerCert;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use smilax_core::admission::{Activity, Admissions, Busy, Caps, Load, Quiet, Share};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::WebhookState;
use super::route::{self, Routes};
use crate::certificate::CertificateResolver;

/// Connections at once; for each that is above, another has to end, since nobody knows the addresses of API servers. They
/// keep few and send many requests over each.
const PLACES: Caps = Caps {
    all: 256,
    of_one: 128,
};
/// Go opens another connection when it needs more.
const STREAMS: u32 = 32;
/// What requests under way may take by their headers, in all. A source that has more under way is refused first.
const REQUESTS: usize = 16 * 1024 * 1024;
/// What a request takes beside its headers, about: a stream, a task, timers.
const REQUEST: usize = 8 * 1024;
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
const HEADER_TIME: Duration = Duration::from_secs(10);
/// For the first request: an API server connects when it has one.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Without a request. API servers connect again when they have one.
const IDLE: Duration = Duration::from_mins(5);
/// A connection takes no more requests then.
const OLD: Duration = Duration::from_hours(1);
/// How often it is looked whether that is so.
const LOOK: Duration = Duration::from_secs(2);
/// For the requests of a connection that is to end. An API server gives up after 30 s at the latest.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// An idle HTTP/2 connection is asked whether the other side still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const HEADER_BYTES: u32 = 8 * 1024;
/// Bytes of requests that nobody has read yet, for each stream and each connection: what 256 connections may hold before
/// a body is charged to the budget.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// The same for HTTP/1, heads included.
const READ_BUFFER: usize = 64 * 1024;
/// After a shutdown has been asked for, callers still come for a while: until every node has heard of it.
const LINGER: Duration = Duration::from_secs(2);
/// For requests that are under way then.
const DRAIN: Duration = Duration::from_secs(2);
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// Serves the webhooks on `listener` until `shutdown`, then a few seconds more for callers that have not heard of it yet
/// and requests under way. A handshake fails while `tls` has no certificate; the API server tries again.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<CertificateResolver>,
    state: WebhookState,
    shutdown: CancellationToken,
) {
    let acceptor = match config(tls) {
        Ok(config) => TlsAcceptor::from(Arc::new(config)),
        Err(error) => {
            tracing::error!(%error, "webhooks cannot be served: TLS is not configured");
            return;
        }
    };
    let routes = Arc::new(Routes::new(state));
    let admissions = Admissions::new(PLACES, Busy::GivesWay);
    let load = Load::new(REQUESTS);
    let connections = TaskTracker::new();
    let closing = CancellationToken::new();
    let stop = async {
        shutdown.cancelled().await;
        tokio::time::sleep(LINGER).await;
    };
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, client)) => {
                // A review is one small answer behind the last bytes of a handshake: with Nagle's algorithm it would wait for their acknowledgement, which
                // the other end delays by 40 ms.
                if stream.set_nodelay(true).is_err() {
                    continue;
                }
                let (activity, end) = (Activity::handshaking(), CancellationToken::new());
                let Some((place, gives_way)) = admissions.enter(client.ip(), &activity, end.clone()) else {
                    continue;
                };
                if let Some(other) = gives_way {
                    other.cancel();
                }
                let (acceptor, closing) = (acceptor.clone(), closing.clone());
                let server = Server {
                    routes: Arc::clone(&routes),
                    client: client.ip(),
                    activity,
                    load: Arc::clone(&load),
                    share: Arc::clone(place.share()),
                };
                connections.spawn(async move {
                    tokio::select! {
                        () = connection(stream, acceptor, &server, closing) => {}
                        () = end.cancelled() => tracing::debug!(%client, "closed a connection that gave way to another"),
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "webhook port: accept failed");
                tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
            }
        }
    }
    closing.cancel();
    connections.close();
    if timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::warn!("webhook requests were still under way at the end");
    }
}

/// What answers the requests of one connection.
struct Server {
    routes: Arc<Routes>,
    client: IpAddr,
    activity: Arc<Activity>,
    load: Arc<Load>,
    /// What requests of its source cost.
    share: Arc<Share>,
}

/// What a request costs before its body is charged.
fn cost(headers: &HeaderMap) -> usize {
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len();
    REQUEST + 2 * headers.iter().map(bytes).sum::<usize>()
}

async fn connection(stream: TcpStream, acceptor: TlsAcceptor, server: &Server, closing: CancellationToken) {
    let stream = match timeout(HANDSHAKE_TIME, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "webhook handshake failed");
            return;
        }
        Err(_) => {
            tracing::debug!("webhook handshake took too long");
            return;
        }
    };
    server.activity.shaken();
    let service = service_fn(|request: Request<Incoming>| {
        let (routes, under_way) = (Arc::clone(&server.routes), server.activity.begin());
        let permit = server.load.admit(&server.share, cost(request.headers()));
        let client = server.client;
        async move {
            let answer = match &permit {
                Some(_) => routes.answer(client, request).await,
                None => route::busy(),
            };
            drop((permit, under_way));
            Ok::<_, Infallible>(answer)
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(READ_BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEP_ALIVE);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = outlived(&server.activity) => {
            connection.as_mut().graceful_shutdown();
            timeout(REQUEST_TIME, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "webhook connection ended");
    }
}

/// Completes when a connection is of no more use.
async fn outlived(activity: &Activity) {
    let begun = Instant::now();
    let mut quiet = Quiet::begins(Duration::ZERO);
    loop {
        tokio::time::sleep(LOOK).await;
        let age = begun.elapsed();
        let idle = if activity.completed() == 0 {
            FIRST_REQUEST
        } else {
            IDLE
        };
        if age >= OLD || quiet.look(activity, age) >= idle {
            return;
        }
    }
}

fn config(tls: Arc<impl ResolvesServerCert + 'static>) -> Result<ServerConfig, rustls::Error> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&versions)?
        .with_no_client_auth()
        .with_cert_resolver(tls);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
