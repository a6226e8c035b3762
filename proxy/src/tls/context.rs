//! Everything that a handshake needs, made once for a certificate and a bundle.
//!
//! Sessions are resumed only within one context: another certificate or bundle begins with none.

use std::sync::Arc;

use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::server::ServerSessionMemoryCache;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, Error, ServerConfig, ServerConnection};
use smilax_core::convention::wire;

use super::credentials::Credentials;
use super::peer::{End, Peer, PeerError, Verifier};
use super::trust::Trust;
use super::verify::Chains;

/// Sessions that each side keeps for resumption at most.
const MOST_SESSIONS: usize = 256;
/// ALPN of the workload connection (RFC 9113 section 3.1).
const OPERATOR_ALPN: &[u8] = b"h2";

/// What is carried over a connection between proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// HTTP/2, with requests of many connections.
    Http2,
    /// HTTP/1.1, for requests that want to become something else.
    Http1,
    /// Bytes that are not looked into.
    Bytes,
}

/// Handshakes with one certificate and one bundle. Immutable.
#[derive(Debug)]
pub struct TlsContext {
    /// The certificate in use.
    pub own: Arc<Credentials>,
    /// Whom to trust.
    pub trust: Arc<Trust>,
    http2: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
    bytes: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    clients: Arc<Verifier>,
    servers: Arc<Verifier>,
}

/// How the operator is spoken to.
#[derive(Debug)]
pub struct OperatorTls {
    /// For a handshake with it.
    pub config: Arc<ClientConfig>,
    servers: Arc<Verifier>,
}

impl Wire {
    /// Every one, the preferred first.
    pub const ALL: [Self; 3] = [Self::Http2, Self::Http1, Self::Bytes];

    /// Its name in a handshake.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::Http2 => wire::ALPN_HTTP2,
            Self::Http1 => wire::ALPN_HTTP1,
            Self::Bytes => wire::ALPN_TCP,
        }
    }

    /// The one of this name.
    pub fn of(alpn: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|wire| wire.alpn() == alpn)
    }
}

impl TlsContext {
    /// Puts a context together.
    ///
    /// # Errors
    /// What the TLS library refuses.
    pub fn new(own: Arc<Credentials>, trust: Arc<Trust>) -> Result<Self, Error> {
        let provider = Arc::new(provider());
        let clients = Arc::new(Verifier::new(Arc::clone(&trust), End::Client));
        let servers = Arc::new(Verifier::new(Arc::clone(&trust), End::Server));
        let client = |wire: Wire| client_config(&provider, &servers, Some(&own), wire.alpn()).map(Arc::new);
        Ok(Self {
            http2: client(Wire::Http2)?,
            http1: client(Wire::Http1)?,
            bytes: client(Wire::Bytes)?,
            server: Arc::new(server_config(&provider, &clients, &own)?),
            clients,
            servers,
            own,
            trust,
        })
    }

    /// For a handshake with another proxy's inbound side.
    pub fn client(&self, wire: Wire) -> &Arc<ClientConfig> {
        match wire {
            Wire::Http2 => &self.http2,
            Wire::Http1 => &self.http1,
            Wire::Bytes => &self.bytes,
        }
    }

    /// For a handshake with another proxy's outbound side. A client must show a certificate.
    pub fn server(&self) -> &Arc<ServerConfig> {
        &self.server
    }

    /// Who called, once the handshake is done.
    ///
    /// # Errors
    /// [`PeerError`]; then the connection must not be used.
    pub fn client_of(&self, connection: &ServerConnection) -> Result<Arc<Peer>, PeerError> {
        self.clients.peer(connection)
    }

    /// Who was called, once the handshake is done. Whether it is who was meant, the caller must check.
    ///
    /// # Errors
    /// [`PeerError`]; then the connection must not be used.
    pub fn server_of(&self, connection: &ClientConnection) -> Result<Arc<Peer>, PeerError> {
        self.servers.peer(connection)
    }

    /// Whether a root of this bundle vouches for a peer that was verified under the same or another one.
    pub fn trusts(&self, peer: &Peer) -> bool {
        self.trust.has_root(&peer.root) && peer.identity.id.trust_domain() == self.trust.domain
    }
}

impl OperatorTls {
    /// How to speak to the operator, with a certificate or, before there is one, without.
    ///
    /// # Errors
    /// What the TLS library refuses.
    pub fn new(trust: &Arc<Trust>, own: Option<&Credentials>) -> Result<Self, Error> {
        let servers = Arc::new(Verifier::new(Arc::clone(trust), End::Server));
        let config = client_config(&Arc::new(provider()), &servers, own, OPERATOR_ALPN)?;
        Ok(Self {
            config: Arc::new(config),
            servers,
        })
    }

    /// Who was called, once the handshake is done. Whether it is the operator, the caller must check.
    ///
    /// # Errors
    /// [`PeerError`]; then the connection must not be used.
    pub fn server_of(&self, connection: &ClientConnection) -> Result<Arc<Peer>, PeerError> {
        self.servers.peer(connection)
    }
}

/// Key exchange that a recorded connection stays secret with even when quantum computers come
/// (draft-ietf-tls-ecdhe-mlkem) first, and the two that everybody has.
fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..aws_lc_rs::default_provider()
    }
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    servers: &Arc<Verifier>,
    own: Option<&Credentials>,
    alpn: &[u8],
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Chains {
            verifier: Arc::clone(servers),
            provider: Arc::clone(provider),
        }));
    let mut config = match own {
        Some(own) => {
            let certified = Arc::clone(&own.certified);
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_sni = false;
    config.enable_early_data = false;
    config.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(MOST_SESSIONS)));
    Ok(config)
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    clients: &Arc<Verifier>,
    own: &Credentials,
) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(Chains {
            verifier: Arc::clone(clients),
            provider: Arc::clone(provider),
        }))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&own.certified))));
    config.alpn_protocols = Wire::ALL.map(|wire| wire.alpn().to_vec()).into();
    config.max_early_data_size = 0;
    // Sessions are kept here, not in tickets: their number is bounded, each is good once, and they end with the
    // context. A resumed client is verified again, so that none outlives its certificate.
    config.session_storage = ServerSessionMemoryCache::new(MOST_SESSIONS);
    config.send_tls13_tickets = 1;
    Ok(config)
}

#[cfg(test)]
mod tests;
