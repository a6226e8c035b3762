//! How a connection to the application begins: who calls is found out first, then what is spoken.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use smilax_core::access::Plaintext;
use smilax_core::config::Protocol;
use tokio::net::TcpStream;

use super::Secured;
use crate::access::Caller;
use crate::connection::{Connection, patience};
use crate::detect::{self, Patience, Spoken};
use crate::http::server::Version;
use crate::inbound;
use crate::overload::Admitted;
use crate::tcp::CarryError;
use crate::tls::{Peer, Wire};
use crate::transport::{Stream, TlsFailure};
use crate::worker::Worker;

/// Finds out who calls, and refuses who must prove that and does not, before the application sees a byte.
pub(crate) async fn carry(
    worker: &Rc<Worker>,
    admitted: Arc<Admitted>,
    stream: TcpStream,
    client: SocketAddr,
    original: SocketAddr,
) -> Result<(), CarryError> {
    let worker = Rc::clone(worker);
    let spoken = match first_patience(&worker, client, original) {
        Some(patience) => detect::wait(&stream, patience).await?,
        None => None,
    };
    match spoken {
        Some(Spoken::Tls) => Box::pin(carry_tls(worker, admitted, stream, client, original)).await,
        _ => {
            Box::pin(carry_plaintext(
                worker, admitted, stream, client, original, spoken,
            ))
            .await
        }
    }
}

/// How long somebody from outside may say nothing at first. Other proxies begin at once; who does not is none of them,
/// and may be waiting for the application to begin. `None`: nobody need be waited for.
fn first_patience(worker: &Worker, client: SocketAddr, original: SocketAddr) -> Option<Patience> {
    let limits = worker.shared.settings.limits;
    let secured = worker.shared.tls.load().is_some();
    let known = worker.server_first.borrow().knows(silent(client, original));
    let plaintext = inbound::plaintext(worker, client.ip(), original.port());
    match inbound::protocol(worker, original) {
        _ if plaintext == Plaintext::Refused => Some(patience(limits.handshake, limits.handshake)),
        Protocol::Http => Some(patience(limits.idle, limits.header_read)),
        Protocol::Tcp | Protocol::Detect if secured && known => {
            Some(patience(limits.detect / 10, limits.detect))
        }
        Protocol::Tcp if !secured => None,
        Protocol::Detect if known => None,
        Protocol::Tcp | Protocol::Detect => Some(patience(limits.detect, limits.detect)),
    }
}

/// What is remembered of a client that lets the application speak first: it is no proxy.
fn silent(client: SocketAddr, original: SocketAddr) -> SocketAddr {
    SocketAddr::new(client.ip().to_canonical(), original.port())
}

/// Carries what begins with TLS: that of another proxy, or the application's own.
async fn carry_tls(
    worker: Rc<Worker>,
    admitted: Arc<Admitted>,
    stream: TcpStream,
    client: SocketAddr,
    original: SocketAddr,
) -> Result<(), CarryError> {
    match Box::pin(secure(&worker, stream, client)).await? {
        Secured::Proxy(stream, wire, peer) => {
            Box::pin(carry_proven(
                worker, admitted, stream, wire, peer, client, original,
            ))
            .await
        }
        Secured::Application(stream) => {
            Box::pin(carry_plaintext(
                worker,
                admitted,
                stream,
                client,
                original,
                Some(Spoken::Tls),
            ))
            .await
        }
    }
}

/// Carries what proves no identity. `spoken` is what the client speaks, if it has said anything.
async fn carry_plaintext(
    worker: Rc<Worker>,
    admitted: Arc<Admitted>,
    stream: TcpStream,
    client: SocketAddr,
    original: SocketAddr,
    spoken: Option<Spoken>,
) -> Result<(), CarryError> {
    let limits = worker.shared.settings.limits;
    let plaintext = inbound::plaintext(&worker, client.ip(), original.port());
    // Who has said nothing yet may still be a proxy that is slow to begin, and who went away without a word, one that
    // only looked whether somebody is there.
    let counts = match spoken {
        Some(Spoken::Bytes) => stream.peek(&mut [0]).await? > 0,
        Some(_) => true,
        None => plaintext == Plaintext::Refused,
    };
    if counts {
        inbound::count_plaintext(&worker, client.ip(), plaintext);
    }
    let telemetry = Rc::clone(&worker.inbound_telemetry);
    let caller = Caller::unknown(client.ip());
    let connection = Rc::new(Connection::inbound(
        &worker, admitted, original, caller, telemetry,
    ));
    if plaintext == Plaintext::Refused {
        return connection.carry_bytes(stream.into()).await;
    }
    match (inbound::protocol(&worker, original), spoken) {
        (Protocol::Http, None) => Err(CarryError::Idle(limits.idle)),
        // What is no HTTP is told so by the server.
        (Protocol::Http, Some(Spoken::Http1 | Spoken::Bytes)) => {
            connection.serve(stream, Version::Http1).await
        }
        (Protocol::Detect, Some(Spoken::Http1)) => connection.serve(stream, Version::Http1).await,
        (Protocol::Http | Protocol::Detect, Some(Spoken::Http2)) => {
            connection.serve(stream, Version::Http2).await
        }
        (Protocol::Tcp, None) if worker.shared.tls.load().is_none() => {
            inbound::count_plaintext(&worker, client.ip(), plaintext);
            connection.carry_bytes(stream.into()).await
        }
        (Protocol::Tcp | Protocol::Detect, None) => Box::pin(carry_silent(connection, stream, client)).await,
        (_, Some(_)) => connection.carry_bytes(stream.into()).await,
    }
}

