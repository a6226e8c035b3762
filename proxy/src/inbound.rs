//! What others send to the application.
//!
//! The application is asked at the address that the caller used, an address of the pod. One that listens on loopback
//! alone was not reachable from outside before, and is not through the proxy.

pub(crate) mod arrival;
mod handshakes;
mod silent;

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::Accepted;
use smilax_core::access::Plaintext;
use smilax_core::config::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::StartHandshake;

use crate::detect::hello::{self, Hello};
use crate::metrics::traffic::Telemetry;
use crate::settings::Settings;
use crate::target::Target;
use crate::tls::{Peer, Wire};
use crate::transport::{Stream, TlsFailure};
use crate::worker::Worker;

pub use handshakes::{Handshakes, UnderWay};

/// How long a client whose handshake failed may take to hear of it.
const ALERT: Duration = Duration::from_secs(1);
/// Pieces of what it sends meanwhile that are thrown away at most.
const MOST_UNREAD: usize = 16;

/// Nobody else's address is ever dialled for a caller, nor a port of the proxy.
pub fn accepts(settings: &Settings, original: SocketAddr) -> bool {
    settings.pod.is_reached_at(original.ip()) && !settings.ports.contains(original.port())
}

/// What the application speaks on a port.
pub fn protocol(worker: &Worker, original: SocketAddr) -> Protocol {
    let known = &worker.shared.settings.inbound_protocols;
    known.get(&original.port()).copied().unwrap_or_default()
}

/// The application.
pub fn target(original: SocketAddr, telemetry: &Rc<Telemetry>) -> Target {
    Target::direct(original, None, Rc::clone(telemetry))
}

/// What becomes of a connection to this port from this address that proves no identity.
pub fn plaintext(worker: &Worker, client: IpAddr, port: u16) -> Plaintext {
    worker.state().table.access.plaintext(client.to_canonical(), port)
}

/// Counts a connection that proves no identity.
pub fn count_plaintext(worker: &Worker, client: IpAddr, what: Plaintext) {
    let outcome = match what {
        Plaintext::Permitted => "permitted",
        Plaintext::UnauthenticatedSource => "unauthenticated_source",
        Plaintext::Refused => "refused",
    };
    worker
        .shared
        .metrics
        .access
        .plaintext(client.to_canonical(), outcome);
}

/// A client that began with TLS.
pub enum Secured {
    /// Another proxy, which has proven who it is.
    Proxy(Stream, Wire, Arc<Peer>),
    /// The application's own TLS, which is not looked into.
    Application(TcpStream),
}

/// Finds out whether TLS is that of another proxy, and if so shakes hands. Nothing of the application's own is
/// consumed.
///
/// # Errors
/// [`TlsFailure`] when the handshake does not succeed; after the limit of handshakes at the latest.
pub async fn secure(worker: &Worker, stream: TcpStream, client: IpAddr) -> Result<Secured, TlsFailure> {
    let limit = worker.shared.settings.limits.handshake;
    let _under_way = worker.handshakes.begin(client.to_canonical())?;
    let shake = async {
        match hello::wait(&stream, limit).await.map_err(TlsFailure::Handshake)? {
            Hello::Foreign => Ok(Secured::Application(stream)),
            Hello::Ours { accepted, bytes } => shake_hands(worker, stream, *accepted, bytes).await,
        }
    };
    tokio::time::timeout(limit, shake)
        .await
        .map_err(|_| TlsFailure::TimedOut(limit))?
}

async fn shake_hands(
    worker: &Worker,
    mut stream: TcpStream,
    accepted: Accepted,
    bytes: usize,
) -> Result<Secured, TlsFailure> {
    let context = worker.shared.tls.load_full().ok_or(TlsFailure::NoIdentity)?;
    // These were looked at, and are known already.
    let mut known = vec![0; bytes];
    stream
        .read_exact(&mut known)
        .await
        .map_err(TlsFailure::Handshake)?;
    let shaken = StartHandshake::from_parts(accepted, stream)
        .into_stream(Arc::clone(context.server()))
        .into_fallible();
    let stream = match shaken.await {
        Ok(stream) => stream,
        Err((error, stream)) => {
            let_alert_arrive(stream).await;
            return Err(TlsFailure::of_handshake(error));
        }
    };
    let connection = stream.get_ref().1;
    let peer = context.client_of(connection)?;
    let wire = connection
        .alpn_protocol()
        .and_then(Wire::of)
        .ok_or(TlsFailure::Protocol)?;
    Ok(Secured::Proxy(Stream::secured(stream), wire, peer))
}

/// A client in TLS 1.3 sends requests before it hears that it is not believed. Closing at once would reset the
/// connection for what was not read, and take the alert that says why with it.
async fn let_alert_arrive(mut stream: TcpStream) {
    let rest = async {
        stream.shutdown().await?;
        let mut unread = [0; 4096];
        for _ in 0..MOST_UNREAD {
            if stream.read(&mut unread).await? == 0 {
                break;
            }
        }
        Ok::<_, std::io::Error>(())
    };
    // Whatever comes of it, the connection ends.
    let _ = tokio::time::timeout(ALERT, rest).await;
}
