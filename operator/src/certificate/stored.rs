//! What lies in the Secret, and what is wrong with it.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::extensions::GeneralName;

pub use crate::pki::Fault;
use crate::pki::{Pair, Validity, chain, examine_authority, first, leads_to, malformed, parse, provider};

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

fn examine_serving(material: &Material) -> Result<(Validity, Vec<String>), Fault> {
    material.certified_key()?;
    let der = first(entry::SERVING, &material.serving.certificate)?;
    let certificate = parse(entry::SERVING, &der)?;
    let validity = Validity::of(&certificate);
    let authority = first(entry::AUTHORITY, &material.authority.certificate)?;
    leads_to(
        entry::SERVING,
        entry::AUTHORITY,
        &der,
        &[],
        vec![authority],
        validity.not_before,
    )?;
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