/// Finds out whether TLS is that of another proxy.
async fn secure(worker: &Rc<Worker>, stream: TcpStream, client: SocketAddr) -> Result<Secured, TlsFailure> {
    let result = inbound::secure(worker, stream, client.ip()).await;
    if let Err(failure) = &result {
        worker
            .shared
            .metrics
            .access
            .tls_failure("inbound", failure.reason());
        tracing::debug!(%client, %failure, "a client did not prove who it is");
    }
    result
}

/// Carries what a caller sends that has proven who it is.
async fn carry_proven(
    worker: Rc<Worker>,
    admitted: Arc<Admitted>,
    stream: Stream,
    wire: Wire,
    peer: Arc<Peer>,
    client: SocketAddr,
    original: SocketAddr,
) -> Result<(), CarryError> {
    let own = worker.shared.tls.load_full().ok_or(TlsFailure::NoIdentity)?;
    let own = &own.own.identity.id;
    let telemetry = worker.telemetry_of_caller(&peer.identity.id, own);
    let caller = Caller::proven(client.ip(), peer, own);
    let connection = Rc::new(Connection::inbound(
        &worker, admitted, original, caller, telemetry,
    ));
    match wire {
        Wire::Http2 => connection.serve(stream, Version::Multiplexed).await,
        Wire::Http1 => connection.serve(stream, Version::Http1).await,
        Wire::Bytes => connection.carry_bytes(stream).await,
    }
}

/// Carries what comes of a client from outside that has said nothing so far. Whoever speaks first decides.
async fn carry_silent(
    connection: Rc<Connection>,
    stream: TcpStream,
    client: SocketAddr,
) -> Result<(), CarryError> {
    let limits = connection.worker.shared.settings.limits;
    let protocol = inbound::protocol(&connection.worker, connection.original);
    let count = || {
        let (worker, port) = (&connection.worker, connection.original.port());
        inbound::count_plaintext(worker, client.ip(), inbound::plaintext(worker, client.ip(), port));
    };
    let patience = patience(limits.idle, limits.detect);
    let refused = connection.judge().is_some_and(|judge| judge.would_refuse(None));
    if refused && protocol == Protocol::Tcp {
        count();
        return connection.carry_bytes(stream.into()).await;
    }
    // Where bytes would be refused, the application is not asked, and only the client can begin.
    let (spoken, upstream) = if refused {
        (detect::wait(&stream, patience).await?, None)
    } else {
        let mut upstream = connection
            .connect(&stream, &mut connection.bytes_target())
            .await?;
        // The application has a connection, so neither silence nor a lack of places is a stranger's.
        let _under_way = connection.admitted.activity.begin();
        tokio::select! {
            biased;
            spoken = detect::wait(&stream, patience) => (spoken?, Some(upstream)),
            greeting = upstream.stream.speaks() => {
                count();
                connection.remember(silent(client, connection.original));
                connection.judged()?;
                let target = connection.bytes_target();
                return connection.between(stream.into(), upstream, &target, &greeting?).await;
            }
        }
    };
    let spoken = spoken.ok_or(CarryError::Idle(limits.idle))?;
    if spoken != Spoken::Tls {
        count();
    }
    match (spoken, upstream) {
        // A proxy that was very slow to begin, perhaps.
        (Spoken::Tls, _) => {
            let worker = Rc::clone(&connection.worker);
            let admitted = Arc::clone(&connection.admitted);
            Box::pin(carry_tls(worker, admitted, stream, client, connection.original)).await
        }
        (Spoken::Http1, _) if protocol == Protocol::Detect => connection.serve(stream, Version::Http1).await,
        (Spoken::Http2, _) if protocol == Protocol::Detect => connection.serve(stream, Version::Http2).await,
        (_, Some(upstream)) => {
            connection.judged()?;
            let target = connection.bytes_target();
            connection
                .between(stream.into(), upstream, &target, &Bytes::new())
                .await
        }
        (_, None) => connection.carry_bytes(stream.into()).await,
    }
}
