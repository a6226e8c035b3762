//! Signing what is written, and judging what is stored.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use smilax_core::signature::{Content, Digest, SignatureError, TrustDomains, Trusted, verify};
use smilax_core::workload_connection::KeyId;
use smilax_core::{TrustDomain, Workload};

use super::stored::{Seen, Standing, StoredMap};
use crate::cluster_view::TrustAnchors;

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
#[derive(Debug)]
pub struct Integrity {
    signer: Arc<dyn Sign>,
    roots: BTreeSet<KeyId>,
    trust_domain: TrustDomain,
    /// Trust domains that this process signed for before.
    earlier_domains: BTreeSet<TrustDomain>,
    /// What was verified before the state is locked, until it is asked for.
    prepared: Mutex<HashMap<Workload, (Claim, Verdict)>>,
}

/// What a ConfigMap says, and by whom it claims to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    workload: Workload,
    policy: Digest,
    bundle: Digest,
    signature: Arc<str>,
}

/// What follows from a signature alone.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is as it would be made now.
    Current,
    /// It holds, of an authority or with vouchers of before.
    Earlier,
    /// It proves nothing.
    Refused(SignatureError),
}

impl Claim {
    /// Of a ConfigMap in this namespace; `None` when its signature was not kept.
    pub fn of(namespace: &str, map: &StoredMap) -> Option<Self> {
        Some(Self {
            workload: Workload::new(namespace, map.account.as_str()),
            policy: map.policy_digest,
            bundle: map.bundle_digest,
            signature: Arc::clone(&map.content.as_ref()?.signature),
        })
    }

    fn is_of(&self, map: &StoredMap) -> bool {
        let signature = Digest::of(self.signature.as_bytes());
        self.policy == map.policy_digest
            && self.bundle == map.bundle_digest
            && signature == map.signature_digest
    }
}

impl Integrity {
    /// Of a signer for this trust domain whose signatures these roots vouch for.
    pub fn new(signer: Arc<dyn Sign>, roots: BTreeSet<KeyId>, trust_domain: TrustDomain) -> Self {
        Self {
            signer,
            roots,
            trust_domain,
            earlier_domains: BTreeSet::new(),
            prepared: Mutex::default(),
        }
    }

    /// In the place of another one of this process, whose signatures were no tampering.
    pub(super) fn after(mut self, before: &Self) -> Self {
        self.earlier_domains.clone_from(&before.earlier_domains);
        self.earlier_domains.insert(before.trust_domain.clone());
        self.earlier_domains.remove(&self.trust_domain);
        self
    }

    /// First part of the identities of the mesh that it signs for.
    pub(super) fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
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

    /// Verifies what will be asked for in a moment. That takes as long as thousands of comparisons, so nothing else should wait
    /// for it.
    ///
    /// Gives why the signature proves nothing.
    pub(super) fn prepare(&self, claim: Claim) -> Option<Standing> {
        let verdict = self.verify(&claim);
        if let Verdict::Refused(error) = verdict {
            return Some(Standing::refused(error));
        }
        let workload = claim.workload.clone();
        self.prepared.lock().insert(workload, (claim, verdict));
        None
    }

    pub(super) fn forget(&self, workload: &Workload) {
        self.prepared.lock().remove(workload);
    }

    fn verify(&self, claim: &Claim) -> Verdict {
        let content = Content {
            workload: &claim.workload,
            policy: claim.policy,
            bundle: claim.bundle,
        };
        let domains = self.earlier_domains.iter().chain([&self.trust_domain]);
        let trusted = Trusted {
            roots: self.roots.clone(),
            trust_domains: TrustDomains::Only(domains.cloned().collect()),
        };
        match verify(&content, claim.signature.as_bytes(), &trusted) {
            Err(error) => Verdict::Refused(error),
            Ok(proof)
                if proof.trust_domain == self.trust_domain && self.signer.would_make(&claim.signature) =>
            {
                Verdict::Current
            }
            Ok(_) => Verdict::Earlier,
        }
    }

    /// What the signature of a ConfigMap says, when this is the latest of it that was ever verified here. One whose content was
    /// not kept stands as it did.
    pub(super) fn judge(&self, namespace: &str, map: &StoredMap, latest: Option<Seen>) -> Standing {
        let workload = Workload::new(namespace, map.account.as_str());
        let prepared = self.prepared.lock().remove(&workload);
        let verdict = match prepared {
            Some((claim, verdict)) if claim.is_of(map) => verdict,
            _ => match Claim::of(namespace, map) {
                Some(claim) => self.verify(&claim),
                None => return map.standing.clone(),
            },
        };
        let replayed = latest.filter(|latest| map.seen().is_none_or(|seen| seen.is_behind(latest)));
        match (verdict, replayed) {
            (Verdict::Refused(error), _) => Standing::refused(error),
            (_, Some(latest)) => Standing::Replayed { latest },
            (Verdict::Current, None) => Standing::Current,
            (Verdict::Earlier, None) => Standing::Earlier,
        }
    }

    /// What injection fixes in a pod's spec.
    pub(super) fn anchors(&self) -> TrustAnchors {
        let roots: Vec<&str> = self.roots.iter().map(|root| root.0.as_str()).collect();
        TrustAnchors {
            roots: roots.join(","),
            trust_domain: self.trust_domain.clone(),
        }
    }
}
