//! What is taken from a signing request: its key, and nothing else.

use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData as _, SubjectPublicKeyInfo};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

/// The key of a signing request whose signature proves that the asker has the other half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(pub(super) SubjectPublicKeyInfo);

/// A signing request that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CsrError {
    /// Not PKCS #10 (RFC 2986).
    #[error("the signing request cannot be read: {0}")]
    Malformed(String),
    /// Its signature is not by its key.
    #[error("the signing request is not signed by its own key")]
    Signature,
    /// Its key is of another kind.
    #[error("the key of the signing request is not on P-256")]
    Key,
}

impl PublicKey {
    /// Takes the key out of a signing request, DER. Names, extensions and everything else it says are not read.
    ///
    /// # Errors
    /// [`CsrError`].
    pub fn of_request(der: &[u8]) -> Result<Self, CsrError> {
        let (rest, request) = X509CertificationRequest::from_der(der)
            .map_err(|error| CsrError::Malformed(error.to_string()))?;
        if !rest.is_empty() {
            return Err(CsrError::Malformed("bytes follow it".to_owned()));
        }
        let info = request.certification_request_info.subject_pki.raw;
        let key = SubjectPublicKeyInfo::from_der(info).map_err(|_| CsrError::Key)?;
        if *key.algorithm() != PKCS_ECDSA_P256_SHA256 {
            return Err(CsrError::Key);
        }
        request.verify_signature().map_err(|_| CsrError::Signature)?;
        Ok(Self(key))
    }
}
