//! Two proxies with certificates, one in front of a client and one in front of an application.
//!
//! ```text
//! client ─► outbound proxy (shop/client) ─ mutual TLS ─► inbound proxy (shop/web), at net.at(1) ─► application
//! ```

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use smilax_core::config::{
    AccessTarget, HttpMatch, InboundPolicy, Protocol, RouteConfig, Security, SourceMatch,
};
use smilax_core::{ObjectRef, ProxyConfig, Revision, Workload};
use smilax_proxy::tls::{Credentials, TlsContext, Trust, Wire};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::authority::{Authority, Signed};
use super::cable::Family;
use super::{Net, ProxyBuilder, TestProxy, soon};

/// Port of every application behind a proxy that is reached over IPv4.
pub(crate) const APP_PORT: u16 = 9090;

/// A mesh with an authority of its own.
pub(crate) struct Mesh {
    pub(crate) net: Net,
    pub(crate) authority: Authority,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self::of(Family::V4)
    }

    pub(crate) fn of(family: Family) -> Self {
        Self {
            net: Net::of(family),
            authority: Authority::new("cluster.local"),
        }
    }

    /// Where the application behind the proxy at `last` listens.
    pub(crate) fn app(&self, last: u8) -> SocketAddr {
        let address = self.net.at(last + 100);
        match address.ip() {
            IpAddr::V4(_) => SocketAddr::new(address.ip(), APP_PORT),
            // Its address is that of the proxy, and so its port is not.
            IpAddr::V6(_) => address,
        }
    }

    /// What a proxy of this account has.
    pub(crate) fn context(&self, account: &str) -> Arc<TlsContext> {
        self.context_of(&self.authority.leaf(account), &[&self.authority])
    }

    /// What a proxy has that shows this leaf and trusts these.
    pub(crate) fn context_of(&self, leaf: &Signed, trusted: &[&Authority]) -> Arc<TlsContext> {
        let own = Credentials::new(&leaf.key(), leaf.chain_pem().as_bytes()).unwrap();
        let bundle = Authority::bundle_of(trusted, 1);
        let trust = Trust::new(bundle, self.authority.trust_domain()).unwrap();
        Arc::new(TlsContext::new(Arc::new(own), Arc::new(trust)).unwrap())
    }

    /// The proxy of `shop/web` at 1, in front of the application at [`Self::app`].
    pub(crate) fn web(&self, inbound: Vec<InboundPolicy>) -> TestProxy {
        self.web_with(inbound, |builder| builder)
    }

    pub(crate) fn web_with(
        &self,
        inbound: Vec<InboundPolicy>,
        change: impl FnOnce(ProxyBuilder) -> ProxyBuilder,
    ) -> TestProxy {
        let proxy = self.inbound(1, &config(1, inbound), change);
        certify(&proxy, &self.context("shop/web"));
        proxy
    }

    /// The same, of a pod that declares what its port speaks.
    pub(crate) fn web_declaring(&self, protocol: Protocol, inbound: Vec<InboundPolicy>) -> TestProxy {
        self.web_with(inbound, |builder| {
            builder.set(|settings| {
                let port = self.app(1).port();
                settings.inbound_protocols.insert(port, protocol);
            })
        })
    }

    /// A proxy without a certificate in front of the application behind `last`.
    pub(crate) fn inbound(
        &self,
        last: u8,
        config: &ProxyConfig,
        change: impl FnOnce(ProxyBuilder) -> ProxyBuilder,
    ) -> TestProxy {
        let builder = TestProxy::builder()
            .inbound(self.app(last))
            .config(config)
            .set(|settings| {
                settings.listen = vec![self.net.at(last).ip()];
                settings.ports.inbound = self.net.at(last).port();
            });
        change(builder).start()
    }

    /// The proxy of `shop/client`, whose connections were all going to `shop/web`.
    pub(crate) fn client(&self, protocol: Protocol) -> TestProxy {
        self.client_with(&self.secured(1, protocol, vec![]))
    }

    /// The same of another account.
    pub(crate) fn client_of(&self, account: &str, protocol: Protocol) -> TestProxy {
        let proxy = self.client(protocol);
        certify(&proxy, &self.context(account));
        proxy
    }

    pub(crate) fn client_with(&self, config: &ProxyConfig) -> TestProxy {
        let proxy = TestProxy::outbound(self.net.at(1), config);
        certify(&proxy, &self.context("shop/client"));
        proxy
    }

    /// As [`Net::config`], with every destination secured and under `shop/web`.
    pub(crate) fn secured(&self, counter: u64, protocol: Protocol, routes: Vec<RouteConfig>) -> ProxyConfig {
        let mut config = self.net.config(counter, protocol, routes);
        for destination in &mut config.destinations {
            destination.accounts = vec![Workload::new("shop", "web").into()];
            destination.ports[0].security = Security::MutualTls;
        }
        config
    }

    /// Shakes hands with the proxy at 1 as somebody who has this.
    pub(crate) async fn connect(
        &self,
        context: &TlsContext,
        wire: Wire,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        shake_hands(self.net.at(1), Arc::clone(context.client(wire))).await
    }

    /// A server at `last` that shakes hands as somebody who has this, and is no proxy.
    pub(crate) fn acceptor(context: &TlsContext) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(context.server()))
    }
}

/// Gives a proxy a certificate and a bundle.
pub(crate) fn certify(proxy: &TestProxy, context: &Arc<TlsContext>) {
    let shared = proxy.proxy().shared();
    shared.tls.store(Some(Arc::clone(context)));
    shared.changes.tell();
}

/// A configuration of `shop/web`.
pub(crate) fn config(counter: u64, inbound: Vec<InboundPolicy>) -> ProxyConfig {
    ProxyConfig {
        revision: Revision { term: 1, counter },
        inbound,
        ..ProxyConfig::empty(Workload::new("shop", "web"))
    }
}

/// Connects and shakes hands.
pub(crate) async fn shake_hands(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::IpAddress(address.ip().into());
    soon("the handshake", TlsConnector::from(config).connect(name, stream)).await
}

/// A target that names `sources`, written `namespace/account`, and allows them `http`.
pub(crate) fn target(sources: &[&str], http: Option<Vec<HttpMatch>>) -> AccessTarget {
    AccessTarget {
        source: ObjectRef {
            kind: "TrafficTarget".into(),
            namespace: "shop".into(),
            name: "web".into(),
            generation: 1,
        },
        sources: sources
            .iter()
            .map(|source| {
                let (namespace, account) = source.split_once('/').unwrap();
                SourceMatch::Account(Workload::new(namespace, account))
            })
            .collect(),
        ports: vec![],
        http,
    }
}

/// A policy of these targets.
pub(crate) fn targets(targets: Vec<AccessTarget>) -> Vec<InboundPolicy> {
    vec![InboundPolicy {
        targets,
        ..InboundPolicy::default()
    }]
}

/// A client configuration that believes every server, and is otherwise for its caller to fill.
pub(crate) fn credulous(alpn: &[&[u8]]) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config
}

#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519]
    }
}
