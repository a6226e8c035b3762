//! A ConfigMap of ours as it is stored, and what its signature says.

use serde::Deserialize;
use smilax_core::convention::config_map_name;
use smilax_core::signature::{Digest, SignatureError};
use smilax_core::{Revision, Workload};

/// A ConfigMap of ours as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredMap {
    /// The account that it is named after.
    pub account: String,
    /// The policy as it stands there, unpacked; empty when there is none that can be read.
    pub policy: String,
    /// Of the value of the policy's key, packed where it is.
    pub policy_digest: Digest,
    /// The trust bundle as it stands there; empty when there is none.
    pub bundle: String,
    /// The signature of both as it stands there; empty when there is none.
    pub signature: String,
    /// What the signature says.
    pub standing: Standing,
    /// Anything in it that is not ours: another key, or the policy in the wrong form.
    pub foreign: bool,
    /// Version of the object, so that a write meets only what was compared.
    pub resource_version: String,
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
    /// Whether what stands there may be told to proxies, and may be signed again as it is.
    pub fn holds(&self) -> bool {
        matches!(self, Self::Unchecked | Self::Current | Self::Earlier)
    }
}

impl StoredMap {
    /// Revision that it carries, if it can be read. Whether it may be believed is for [`Self::standing`] to say.
    pub fn revision(&self) -> Option<Revision> {
        /// A policy may be long, and only this is asked for.
        #[derive(Deserialize)]
        struct Head {
            revision: Option<Revision>,
        }
        serde_json::from_str::<Head>(&self.policy).ok()?.revision
    }

    /// Where it stands in the order of its versions, if its policy can be read.
    pub fn seen(&self) -> Option<Seen> {
        Some(Seen {
            revision: self.revision()?,
            bundle: self.bundle_generation().unwrap_or_default(),
        })
    }

    /// Whether another one holds the same, whatever its version.
    pub fn same_content(&self, other: &Self) -> bool {
        self.same_signed(other) && self.foreign == other.foreign
    }

    /// Whether another one holds the same as far as its signature is concerned.
    pub fn same_signed(&self, other: &Self) -> bool {
        self.account == other.account
            && self.policy == other.policy
            && self.policy_digest == other.policy_digest
            && self.bundle == other.bundle
            && self.signature == other.signature
    }

    /// Generation of the bundle that it carries, if it can be read.
    pub fn bundle_generation(&self) -> Option<u64> {
        let value: serde_json::Value = serde_json::from_str(&self.bundle).ok()?;
        value["generation"].as_u64()
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
