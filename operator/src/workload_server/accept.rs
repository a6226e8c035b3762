//! Connections of proxies.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::{CertificateDer, UnixTime};
use smilax_core::admission::Activity;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::crowd::{Crowd, Place};
use super::handshakes::Handshakes;
use super::peer::Peer;
use super::route::{Caller, Server};
use super::tls::{Contexts, TlsContext};
use super::transport::Listen;
use crate::sources::Sources;

/// Connections at once; more wait in the kernel's queue. A proxy keeps one.
const CONNECTIONS: usize = 16_384;
/// Of them, those of one address: a node's, where addresses are translated. Networks need no limit here: until a connection
/// has proven a pod's identity it counts as a handshake or as a stranger's, and a pod has few ([`Crowd`]).
const CONNECTIONS_OF_ONE: usize = 512;
/// Handshakes under way at once; more wait.
const HANDSHAKES: usize = 1024;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long a connection without an identity may live: long enough for one certificate.
const STRANGERS_TIME: Duration = Duration::from_secs(30);
const STREAMS: u32 = 8;
/// How often a proxy is asked whether it lives. The kernel notices sooner when its machine or its process is gone; this is
/// for one that hangs. Thousands of answers would be most of what proxies cost while nothing happens.
const KEEP_ALIVE: Duration = Duration::from_mins(2);
const KEEP_ALIVE_TIME: Duration = Duration::from_secs(20);
const HEADER_BYTES: u32 = 16 * 1024;
/// What may be under way towards us, for each stream and each connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 128 * 1024;
/// What may wait to be sent, for each stream.
const SEND_BUFFER: usize = 64 * 1024;
const DRAIN: Duration = Duration::from_secs(2);
const AFTER_ACCEPT_ERROR: Duration = Duration::from_millis(100);

/// Serves proxies on `listener` until `shutdown`. While there is no authority, connections are closed at once; proxies
/// come back.
///
/// Where several things happen at once they are taken in a fixed order, here and wherever streams are served, so that a
/// simulated run can be repeated.
pub async fn serve(listener: impl Listen, server: Arc<Server>, shutdown: CancellationToken) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    let sources = Sources::new(CONNECTIONS_OF_ONE);
    let shaking = Handshakes::new();
    let crowd = Arc::new(Crowd::new());
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        let (stream, address, slot) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "workload port: accept failed");
                tokio::time::sleep(AFTER_ACCEPT_ERROR).await;
                continue;
            }
        };
        let places = sources.enter(address).zip(shaking.begin(address));
        let Some((place, shaking)) = places else {
            server.count_handshake("too_many");
            continue;
        };
        let (server, handshakes, crowd) = (Arc::clone(&server), Arc::clone(&handshakes), Arc::clone(&crowd));
        let closing = shutdown.clone();
        connections.spawn(async move {
            let shaken = Box::pin(shake(stream, address, &server, &handshakes)).await;
            drop(shaking);
            if let Some(serving) =
                shaken.and_then(|shaken| serving(shaken, address, &server, &crowd, closing))
            {
                serving.await;
            }
            drop((slot, place));
        });
    }
    connections.close();
    if timeout(DRAIN, connections.wait()).await.is_err() {
        tracing::debug!("proxies' connections were still open at the end");
    }
}

async fn accept<L: Listen>(
    listener: &L,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(L::Stream, IpAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address.ip().to_canonical(), slot))
}

/// A connection whose handshake is done.
struct Shaken<S> {
    stream: TlsStream<S>,
    /// What it was done with.
    context: Arc<TlsContext>,
}

async fn shake<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    address: IpAddr,
    server: &Server,
    handshakes: &Semaphore,
) -> Option<Shaken<S>> {
    let Some(context) = server.contexts.borrow().clone() else {
        server.count_handshake("no_authority");
        return None;
    };
    let acceptor = TlsAcceptor::from(Arc::clone(&context.server));
    let handshake = async {
        let _under_way = handshakes.acquire().await;
        acceptor.accept(stream).await
    };
    match timeout(HANDSHAKE_TIME, handshake).await {
        Ok(Ok(stream)) => Some(Shaken { stream, context }),
        Ok(Err(error)) => {
            server.count_handshake("failed");
            tracing::debug!(%address, %error, "workload handshake failed");
            None
        }
        Err(_) => {
            server.count_handshake("slow");
            None
        }
    }
}

/// Serves what comes over a connection, until it ends; nothing when the peer's certificate says nothing of use.
///
/// A task is as large as all that it ever holds. So what lasts is on the heap by itself, and what only the handshake or
/// an answer's beginning needs is given back: there are thousands of connections.
fn serving<S>(
    shaken: Shaken<S>,
    address: IpAddr,
    server: &Arc<Server>,
    crowd: &Crowd,
    closing: CancellationToken,
) -> Option<impl Future<Output = ()> + use<S>>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let Shaken { stream, context } = shaken;
    let chain: Vec<CertificateDer<'static>> = stream
        .get_ref()
        .1
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|der| der.clone().into_owned())
        .collect();
    let peer = if chain.is_empty() {
        None
    } else {
        match context.peer(&chain, UnixTime::now()) {
            Ok(peer) => Some(peer),
            Err(error) => {
                server.count_handshake("identity");
                tracing::warn!(%address, %error, "a certificate of ours says nothing of use");
                return None;
            }
        }
    };
    let gave_way = CancellationToken::new();
    let place = match &peer {
        None => crowd.stranger(address, &gave_way),
        Some(Peer {
            pod_uid: Some(uid), ..
        }) => Some(crowd.pod(uid, &gave_way)),
        Some(_) => Some(Place::Replica),
    };
    let Some(place) = place else {
        server.count_handshake("too_many");
        return None;
    };
    server.count_handshake("ok");
    let mut until = match &peer {
        Some(peer) => until_untrusted(server.contexts.clone(), chain, peer.clone()).boxed(),
        None => tokio::time::sleep(STRANGERS_TIME).boxed(),
    };
    let caller = Arc::new(Caller { address, peer });
    let service = {
        let (server, caller, closing) = (Arc::clone(server), Arc::clone(&caller), closing.clone());
        let activity = place.activity();
        service_fn(move |request| {
            let (server, caller) = (Arc::clone(&server), Arc::clone(&caller));
            let (under_way, closing) = (activity.as_ref().map(Activity::begin), closing.clone());
            async move {
                let answer = server.answer(&caller, request, closing).await;
                drop(under_way);
                Ok::<_, Infallible>(answer)
            }
            .boxed()
        })
    };
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIME)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = Box::pin(connection);
    Some(async move {
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = until.as_mut() => Ok(()),
            () = gave_way.cancelled() => {
                tracing::debug!(%address, "closed a connection that gave way to another");
                Ok(())
            }
            () = closing.cancelled() => {
                connection.as_mut().graceful_shutdown();
                timeout(DRAIN, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%address, %error, "workload connection ended");
        }
        drop(place);
    })
}

/// Ends when nothing vouches for the peer any more: its certificate ran out, or its root is no longer trusted.
async fn until_untrusted(mut contexts: Contexts, chain: Vec<CertificateDer<'static>>, peer: Peer) {
    loop {
        let now = UnixTime::now();
        let expires = peer.not_after.saturating_sub(now.as_secs());
        let trusted = contexts
            .borrow_and_update()
            .as_ref()
            .is_none_or(|context| context.peer(&chain, now).is_ok());
        if !trusted {
            return;
        }
        tokio::select! {
            biased;
            changed = contexts.changed() => if changed.is_err() {
                return;
            },
            () = tokio::time::sleep(Duration::from_secs(expires + 1)) => {}
        }
    }
}
