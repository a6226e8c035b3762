//! A new key, and the request that it be certified.

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::pkcs8::Document;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::tls::der::{self, element, object_identifier};

/// ecdsa-with-SHA256 (RFC 5758 section 3.2).
const ECDSA_WITH_SHA256: [u64; 7] = [1, 2, 840, 10045, 4, 3, 2];

/// A key that nobody has certified yet. Its bytes are wiped when it is dropped.
pub struct NewKey {
    pair: EcdsaKeyPair,
    document: Document,
}

/// The system gave no randomness, or refused to sign.
#[derive(Debug, thiserror::Error)]
#[error("no key could be made: the cryptography library refuses")]
pub struct KeyError;

impl From<Unspecified> for KeyError {
    fn from(_: Unspecified) -> Self {
        Self
    }
}

impl NewKey {
    /// A key on the curve P-256.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn generate() -> Result<Self, KeyError> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?;
        let document = pair.to_pkcs8v1()?;
        Ok(Self { pair, document })
    }

    /// The key itself, PKCS #8.
    pub fn der(&self) -> PrivateKeyDer<'_> {
        PrivatePkcs8KeyDer::from(self.document.as_ref()).into()
    }

    /// A signing request (RFC 2986), DER. It names nobody: who this is, the token says.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn signing_request(&self) -> Result<Vec<u8>, KeyError> {
        let key = self.pair.public_key().as_der()?;
        let version = element(der::INTEGER, &[&[0]]);
        let nobody = element(der::SEQUENCE, &[]);
        let no_attributes = element(0xa0, &[]);
        let info = element(der::SEQUENCE, &[&version, &nobody, key.as_ref(), &no_attributes]);
        let algorithm = element(der::OBJECT_IDENTIFIER, &[&object_identifier(&ECDSA_WITH_SHA256)]);
        let algorithm = element(der::SEQUENCE, &[&algorithm]);
        let signature = self.pair.sign(&SystemRandom::new(), &info)?;
        let signature = element(der::BIT_STRING, &[&[0], signature.as_ref()]);
        Ok(element(der::SEQUENCE, &[&info, &algorithm, &signature]))
    }
}

#[cfg(test)]
mod tests {
    use rcgen::CertificateSigningRequestParams;

    use super::*;
    use crate::tls::Credentials;
    use crate::tls::testing::{Authority, pem};

    #[test]
    fn an_authority_reads_the_request_and_its_certificate_fits_the_key() {
        let key = NewKey::generate().unwrap();
        let request = key.signing_request().unwrap();
        let read = CertificateSigningRequestParams::from_der(&request.into()).unwrap();
        let authority = Authority::new("cluster.local");
        let chain = pem(&authority.sign(&read.public_key, |_| {})) + &authority.issuer_pem();
        assert!(Credentials::new(&key.der(), chain.as_bytes()).is_ok());
    }

    #[test]
    fn every_key_is_another() {
        let key = || NewKey::generate().unwrap().document.as_ref().to_vec();
        assert_ne!(key(), key());
    }
}
