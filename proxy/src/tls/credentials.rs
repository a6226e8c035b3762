//! The proxy's own key and certificate.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use smilax_core::identity::InvalidId;
use smilax_core::workload_connection::{CertificateInfo, KeyId};
use smilax_core::{Identity, SpiffeId};

use super::certificate::{Fields, Malformed, key_id};
use super::peer::{End, PeerError, Verifier};
use super::trust::Trust;

/// Certificates of a chain at most.
const LONGEST_CHAIN: usize = 8;

/// A key, and the certificate that says whose it is.
#[derive(Clone)]
pub struct Credentials {
    /// Whose.
    pub identity: Identity,
    /// From when the certificate is valid, in seconds since the epoch.
    pub not_before: u64,
    /// Until when.
    pub not_after: u64,
    pub(super) certified: Arc<CertifiedKey>,
    /// Name of who signed it, DER.
    issuer: Vec<u8>,
    /// Its key, where the chain holds it.
    issuer_key: Option<KeyId>,
}

/// A key or certificate that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Not PEM.
    #[error("the chain is not PEM: {0}")]
    Pem(String),
    /// Too few certificates, or too many.
    #[error("the chain has {0} certificates; 1 to {LONGEST_CHAIN} are expected")]
    Length(usize),
    /// Not a certificate.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// None, or several.
    #[error("the certificate has {0} URIs instead of one")]
    Uris(usize),
    /// Not a SPIFFE ID.
    #[error("the URI of the certificate is not a SPIFFE ID: {0}")]
    Id(#[from] InvalidId),
    /// Not a key, or one of another certificate.
    #[error("the key does not fit: {0}")]
    Key(rustls::Error),
}

impl Credentials {
    /// Puts a key and a chain in PEM together, the certificate first.
    ///
    /// # Errors
    /// [`CredentialsError`] when they do not belong together or name nobody.
    pub fn new(key: &PrivateKeyDer<'_>, chain: &[u8]) -> Result<Self, CredentialsError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .take(LONGEST_CHAIN + 1)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| CredentialsError::Pem(error.to_string()))?;
        let own = chain
            .first()
            .filter(|_| chain.len() <= LONGEST_CHAIN)
            .ok_or(CredentialsError::Length(chain.len()))?;
        let fields = Fields::read(own)?;
        let [uri] = fields.uris[..] else {
            return Err(CredentialsError::Uris(fields.uris.len()));
        };
        let uri = std::str::from_utf8(uri).map_err(|_| InvalidId::Path)?;
        let id: SpiffeId = uri.parse()?;
        let identity = Identity::new(id, fields.pod_uid.map(Into::into));
        let (not_before, not_after) = (fields.not_before, fields.not_after);
        let issuer = fields.issuer.to_vec();
        let issuer_key = match chain.get(1) {
            Some(authority) => Some(key_id(Fields::read(authority)?.key)),
            None => None,
        };
        let key = any_supported_type(key).map_err(CredentialsError::Key)?;
        let certified = CertifiedKey::new(chain, key);
        certified.keys_match().map_err(CredentialsError::Key)?;
        Ok(Self {
            identity,
            not_before,
            not_after,
            certified: Arc::new(certified),
            issuer,
            issuer_key,
        })
    }

    /// Which key signed the certificate. Nothing when only a root that is not trusted could say.
    pub fn issuer(&self, trust: &Trust) -> KeyId {
        let by_root = || {
            let roots = trust.anchors.iter().zip(&trust.roots);
            // An anchor holds the content of its name, without tag and length.
            roots
                .filter(|(anchor, _)| self.issuer.ends_with(&anchor.subject))
                .map(|(_, root)| root.clone())
                .next()
        };
        self.issuer_key.clone().or_else(by_root).unwrap_or_default()
    }

    /// Whether others who trust this bundle would believe it, at either end of a connection.
    ///
    /// # Errors
    /// [`PeerError`] with what they would say.
    pub fn verify(&self, trust: &Arc<Trust>) -> Result<(), PeerError> {
        let (own, others) = self
            .certified
            .cert
            .split_first()
            .ok_or(PeerError::NoCertificate)?;
        for end in [End::Client, End::Server] {
            Verifier::new(Arc::clone(trust), end).verify(own, others, UnixTime::now())?;
        }
        Ok(())
    }

    /// Whether both are the same certificate, and so of the same key.
    pub fn is_same_certificate(&self, other: &Self) -> bool {
        self.certified.cert == other.certified.cert
    }

    /// What others may know about the certificate.
    pub fn info(&self, trust: &Trust) -> CertificateInfo {
        CertificateInfo {
            issuer: self.issuer(trust),
            not_after: self.not_after,
        }
    }
}

/// Without the key.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("identity", &self.identity.id)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::Authority;

    #[test]
    fn a_key_and_a_certificate_of_one_another_say_who_this_is() {
        let authority = Authority::new("cluster.local");
        let leaf = authority.leaf("shop/web");
        let own = Credentials::new(&leaf.key(), leaf.chain_pem().as_bytes()).unwrap();
        assert_eq!(own.identity.id.as_str(), "spiffe://cluster.local/ns/shop/sa/web");
        let trust = Trust::new(authority.bundle(1), "cluster.local".parse().unwrap()).unwrap();
        assert_eq!(own.issuer(&trust), authority.issuer_id());
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let authority = Authority::new("cluster.local");
        let (one, other) = (authority.leaf("shop/web"), authority.leaf("shop/web"));
        let error = Credentials::new(&one.key(), other.chain_pem().as_bytes()).unwrap_err();
        assert!(matches!(error, CredentialsError::Key(_)), "{error}");
    }

    #[test]
    fn c13_what_is_shown_of_it_does_not_hold_the_key() {
        let leaf = Authority::new("cluster.local").leaf("shop/web");
        let own = Credentials::new(&leaf.key(), leaf.chain_pem().as_bytes()).unwrap();
        let shown = format!("{own:?}");
        assert!(
            shown.starts_with("Credentials { identity: ") && !shown.contains("certified"),
            "{shown}"
        );
    }
}
