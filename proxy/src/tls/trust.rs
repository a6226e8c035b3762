//! Whom a proxy trusts.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use smilax_core::TrustDomain;
use smilax_core::workload_connection::{KeyId, TrustBundle};

use super::certificate::{Fields, Malformed, key_id};

/// Roots of a bundle at most: rotation needs two.
const MOST_ROOTS: usize = 16;

/// A bundle that has been read, and the trust domain that it vouches for.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The bundle as it came.
    pub bundle: TrustBundle,
    /// First part of every identity that is accepted.
    pub domain: TrustDomain,
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) roots: Vec<KeyId>,
}

/// A bundle that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// Not PEM.
    #[error("root {index} is not PEM: {reason}")]
    Pem {
        /// Position, from 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// Not a certificate.
    #[error("root {index}: {reason}")]
    Certificate {
        /// Position, from 0.
        index: usize,
        /// What is wrong.
        reason: String,
    },
    /// No certificate in it.
    #[error("there is no root in it")]
    Empty,
    /// Too many.
    #[error("there are more than {MOST_ROOTS} roots in it")]
    TooMany,
}

impl Trust {
    /// Reads a bundle.
    ///
    /// # Errors
    /// [`TrustError`]; nothing of the bundle is used then.
    pub fn new(bundle: TrustBundle, domain: TrustDomain) -> Result<Self, TrustError> {
        let mut trust = Self {
            domain,
            anchors: Vec::new(),
            roots: Vec::new(),
            bundle,
        };
        let certificates = CertificateDer::pem_slice_iter(trust.bundle.roots.as_bytes());
        for (index, certificate) in certificates.enumerate() {
            if index == MOST_ROOTS {
                return Err(TrustError::TooMany);
            }
            let certificate = certificate.map_err(|error| TrustError::Pem {
                index,
                reason: error.to_string(),
            })?;
            let fields = Fields::read(&certificate).map_err(|error: Malformed| TrustError::Certificate {
                index,
                reason: error.to_string(),
            })?;
            let anchor =
                webpki::anchor_from_trusted_cert(&certificate).map_err(|error| TrustError::Certificate {
                    index,
                    reason: error.to_string(),
                })?;
            trust.roots.push(key_id(fields.key));
            trust.anchors.push(anchor.to_owned());
        }
        if trust.roots.is_empty() {
            return Err(TrustError::Empty);
        }
        Ok(trust)
    }

    /// Whether a root is among those trusted.
    pub fn has_root(&self, root: &KeyId) -> bool {
        self.roots.contains(root)
    }

    /// The keys of its roots.
    pub fn roots(&self) -> &[KeyId] {
        &self.roots
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::testing::Authority;

    fn read(roots: &str) -> Result<Trust, TrustError> {
        let bundle = TrustBundle {
            roots: roots.to_owned(),
            ..TrustBundle::default()
        };
        Trust::new(bundle, TrustDomain::default())
    }

    #[test]
    fn every_root_of_a_bundle_is_trusted() {
        let (old, new) = (Authority::new("cluster.local"), Authority::new("cluster.local"));
        let trust = read(&(old.root_pem() + &new.root_pem())).unwrap();
        assert!(trust.has_root(&old.root_id()) && trust.has_root(&new.root_id()));
        assert!(!trust.has_root(&Authority::new("cluster.local").root_id()));
    }

    #[test]
    fn a_bundle_without_roots_is_refused() {
        assert!(matches!(read(""), Err(TrustError::Empty)));
    }

    #[test]
    fn one_broken_root_makes_the_bundle_unusable_and_is_named() {
        let good = Authority::new("cluster.local").root_pem();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let error = read(&(good + broken)).unwrap_err();
        assert!(error.to_string().starts_with("root 1:"), "{error}");
    }

    #[test]
    fn the_number_of_roots_is_bounded() {
        let many = Authority::new("cluster.local").root_pem().repeat(MOST_ROOTS + 1);
        assert!(matches!(read(&many), Err(TrustError::TooMany)));
    }
}
