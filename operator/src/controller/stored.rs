//! A ConfigMap of ours as it is stored, and what its signature says.

mod head;

use std::sync::Arc;

use smilax_core::convention::config_map_name;
use smilax_core::packed;
use smilax_core::signature::{Digest, SignatureError};
use smilax_core::{Revision, Workload};

/// A ConfigMap of ours as it is stored.
///
/// Whoever may edit ConfigMaps decides what is in it. So nothing of it is unpacked, and its content is kept only while its
/// signature proves that the operator wrote it; of any other there are digests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredMap {
    /// The account that it is named after; empty when it is named after none.
    pub account: String,
    /// The revision that the policy claims, if that can be read.
    pub revision: Option<Revision>,
    /// Of the value of the policy's key, packed where it is.
    pub policy_digest: Digest,
    /// Of the trust bundle.
    pub bundle_digest: Digest,
    /// Generation that the trust bundle claims, if that can be read.
    pub bundle_generation: Option<u64>,
    /// Of the signature of both.
    pub signature_digest: Digest,
    /// What was read; `None` once it is known that it proves nothing.
    pub content: Option<Content>,
    /// What the signature says.
    pub standing: Standing,
    /// Anything in it that is not ours: another key.
    pub foreign: bool,
    /// Whether it is about to go.
    pub presence: Presence,
    /// Version of the object, so that a write meets only what was compared.
    pub resource_version: String,
}

/// Whether an object stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Presence {
    /// Nobody deleted it.
    #[default]
    There,
    /// It was deleted, and goes as soon as nobody holds it.
    Ending,
}

/// What a ConfigMap of ours holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// The policy.
    pub policy: StoredPolicy,
    /// The trust bundle; empty when there is none.
    pub bundle: Arc<str>,
    /// The signature of both; empty when there is none.
    pub signature: Arc<str>,
}

/// The value of a policy's key, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredPolicy {
    /// Its text; empty when there is none.
    Text(Arc<str>),
    /// Compressed.
    Packed(Arc<[u8]>),
}

impl Default for StoredPolicy {
    fn default() -> Self {
        Self::Text("".into())
    }
}

/// What the signature of a ConfigMap says about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nobody can say: the mesh has no authority that signs.
    #[default]
    Unchecked,
    /// Signed, as it would be signed now.
    Current,
    /// Signed by an authority, or with vouchers, of before. It holds, and is signed again.
    Earlier,
    /// Signed, but older than one that was seen here.
    Replayed {
        /// The latest that was seen.
        latest: Seen,
    },
    /// Not signed: by an earlier version of the operator, or by somebody who is not the operator.
    Unsigned,
    /// What stands there is not what was signed.
    Tampered(SignatureError),
}

/// Where a ConfigMap stands in the order of its versions: a policy may stay as it is while the bundle beside it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Of the policy.
    pub revision: Revision,
    /// Generation of the trust bundle; 0 for none.
    pub bundle: u64,
}

impl Seen {
    /// Whether a part of it is older than that of another.
    pub fn is_behind(&self, other: &Self) -> bool {
        self.revision < other.revision || self.bundle < other.bundle
    }

    /// The later of each part.
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        Self {
            revision: self.revision.max(other.revision),
            bundle: self.bundle.max(other.bundle),
        }
    }
}

/// What becomes of it.
const HINT: &str = "it is written again; the API server's audit log says who wrote it";

fn map_of(workload: &Workload) -> String {
    let name = config_map_name(&workload.account);
    format!("ConfigMap {}/{name}", workload.namespace)
}

impl Standing {
    /// Of one whose signature proves nothing.
    pub fn refused(error: SignatureError) -> Self {
        match error {
            SignatureError::Missing => Self::Unsigned,
            error => Self::Tampered(error),
        }
    }

    /// Whether what stands there may be told to proxies, and may be signed again as it is.
    pub fn holds(&self) -> bool {
        matches!(self, Self::Unchecked | Self::Current | Self::Earlier)
    }
}

impl StoredPolicy {
    /// In the form that a policy of this text has.
    #[cfg(test)]
    pub(crate) fn in_form(text: &str) -> Self {
        match packed::form(text) {
            Ok(packed::Form::Packed(bytes)) => Self::Packed(bytes.into()),
            _ => Self::Text(text.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Packed(bytes) => bytes,
        }
    }

    /// The revision that it claims. Only its beginning is unpacked and read, since its text may be a thousand times as long.
    fn revision(&self) -> Option<Revision> {
        match self {
            Self::Text(text) => head::revision(text.as_bytes()),
            Self::Packed(bytes) => head::revision(packed::beginning(bytes)),
        }
    }
}

impl StoredMap {
    /// Of this content, which nobody has judged yet.
    pub fn of(account: String, content: Content) -> Self {
        Self {
            account,
            revision: content.policy.revision(),
            policy_digest: Digest::of(content.policy.bytes()),
            bundle_digest: Digest::of(content.bundle.as_bytes()),
            bundle_generation: head::generation(&content.bundle),
            signature_digest: Digest::of(content.signature.as_bytes()),
            content: Some(content),
            ..Self::default()
        }
    }

    /// Bytes of its content that are kept.
    pub fn size(&self) -> usize {
        self.content.as_ref().map_or(0, |content| {
            content.policy.bytes().len() + content.bundle.len() + content.signature.len()
        })
    }

    /// Where it stands in the order of its versions, if its policy can be read.
    pub fn seen(&self) -> Option<Seen> {
        Some(Seen {
            revision: self.revision?,
            bundle: self.bundle_generation.unwrap_or_default(),
        })
    }

    /// Whether another one holds the same, whatever its version.
    pub fn same_content(&self, other: &Self) -> bool {
        self.same_signed(other) && self.foreign == other.foreign
    }

    /// Whether another one holds the same as far as its signature is concerned.
    pub fn same_signed(&self, other: &Self) -> bool {
        self.account == other.account
            && self.policy_digest == other.policy_digest
            && self.bundle_digest == other.bundle_digest
            && self.signature_digest == other.signature_digest
    }

    /// Whether its policy may stay as it stands there. What somebody else wrote is never signed.
    pub fn may_stay(&self) -> bool {
        !self.foreign && self.standing.holds()
    }

    /// Whether nobody has looked at its signature, and it has to be read again for that.
    pub fn is_unread(&self) -> bool {
        self.content.is_none() && self.standing == Standing::Unchecked
    }

    /// The trust bundle; empty when there is none, or none that is kept.
    pub fn bundle(&self) -> &str {
        self.content.as_ref().map_or("", |content| &content.bundle)
    }

    /// What is to be told of one that is not signed and holds something else than was compiled: an operator before this
    /// version wrote it, or somebody took the signature away.
    pub fn stripped(&self, workload: &Workload) -> String {
        let map = map_of(workload);
        format!("{map} is not signed, and does not hold what was compiled for it; {HINT}")
    }

    /// What is wrong with it, for people; `None` when nothing is, or when it is only not signed or an earlier one.
    pub fn tampering(&self, workload: &Workload) -> Option<String> {
        let (map, hint) = (map_of(workload), HINT);
        match &self.standing {
            Standing::Tampered(error) => {
                Some(format!("{map} was not written by the operator: {error}; {hint}"))
            }
            // An API server that lags behind shows the same as somebody who puts an earlier one back. Either is repaired.
            Standing::Unchecked
            | Standing::Current
            | Standing::Earlier
            | Standing::Replayed { .. }
            | Standing::Unsigned => None,
        }
    }
}
