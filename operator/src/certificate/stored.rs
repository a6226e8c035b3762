//! What lies in the Secret, and what is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, pki_types};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// Keys of the Secret.
pub(super) mod entry {
    pub(in crate::certificate) const AUTHORITY: &str = "ca.crt";
    pub(in crate::certificate) const AUTHORITY_KEY: &str = "ca.key";
    pub(in crate::certificate) const SERVING: &str = "tls.crt";
    pub(in crate::certificate) const SERVING_KEY: &str = "tls.key";
    pub(in crate::certificate) const NEXT: &str = "next-ca.crt";
    pub(in crate::certificate) const NEXT_KEY: &str = "next-ca.key";
    pub(in crate::certificate) const PREVIOUS: &str = "previous-ca.crt";
}

/// A certificate and its key, PEM.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").finish_non_exhaustive()
    }
}

/// Content of the Secret, as far as it is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Material {
    pub(super) authority: Pair,
    pub(super) serving: Pair,
    pub(super) handover: Handover,
}

/// Where the change from one authority to the next stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Handover {
    /// There is one authority.
    None,
    /// The next one is published, and signs nothing yet.
    Announced(Pair),
    /// The authority has taken over; the one before is still published.
    Done {
        /// Certificate of the one before.
        previous: String,
    },
}

/// [`Material`] that was looked at.
#[derive(Clone, Debug)]
pub struct Stored {
    pub(super) material: Material,
    /// Validity of the authority.
    pub(super) authority: Result<Validity, Fault>,
    /// Validity of the serving certificate, and its names.
    pub(super) serving: Result<(Validity, Vec<String>), Fault>,
    /// Validity of the next authority.
    pub(super) next: Option<Result<Validity, Fault>>,
}

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Validity {
    pub(super) not_before: OffsetDateTime,
    pub(super) not_after: OffsetDateTime,
}

/// What is wrong with an entry of the Secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
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
    /// The serving certificate is not from our authority.
    #[error("entry tls.crt is not signed by ca.crt: {0}")]
    OtherAuthority(String),
}

impl Material {
    /// Reads the Secret's data. An entry that is missing reads as empty, and is then a fault.
    pub fn from_data(data: &BTreeMap<String, Vec<u8>>) -> Self {
        let text = |entry: &str| {
            data.get(entry)
                .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                .unwrap_or_default()
        };
        let pair = |certificate, key| Pair {
            certificate: text(certificate),
            key: text(key),
        };
        let handover = if data.contains_key(entry::NEXT) {
            Handover::Announced(pair(entry::NEXT, entry::NEXT_KEY))
        } else if data.contains_key(entry::PREVIOUS) {
            Handover::Done {
                previous: text(entry::PREVIOUS),
            }
        } else {
            Handover::None
        };
        Self {
            authority: pair(entry::AUTHORITY, entry::AUTHORITY_KEY),
            serving: pair(entry::SERVING, entry::SERVING_KEY),
            handover,
        }
    }

    /// The Secret's data.
    pub fn to_data(&self) -> BTreeMap<String, Vec<u8>> {
        let mut entries = vec![
            (entry::AUTHORITY, &self.authority.certificate),
            (entry::AUTHORITY_KEY, &self.authority.key),
            (entry::SERVING, &self.serving.certificate),
            (entry::SERVING_KEY, &self.serving.key),
        ];
        match &self.handover {
            Handover::None => {}
            Handover::Announced(next) => {
                entries.extend([(entry::NEXT, &next.certificate), (entry::NEXT_KEY, &next.key)]);
            }
            Handover::Done { previous } => entries.push((entry::PREVIOUS, previous)),
        }
        entries
            .into_iter()
            .map(|(entry, text)| (entry.to_owned(), text.clone().into_bytes()))
            .collect()
    }

    /// What the API server is told to trust, PEM: the newest authority first.
    pub fn bundle(&self) -> String {
        let ca = &self.authority.certificate;
        match &self.handover {
            Handover::None => ca.clone(),
            Handover::Announced(next) => format!("{}{ca}", next.certificate),
            Handover::Done { previous } => format!("{ca}{previous}"),
        }
    }

