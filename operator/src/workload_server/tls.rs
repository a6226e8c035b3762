//! TLS of the workload port: 1.3 only, our own certificate from the authority in use, and a client's certificate
//! wherever it shows one.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use smilax_core::convention::OPERATOR_ACCOUNT;
use smilax_core::{TrustDomain, Workload};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::peer::{Peer, PeerError, peer};
use crate::authority::{InUse, IssueError, Subject};
use crate::controller::State;
use crate::pki::provider;

/// How often the clock, and the settings, are looked at.
const PERIOD: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_secs(1);
/// Certificates of a chain at most, as elsewhere in the mesh.
const LONGEST_CHAIN: usize = 8;

/// Everything that TLS is made of at a time.
pub struct TlsContext {
    /// Who signs, and what is trusted.
    pub in_use: Arc<InUse>,
    /// First part of every identity.
    pub trust_domain: TrustDomain,
    /// For proxies.
    pub server: Arc<ServerConfig>,
    /// For another replica.
    pub client: Arc<ClientConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    #[cfg(test)]
    operator: Arc<dyn ServerCertVerifier>,
    renew_at: OffsetDateTime,
}

impl std::fmt::Debug for TlsContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsContext")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

/// The newest context; `None` while there is no authority.
pub type Contexts = watch::Receiver<Option<Arc<TlsContext>>>;

/// A context that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// No certificate for this process.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// By the library's judgement.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// What was just made cannot be read.
    #[error("own certificate: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// No root.
    #[error("no root to trust: {0}")]
    Roots(#[from] rustls::server::VerifierBuilderError),
}

impl TlsContext {
    /// A new certificate of our own, and configurations with what is trusted now. They are made anew with every change,
    /// so that no session of before is taken up again.
    ///
    /// # Errors
    /// [`ContextError`].
    pub fn new(
        in_use: Arc<InUse>,
        trust_domain: TrustDomain,
        namespace: &str,
        now: OffsetDateTime,
    ) -> Result<Self, ContextError> {
        let workload = Workload::new(namespace, OPERATOR_ACCOUNT);
        let subject = Subject {
            trust_domain: &trust_domain,
            workload: &workload,
            pod_uid: None,
        };
        let lifetime = Duration::from_hours(24);
        let (issued, key) = in_use.authority.sign_own(&subject, lifetime, now)?;
        let chain = CertificateDer::pem_slice_iter(issued.chain.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut roots = RootCertStore::empty();
        for root in in_use.authority.roots() {
            roots.add(root.clone())?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
            .clear_root_hint_subjects()
            .allow_unauthenticated()
            .build()?;
        let versions = [&rustls::version::TLS13];
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(chain.clone(), key())?;
        server.alpn_protocols = vec![b"h2".to_vec()];
        // A resumed session would skip the certificate.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        let operator: Arc<dyn ServerCertVerifier> = Arc::new(OperatorVerifier {
            roots,
            workload,
            trust_domain: trust_domain.clone(),
        });
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&operator))
            .with_client_auth_cert(chain, key())?;
        client.alpn_protocols = vec![b"h2".to_vec()];
        client.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            renew_at: now + (issued.not_after - now) * 2 / 3,
            in_use,
            trust_domain,
            server: Arc::new(server),
            client: Arc::new(client),
            verifier,
            #[cfg(test)]
            operator,
        })
    }

    /// What another replica checks us with.
    #[cfg(test)]
    pub(super) fn operator_verifier(&self) -> Arc<dyn ServerCertVerifier> {
        Arc::clone(&self.operator)
    }

    /// Who shows this chain, at this time: also long after the handshake, when what is trusted has changed.
    pub(super) fn peer(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Peer, PeerError> {
        let (own, others) = chain.split_first().ok_or(PeerError::Malformed)?;
        if others.len() >= LONGEST_CHAIN || self.verifier.verify_client_cert(own, others, now).is_err() {
            return Err(PeerError::Untrusted);
        }
        peer(own, &self.trust_domain)
    }
}

/// Keeps a context for what is in use, for ever.
pub async fn keep_contexts(
    mut in_use: watch::Receiver<Option<Arc<InUse>>>,
    state: Arc<State>,
    namespace: String,
    contexts: watch::Sender<Option<Arc<TlsContext>>>,
) {
    loop {
        let current = contexts.borrow().clone();
        let wanted = in_use.borrow_and_update().clone();
        let trust_domain = state.read(|inner| inner.index.settings().trust_domain.clone());
        let mut wait = PERIOD;
        if let Some(wanted) = wanted {
            let now = OffsetDateTime::now_utc();
            let fresh = current.is_some_and(|current| {
                Arc::ptr_eq(&current.in_use, &wanted)
                    && current.trust_domain == trust_domain
                    && now < current.renew_at
            });
            if !fresh {
                match TlsContext::new(wanted, trust_domain, &namespace, now) {
                    Ok(context) => {
                        contexts.send_replace(Some(Arc::new(context)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the workload port has no certificate; it is tried again");
                        wait = AGAIN;
                    }
                }
            }
        }
        tokio::select! {
            changed = in_use.changed() => if changed.is_err() {
                std::future::pending::<()>().await;
            },
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Accepts the operator itself and nobody else, wherever it is reached.
#[derive(Debug)]
struct OperatorVerifier {
    roots: Arc<RootCertStore>,
    workload: Workload,
    trust_domain: TrustDomain,
}

impl ServerCertVerifier for OperatorVerifier {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let parsed = rustls::server::ParsedCertificate::try_from(own)?;
        let algorithms = provider().signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, others, now, algorithms)?;
        match peer(own, &self.trust_domain) {
            Ok(peer) if peer.workload == self.workload => Ok(ServerCertVerified::assertion()),
            _ => Err(rustls::CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, own, signature, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}
