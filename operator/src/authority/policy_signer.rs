//! Who signs configurations, and how the root in use follows from earlier ones.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, SigningKey as _};
use smilax_core::signature::{
    Content, Digest, MOST_VOUCHERS, Signature, Signatures, TrustDomains, Trusted, Voucher, verify,
};
use smilax_core::workload_connection::KeyId;
use smilax_core::{TrustDomain, Workload};
use time::OffsetDateTime;

use super::issue::IssueError;
use super::material::{Authority, Material};

/// Signs configurations with a key of its own, which the issuer in use certified. The key lies in this process only.
pub struct PolicySigner {
    trust_domain: TrustDomain,
    key: KeyPair,
    /// Its certificate, PEM.
    certificate: String,
    /// What stands above it: the issuer, what leads to the root, and the root or roots. PEM.
    above: String,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    vouchers: Vec<Voucher>,
}

impl std::fmt::Debug for PolicySigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicySigner")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

impl PolicySigner {
    /// A signer below the issuer in use, which has been seen to be accepted by whoever trusts the roots in use.
    ///
    /// # Errors
    /// [`IssueError`]; an issuer of the user's may be for TLS only.
    pub fn new(
        authority: &Authority,
        trust_domain: &TrustDomain,
        now: OffsetDateTime,
    ) -> Result<Self, IssueError> {
        let (issued, key) = authority.certify_policy_signer(trust_domain, now)?;
        let signer = Self {
            trust_domain: trust_domain.clone(),
            key,
            certificate: issued.certificate,
            above: issued.above + &authority.material.signer.root,
            not_before: issued.not_before,
            not_after: issued.not_after,
            vouchers: authority.material.vouchers.clone(),
        };
        let workload = Workload::new("", "");
        let content = Content {
            workload: &workload,
            policy: Digest::of(b""),
            bundle: Digest::of(b""),
        };
        let text = signer.sign_at(&content, now)?;
        let trusted = Trusted {
            roots: authority.root_ids(),
            trust_domains: TrustDomains::Only([trust_domain.clone()].into()),
        };
        verify(&content, text.as_bytes(), &trusted).map_err(IssueError::Unaccepted)?;
        Ok(signer)
    }

    /// The text of [`Signatures`] for this content.
    ///
    /// # Errors
    /// [`IssueError`], for example when the issuer's time is over.
    pub fn sign_at(&self, content: &Content<'_>, now: OffsetDateTime) -> Result<String, IssueError> {
        let statement = |at| content.statement(&self.trust_domain, at);
        let signatures = Signatures {
            content: self.signature(statement, now)?,
            vouchers: self.vouchers.clone(),
        };
        // Strings and numbers only, so it cannot fail to be written.
        Ok(serde_json::to_string(&signatures).unwrap_or_default())
    }

    /// Whether a signature that holds is one that would be made now: of the same authority, with the same vouchers.
    pub fn would_make(&self, signatures: &str) -> bool {
        serde_json::from_str::<Signatures>(signatures).is_ok_and(|signatures| {
            signatures.content.chain.ends_with(&self.above) && signatures.vouchers == self.vouchers
        })
    }

    fn vouch(&self, roots: Vec<KeyId>, now: OffsetDateTime) -> Result<Voucher, IssueError> {
        let statement = |at| Voucher::statement(&self.trust_domain, &roots, at);
        Ok(Voucher {
            signature: self.signature(statement, now)?,
            roots,
        })
    }

    fn signature(
        &self,
        statement: impl Fn(u64) -> Vec<u8>,
        now: OffsetDateTime,
    ) -> Result<Signature, IssueError> {
        if now >= self.not_after {
            return Err(IssueError::Issuer);
        }
        // A clock that was set back must not make signatures of a time before the certificate: nobody would take them. With
        // the certificate's time they hold.
        let signed_at = now.max(self.not_before).unix_timestamp();
        let signed_at = u64::try_from(signed_at).unwrap_or_default();
        let value = self.key.sign(&statement(signed_at))?;
        Ok(Signature {
            chain: format!("{}{}", self.certificate, self.above),
            signed_at,
            value: STANDARD.encode(value),
        })
    }
}

impl Material {
    /// Vouches for the roots that `self` has beyond those of the authority before it, so that pods which trust only those
    /// follow the change. Without new roots nothing is added.
    ///
    /// # Errors
    /// [`IssueError`] when the authority before can sign nothing.
    pub(super) fn vouched(
        mut self,
        before: &Authority,
        trust_domain: &TrustDomain,
        now: OffsetDateTime,
    ) -> Result<Self, IssueError> {
        let after = Authority::examine(self.clone(), now).map_err(IssueError::Unusable)?;
        let (old, new) = (before.root_ids(), after.root_ids());
        let added: BTreeSet<&KeyId> = new.difference(&old).collect();
        if !added.is_empty() {
            let signer = PolicySigner::new(before, trust_domain, now)?;
            self.vouchers.push(signer.vouch(new.into_iter().collect(), now)?);
            let surplus = self.vouchers.len().saturating_sub(MOST_VOUCHERS);
            self.vouchers.drain(..surplus);
        }
        Ok(self)
    }
}