    /// The serving certificate with its key, ready for TLS.
    ///
    /// # Errors
    /// When it cannot be read, or the key is another certificate's.
    pub fn certified_key(&self) -> Result<Arc<CertifiedKey>, Fault> {
        let chain = chain(entry::SERVING, &self.serving.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(self.serving.key.as_bytes())
            .map_err(|error| malformed(entry::SERVING_KEY, error))?;
        CertifiedKey::from_der(chain, key, &provider())
            .map(Arc::new)
            .map_err(|error| match error {
                rustls::Error::InconsistentKeys(_) => Fault::OtherKey {
                    key: entry::SERVING_KEY,
                    certificate: entry::SERVING,
                },
                other => malformed(entry::SERVING, other),
            })
    }
}

impl Stored {
    /// Looks at everything: whether it can be read, belongs together, and how long it is valid.
    pub fn examine(material: Material) -> Self {
        let authority = examine_authority(&material.authority, entry::AUTHORITY, entry::AUTHORITY_KEY);
        let serving = examine_serving(&material);
        let next = match &material.handover {
            Handover::Announced(next) => Some(examine_authority(next, entry::NEXT, entry::NEXT_KEY)),
            Handover::None | Handover::Done { .. } => None,
        };
        Self {
            material,
            authority,
            serving,
            next,
        }
    }

    /// What was examined.
    pub fn material(&self) -> &Material {
        &self.material
    }
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn malformed(entry: &'static str, reason: impl std::fmt::Display) -> Fault {
    Fault::Malformed {
        entry,
        reason: reason.to_string(),
    }
}

fn chain(entry: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let chain = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| malformed(entry, error))?;
    if chain.is_empty() {
        return Err(malformed(entry, "it holds no certificate"));
    }
    Ok(chain)
}

fn first(entry: &'static str, pem: &str) -> Result<CertificateDer<'static>, Fault> {
    let mut chain = chain(entry, pem)?;
    Ok(chain.swap_remove(0))
}

fn parse<'a>(entry: &'static str, der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, Fault> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|error| malformed(entry, error))
}

fn validity(certificate: &X509Certificate<'_>) -> Validity {
    Validity {
        not_before: certificate.validity().not_before.to_datetime(),
        not_after: certificate.validity().not_after.to_datetime(),
    }
}

fn examine_authority(pair: &Pair, entry: &'static str, key_entry: &'static str) -> Result<Validity, Fault> {
    let der = first(entry, &pair.certificate)?;
    let certificate = parse(entry, &der)?;
    if !certificate.is_ca() {
        return Err(malformed(entry, "it may not sign certificates"));
    }
    let key = rcgen::KeyPair::from_pem(&pair.key).map_err(|error| malformed(key_entry, error))?;
    if key.public_key_raw() != certificate.public_key().subject_public_key.data.as_ref() {
        return Err(Fault::OtherKey {
            key: key_entry,
            certificate: entry,
        });
    }
    Ok(validity(&certificate))
}

fn examine_serving(material: &Material) -> Result<(Validity, Vec<String>), Fault> {
    material.certified_key()?;
    let der = first(entry::SERVING, &material.serving.certificate)?;
    let certificate = parse(entry::SERVING, &der)?;
    let validity = validity(&certificate);
    let authority = first(entry::AUTHORITY, &material.authority.certificate)?;
    signed_by(&der, authority, validity.not_before)?;
    let names = certificate
        .subject_alternative_name()
        .map_err(|error| malformed(entry::SERVING, error))?
        .into_iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect();
    Ok((validity, names))
}

/// Checks the signature at a time when both were valid: whether they are now is another question.
fn signed_by(
    der: &CertificateDer<'_>,
    authority: CertificateDer<'_>,
    at: OffsetDateTime,
) -> Result<(), Fault> {
    let other = |error: rustls::Error| Fault::OtherAuthority(error.to_string());
    let mut roots = RootCertStore::empty();
    roots.add(authority.into_owned()).map_err(other)?;
    let at = u64::try_from(at.unix_timestamp()).unwrap_or_default();
    let at: UnixTime = pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
    let parsed = ParsedCertificate::try_from(der).map_err(other)?;
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots, &[], at, algorithms).map_err(other)
}
