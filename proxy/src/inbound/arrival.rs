//! How a connection to the application begins: who calls is found out first, then what is spoken.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smilax_core::access::Plaintext;
use smilax_core::config::Protocol;
use tokio::net::TcpStream;

use super::{Secured, silent};
use crate::access::Caller;
use crate::connection::{Connection, patience};
use crate::detect::{self, Patience, Spoken};
use crate::http::server::Version;
use crate::inbound;
use crate::overload::Admitted;
use crate::settings::Limits;
use crate::tcp::{CarryError, Watch};
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
        Some(patience) => detect::wait_for_proxy(&stream, patience).await?,
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
        Protocol::Http => Some(patience_for_http(&limits)),
        Protocol::Tcp | Protocol::Detect if secured && known => {
            Some(patience(limits.detect / 10, limits.detect))
        }
        Protocol::Tcp if !secured => None,
        Protocol::Detect if known => None,
        Protocol::Tcp | Protocol::Detect => Some(patience(limits.detect, limits.detect)),
    }
}

/// Where the application speaks HTTP, its clients may keep connections for later.
pub(super) fn patience_for_http(limits: &Limits) -> Patience {
    patience(limits.idle, limits.header_read)
}

/// What is remembered of a client that lets the application speak first: it is no proxy.
pub(super) fn silent(client: SocketAddr, original: SocketAddr) -> SocketAddr {
    SocketAddr::new(client.ip().to_canonical(), original.port())
}

/// Carries what begins with TLS: that of another proxy, or the application's own.
pub(super) async fn carry_tls(
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
            // What may have been the beginning of a hello is now known.
            let spoken = detect::so_far(&stream).await?;
            Box::pin(carry_plaintext(
                worker,
                admitted,
                stream,
                client,
                original,
                Some(spoken),
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
    let plaintext = inbound::plaintext(&worker, client.ip(), original.port());
    // Who has said nothing yet may still be a proxy that is slow to begin, and who went away without a word, one that
    // only looked whether somebody is there.
    let counts = match spoken {
        Some(Spoken::Text | Spoken::Bytes) => stream.peek(&mut [0]).await? > 0,
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
        return connection.carry_bytes(stream.into(), Watch::Unwatched).await;
    }
    let protocol = inbound::protocol(&worker, original);
    if protocol == Protocol::Tcp && spoken.is_none() && worker.shared.tls.load().is_none() {
        inbound::count_plaintext(&worker, client.ip(), plaintext);
        return connection.carry_bytes(stream.into(), Watch::Unwatched).await;
    }
    carry_spoken(connection, stream.into(), client, protocol, spoken).await
}

/// Carries what the client speaks, if it has said anything.
async fn carry_spoken(
    connection: Rc<Connection>,
    stream: Stream,
    client: SocketAddr,
    protocol: Protocol,
    spoken: Option<Spoken>,
) -> Result<(), CarryError> {
    match (protocol, spoken) {
        (Protocol::Http, None) => {
            let limits = connection.worker.shared.settings.limits;
            Err(CarryError::Idle(limits.idle))
        }
        (Protocol::Tcp | Protocol::Detect, None) => Box::pin(silent::carry(connection, stream, client)).await,
        (_, Some(spoken)) => {
            let protocol = known_protocol(&connection, client, protocol, spoken);
            match version((protocol, spoken)) {
                Some(version) => connection.serve(stream, version).await,
                None => connection.carry_bytes(stream, watch(protocol, spoken)).await,
            }
        }
    }
}

/// What is spoken at a port of which nobody said so, now that its client has begun. Where the application was seen to
/// speak HTTP, text is a request that is malformed; so is whatever comes from where bytes were answered in HTTP.
pub(super) fn known_protocol(
    connection: &Connection,
    client: SocketAddr,
    protocol: Protocol,
    spoken: Spoken,
) -> Protocol {
    let worker = &connection.worker;
    let is_http = match (protocol, spoken) {
        (Protocol::Detect, Spoken::Text | Spoken::Bytes) => {
            let here = silent(client, connection.original);
            let known = spoken == Spoken::Text && worker.shared.http_ports.knows(here.port());
            known || worker.misread.borrow().knows(here)
        }
        _ => false,
    };
    if is_http { Protocol::Http } else { protocol }
}

/// Whether what is carried as bytes may be HTTP all the same, also as a hello may be a request line: not where it was
/// declared to be something else.
pub(super) fn watch(protocol: Protocol, spoken: Spoken) -> Watch {
    match (protocol, spoken) {
        (Protocol::Detect, Spoken::Text | Spoken::Bytes)
        | (Protocol::Http | Protocol::Detect, Spoken::Tls) => Watch::Watched,
        _ => Watch::Unwatched,
    }
}

/// As which version of HTTP a client is served; `None`: as bytes.
pub(super) fn version(spoken: (Protocol, Spoken)) -> Option<Version> {
    match spoken {
        (Protocol::Tcp, _) | (_, Spoken::Tls) | (Protocol::Detect, Spoken::Text | Spoken::Bytes) => None,
        (Protocol::Http | Protocol::Detect, Spoken::Http2) => Some(Version::Http2),
        // What is no HTTP is told so by the server.
        (Protocol::Http | Protocol::Detect, Spoken::Http1)
        | (Protocol::Http, Spoken::Text | Spoken::Bytes) => Some(Version::Http1),
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
        Wire::Bytes => carry_announced(connection, stream, client).await,
    }
}

/// Carries what a proven caller announces as bytes. Whoever has a certificate may announce what it likes, so it is believed
/// only where the application is known to speak no HTTP: as bytes, a request would bring its own word about who calls.
async fn carry_announced(
    connection: Rc<Connection>,
    mut stream: Stream,
    client: SocketAddr,
) -> Result<(), CarryError> {
    let limits = connection.worker.shared.settings.limits;
    let protocol = inbound::protocol(&connection.worker, connection.original);
    let patience = match protocol {
        Protocol::Tcp => return connection.carry_bytes(stream, Watch::Unwatched).await,
        Protocol::Http => patience_for_http(&limits),
        // The caller's proxy has waited already where nothing was said.
        Protocol::Detect => patience(Duration::ZERO, limits.detect),
    };
    let spoken = detect::wait_on(&mut stream, patience).await?;
    carry_spoken(connection, stream, client, protocol, spoken).await
}
