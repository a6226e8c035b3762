//! Connections of the API server.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::server::ResolvesServerCert;
use rustls::{ServerConfig, crypto::aws_lc_rs};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::WebhookState;
use super::route::Routes;
use crate::certificate::CertificateResolver;
use crate::sources::Sources;

/// Connections at once; more wait in the kernel's queue. An API server keeps few and sends many requests over each.
const CONNECTIONS: usize = 256;
/// Of them, those of one address; more are closed. API servers are few, and several may share an address.
const CONNECTIONS_OF_ONE: usize = CONNECTIONS / 2;
const STREAMS: u32 = 250;
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
const HEADER_TIME: Duration = Duration::from_secs(10);
/// An idle HTTP/2 connection is asked whether the other side still lives.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const HEADER_BYTES: u32 = 16 * 1024;
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
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let sources = Sources::new(CONNECTIONS_OF_ONE);
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
            accepted = accept(&listener, &slots) => accepted,
        };
        match accepted {
            Ok((stream, client, slot)) => {
                let Some(place) = sources.enter(client.ip()) else {
                    tracing::debug!(%client, "closed a connection: its address has enough of them");
                    continue;
                };
                let (acceptor, routes, closing) = (acceptor.clone(), Arc::clone(&routes), closing.clone());
                connections.spawn(async move {
                    connection(stream, acceptor, routes, closing).await;
                    drop((slot, place));
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

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, client) = listener.accept().await?;
    Ok((stream, client, slot))
}

async fn connection(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    routes: Arc<Routes>,
    closing: CancellationToken,
) {
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
    let service = service_fn(move |request| {
        let routes = Arc::clone(&routes);
        async move { Ok::<_, Infallible>(routes.answer(request).await) }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .keep_alive_interval(KEEP_ALIVE);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = closing.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error, "webhook connection ended");
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
