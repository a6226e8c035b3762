//! Connections upstream to other proxies.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use smilax_core::ExpectedIdentity;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Stream, TlsFailure, Upstream};
use crate::tls::{Peer, TlsContext, Wire};

/// Whom a server must prove to be; `None` where connections are not secured. Of nobody, as where no pod has a sidecar and
/// plaintext is refused, it is not asked.
pub type Expected = Option<Arc<[ExpectedIdentity]>>;

/// Whether whoever was met, if anybody had to be, may be sent what is meant for `expected`.
pub fn fits(met: Option<&Peer>, expected: Option<&[ExpectedIdentity]>) -> bool {
    match (met, expected) {
        (None, None) => true,
        (Some(peer), Some(accounts)) => peer
            .identity
            .workload
            .as_ref()
            .is_some_and(|workload| accounts.iter().any(|expected| expected.is_met_by(workload))),
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// Secures a connection upstream, and makes sure of who is there. Nothing but the handshake was sent when it fails.
///
/// # Errors
/// [`TlsFailure`]; after `limit` at the latest.
pub async fn secure(
    stream: TcpStream,
    context: &TlsContext,
    wire: Wire,
    expected: &[ExpectedIdentity],
    limit: Duration,
) -> Result<Upstream, TlsFailure> {
    // Servers are told apart by their identity. The library wants a name all the same, to keep sessions by: those of
    // one address belong together.
    let name = ServerName::IpAddress(stream.peer_addr().map_err(TlsFailure::Handshake)?.ip().into());
    let connector = TlsConnector::from(Arc::clone(context.client(wire)));
    let stream = tokio::time::timeout(limit, connector.connect(name, stream))
        .await
        .map_err(|_| TlsFailure::TimedOut(limit))?
        .map_err(TlsFailure::of_handshake)?;
    let connection = stream.get_ref().1;
    let peer = context.server_of(connection)?;
    if connection.alpn_protocol() != Some(wire.alpn()) {
        return Err(TlsFailure::Protocol);
    }
    if !fits(Some(&peer), Some(expected)) {
        return Err(TlsFailure::Unexpected {
            found: peer.identity.id.as_str().into(),
        });
    }
    Ok(Upstream {
        stream: Stream::secured(stream),
        peer: Some(peer),
    })
}
