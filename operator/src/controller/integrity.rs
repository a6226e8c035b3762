//! Signing what is written, and judging what is stored.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use smilax_core::signature::{Content, Digest, SignatureError, verify};
use smilax_core::workload_connection::KeyId;
use smilax_core::{Revision, Workload};

use super::stored::{Standing, StoredMap};

/// Who signs configurations.
pub trait Sign: fmt::Debug + Send + Sync {
    /// The text of [`smilax_core::signature::Signatures`] for this content, dated now.
    ///
    /// # Errors
    /// Why nothing can be signed.
    fn sign(&self, content: &Content<'_>) -> Result<String, SignError>;

    /// Whether a signature that holds is one that would be made now: of the same authority, with the same vouchers.
    fn would_make(&self, signature: &str) -> bool;
}

/// What could not be signed is not written.
#[derive(Debug, thiserror::Error)]
#[error("it cannot be signed: {0}")]
pub struct SignError(pub String);

/// Who signs, and which roots proxies trust.
#[derive(Clone, Debug)]
pub struct Integrity {
    signer: Arc<dyn Sign>,
    roots: BTreeSet<KeyId>,
}

impl Integrity {
    /// Of a signer whose signatures these roots vouch for.
    pub fn new(signer: Arc<dyn Sign>, roots: BTreeSet<KeyId>) -> Self {
        Self { signer, roots }
    }

    /// Signs the values of a ConfigMap's keys.
    ///
    /// # Errors
    /// [`SignError`].
    pub fn sign(&self, workload: &Workload, policy: &[u8], bundle: &[u8]) -> Result<String, SignError> {
        self.signer.sign(&Content {
            workload,
            policy: Digest::of(policy),
            bundle: Digest::of(bundle),
        })
    }

    /// What the signature of a ConfigMap says, when the latest revision of it that was ever verified here is this one.
    pub(super) fn judge(&self, namespace: &str, map: &StoredMap, latest: Option<Revision>) -> Standing {
        let workload = Workload::new(namespace, map.account.as_str());
        let content = Content {
            workload: &workload,
            policy: map.policy_digest,
            bundle: Digest::of(map.bundle.as_bytes()),
        };
        match verify(&content, map.signature.as_bytes(), &self.roots) {
            Err(SignatureError::Missing) => Standing::Unsigned,
            Err(error) => Standing::Tampered(error),
            Ok(_) => match latest {
                Some(latest) if map.revision() < Some(latest) => Standing::Replayed { latest },
                _ if self.signer.would_make(&map.signature) => Standing::Current,
                _ => Standing::Earlier,
            },
        }
    }

    /// Keys of the roots, as injection fixes them in a pod's spec.
    pub(super) fn anchors(&self) -> String {
        let roots: Vec<&str> = self.roots.iter().map(|root| root.0.as_str()).collect();
        roots.join(",")
    }
}
