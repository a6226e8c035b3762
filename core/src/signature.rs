//! Signatures of the ConfigMaps that hold configurations.
//!
//! Whoever may edit ConfigMaps in a namespace can write anything into the ones that its proxies mount. A proxy
//! therefore takes a mounted configuration only when the authority of the mesh signed it:
//!
//! ```text
//! pod's spec: keys of the roots at injection ─┐
//!                                             ▼
//! vouchers, oldest first ─► each signed below a trusted root ─► its roots are trusted too
//!                                             ▼
//! signature of (trust domain, workload, policy, bundle) ─► signed below a trusted root ─► both are taken, or neither
//! ```
//!
//! The signing certificate has an extended key usage and a SPIFFE ID of its own, so that no workload's certificate can
//! take its place. It is verified for the time of signing: a mounted configuration stays valid when its signer expires.

mod verify;

use std::collections::BTreeSet;
use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::hex::hex;
use crate::identity::{SpiffeId, TrustDomain};
use crate::name::Workload;
use crate::workload_connection::KeyId;

pub use verify::{Proof, SignatureError, authorities, key_id, verify};

/// Bytes of the text of [`Signatures`] at most; longer ones are refused unread.
pub const MOST_BYTES: usize = 128 * 1024;
/// Vouchers at most. With more, the oldest are dropped: pods that are older than so many changes of the root are
/// created anew.
pub const MOST_VOUCHERS: usize = 8;
/// Certificates of a chain at most, the root included.
pub const LONGEST_CHAIN: usize = 10;

/// What lies under [`crate::convention::SIGNATURE_KEY`] beside a policy and its trust bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signatures {
    /// Of the policy and the bundle together.
    pub content: Signature,
    /// How the present root follows from earlier ones, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vouchers: Vec<Voucher>,
}

/// A signature, and who made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signature {
    /// The signing certificate, the authorities above it, and the root or roots. PEM.
    pub chain: String,
    /// When it was made, in seconds since the epoch. The chain is verified for this time.
    pub signed_at: u64,
    /// ECDSA on P-256 with SHA-256, ASN.1, in base64.
    pub value: String,
}

/// Other roots that somebody trusted vouches for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Voucher {
    /// Keys of the roots to be trusted as well.
    pub roots: Vec<KeyId>,
    /// Of the list of keys.
    pub signature: Signature,
}

/// Whose signatures count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trusted {
    /// Keys of the roots that the signer's certificate may lead to.
    pub roots: BTreeSet<KeyId>,
    /// Trust domains that the signer may be of: several meshes may have one root.
    pub trust_domains: TrustDomains,
}

/// Trust domains whose signers count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustDomains {
    /// Every one: nobody said which.
    Any,
    /// These.
    Only(BTreeSet<TrustDomain>),
}

impl TrustDomains {
    /// Whether a signer of this trust domain counts.
    pub fn contains(&self, trust_domain: &TrustDomain) -> bool {
        match self {
            Self::Any => true,
            Self::Only(these) => these.contains(trust_domain),
        }
    }
}

/// What a ConfigMap holds, byte for byte as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// Whose configuration it is.
    pub workload: &'a Workload,
    /// Of the value of the policy's key: text, or packed.
    pub policy: Digest,
    /// Of the value of the trust bundle's key; of nothing when there is none.
    pub bundle: Digest,
}

/// SHA-256 of a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    pub fn of(value: &[u8]) -> Self {
        let hash = digest(&SHA256, value);
        Self(hash.as_ref().try_into().unwrap_or_default())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl Content<'_> {
    /// The bytes that are signed. The policy holds its revision, so that is signed with it.
    pub fn statement(&self, trust_domain: &TrustDomain, signed_at: u64) -> Vec<u8> {
        // None of the names can hold a line break.
        format!(
            "smilax configuration 1\n{trust_domain}\n{}\n{}\n{signed_at}\n{}\n{}\n",
            self.workload.namespace, self.workload.account, self.policy, self.bundle,
        )
        .into_bytes()
    }
}

impl Voucher {
    /// The bytes that are signed to vouch for roots.
    pub fn statement(trust_domain: &TrustDomain, roots: &[KeyId], signed_at: u64) -> Vec<u8> {
        let roots: Vec<String> = roots
            .iter()
            .map(|root| Digest::of(root.0.as_bytes()).to_string())
            .collect();
        format!(
            "smilax roots 1\n{trust_domain}\n{signed_at}\n{}\n",
            roots.join("\n")
        )
        .into_bytes()
    }
}

/// The SPIFFE ID of whoever signs configurations of this trust domain.
pub fn signer_id(trust_domain: &TrustDomain) -> String {
    format!(
        "spiffe://{trust_domain}{}",
        crate::convention::wire::POLICY_SIGNER_PATH
    )
}

/// Reads a list of keys as [`crate::convention::variable::TRUST_ANCHORS`] holds it.
///
/// # Errors
/// The part that is not a hexadecimal SHA-256.
pub fn parse_anchors(text: &str) -> Result<BTreeSet<KeyId>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| {
            let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if part.len() == 64 && part.bytes().all(hexadecimal) {
                Ok(KeyId(part.to_owned()))
            } else {
                Err(format!(
                    "{part:?} is not a SHA-256 in 64 lower-case hexadecimal digits"
                ))
            }
        })
        .collect()
}

fn is_signer(id: &SpiffeId) -> bool {
    id.as_str() == signer_id(&id.trust_domain())
}

#[cfg(test)]
mod tests;
