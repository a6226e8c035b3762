//! What every authority of ours shares: certificates and keys as PEM, what is wrong with them, and how long they last.
//! ECDSA on P-256 throughout.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{DistinguishedName, DnType, KeyPair};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ParsedCertificate;
use rustls::{RootCertStore, pki_types};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, UnixTime};
use sha2::{Digest as _, Sha256};
use smilax_core::hex::hex;
use smilax_core::workload_connection::KeyId;
use time::{Duration, OffsetDateTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// For clocks that are a little slow.
pub(crate) const BACK_DATED: Duration = Duration::seconds(60);

/// A certificate and its key, PEM. The certificate may be followed by those that lead to its root.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    pub(crate) not_before: OffsetDateTime,
    pub(crate) not_after: OffsetDateTime,
}

impl Validity {
    pub(crate) fn of(certificate: &X509Certificate<'_>) -> Self {
        Self {
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
        }
    }

    /// When it is time for the next one.
    pub(crate) fn two_thirds(self) -> OffsetDateTime {
        self.not_before + (self.not_after - self.not_before) * 2 / 3
    }

    /// What both have in common.
    pub(crate) fn within(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            not_after: self.not_after.min(other.not_after),
        }
    }
}

/// What is wrong with an entry of a Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// There is none of this name.
    #[error("entry {0} is missing")]
    Missing(&'static str),
    /// It is not what its name says.
    #[error("entry {entry} is malformed: {reason}")]
    Malformed {
        /// The entry.
        entry: &'static str,
        /// Why.
        reason: String,
    },
    /// A key belongs to another certificate.
    #[error("entry {key} is not the key of {certificate}")]
    OtherKey {
        /// The entry of the key.
        key: &'static str,
        /// The entry of the certificate.
        certificate: &'static str,
    },
    /// A certificate is not from the authority beside it.
    #[error("entry {entry} is not signed by {authority}: {reason}")]
    OtherAuthority {
        /// The entry of the certificate.
        entry: &'static str,
        /// The entry of the authority.
        authority: &'static str,
        /// What the check says.
        reason: String,
    },
    /// A certificate whose time has not come, or is over.
    #[error("entry {entry} {reason}")]
    Time {
        /// The entry.
        entry: &'static str,
        /// Since when, or until when.
        reason: String,
    },
}

/// What is agreed on first is what a recording cannot be read with later either.
pub(crate) fn provider() -> CryptoProvider {
    CryptoProvider {
        kx_groups: vec![
            aws_lc_rs::kx_group::X25519MLKEM768,
            aws_lc_rs::kx_group::X25519,
            aws_lc_rs::kx_group::SECP256R1,
        ],
        ..aws_lc_rs::default_provider()
    }
}

pub(crate) fn malformed(entry: &'static str, reason: impl std::fmt::Display) -> Fault {
    Fault::Malformed {
        entry,
        reason: reason.to_string(),
    }
}

/// Every certificate of an entry, one at least.
pub(crate) fn chain(entry: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(entry, error))?;
    if chain.is_empty() {
        return Err(malformed(entry, "it holds no certificate"));
    }
    Ok(chain)
}

/// The first certificate of an entry.
pub(crate) fn first(entry: &'static str, pem: &str) -> Result<CertificateDer<'static>, Fault> {
    let mut chain = chain(entry, pem)?;
    Ok(chain.swap_remove(0))
}

pub(crate) fn parse<'a>(
    entry: &'static str,
    der: &'a CertificateDer<'_>,
) -> Result<X509Certificate<'a>, Fault> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|error| malformed(entry, error))
}

/// Checks a certificate that is to sign others, and that its key belongs to it.
pub(crate) fn examine_authority(
    pair: &Pair,
    entry: &'static str,
    key_entry: &'static str,
) -> Result<Validity, Fault> {
    let der = first(entry, &pair.certificate)?;
    let certificate = parse(entry, &der)?;
    if !certificate.is_ca() {
        return Err(malformed(entry, "it may not sign certificates"));
    }
    let key = KeyPair::from_pem(&pair.key).map_err(|error| malformed(key_entry, error))?;
    if key.public_key_raw() != certificate.public_key().subject_public_key.data.as_ref() {
        return Err(Fault::OtherKey {
            key: key_entry,
            certificate: entry,
        });
    }
    Ok(Validity::of(&certificate))
}

/// Checks that a certificate leads to one of `roots`, by way of `intermediates`, at a time when it was valid: whether it
/// is now is another question.
pub(crate) fn leads_to(
    entry: &'static str,
    authority: &'static str,
    der: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: Vec<CertificateDer<'static>>,
    at: OffsetDateTime,
) -> Result<(), Fault> {
    let other = |error: rustls::Error| Fault::OtherAuthority {
        entry,
        authority,
        reason: error.to_string(),
    };
    let mut store = RootCertStore::empty();
    for root in roots {
        store.add(root).map_err(other)?;
    }
    let at = u64::try_from(at.unix_timestamp()).unwrap_or_default();
    let at: UnixTime = pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
    let parsed = ParsedCertificate::try_from(der).map_err(other)?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &store, intermediates, at, algorithms).map_err(other)
}

/// The name of a certificate's key.
pub(crate) fn key_id(certificate: &X509Certificate<'_>) -> KeyId {
    KeyId(hex(&Sha256::digest(certificate.public_key().raw)))
}

pub(crate) fn named(common_name: String) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// A certificate as PEM (RFC 7468).
pub(crate) fn to_pem(der: &CertificateDer<'_>) -> String {
    let text = STANDARD.encode(der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, others) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = others;
    }
    pem + "-----END CERTIFICATE-----\n"
}
