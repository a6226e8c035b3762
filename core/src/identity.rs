//! Who a workload is: the SPIFFE ID that its certificate carries.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::name::Workload;

/// Scheme of every SPIFFE ID.
const SCHEME: &str = "spiffe://";
/// Longest SPIFFE ID in bytes (SPIFFE-ID section 2.3).
const LONGEST_ID: usize = 2048;
/// Longest trust domain in bytes (SPIFFE-ID section 2.3).
const LONGEST_DOMAIN: usize = 255;

/// A SPIFFE ID, kept byte for byte: two are the same only when every byte is. Nothing is decoded, folded or trimmed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpiffeId(Box<str>);

/// First part of every identity of a mesh, for example `cluster.local`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrustDomain(Box<str>);

/// What a peer has proven about itself by its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The one URI of its certificate.
    pub id: SpiffeId,
    /// The account, when the id is of the form that this mesh gives to workloads.
    pub workload: Option<Workload>,
    /// UID of its pod, from a private extension of the certificate.
    pub pod_uid: Option<Box<str>>,
}

/// Text that is no SPIFFE ID, or no trust domain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Another scheme, or none.
    #[error("it does not begin with {SCHEME}")]
    Scheme,
    /// More than [`LONGEST_ID`] bytes.
    #[error("it is longer than {LONGEST_ID} bytes")]
    TooLong,
    /// Empty, too long, or with characters that a trust domain may not hold.
    #[error(
        "its trust domain is not 1 to {LONGEST_DOMAIN} lower-case letters, digits, dots, hyphens and underscores"
    )]
    TrustDomain,
    /// An empty or relative segment, a trailing slash, or characters that a path may not hold.
    #[error(
        "its path has an empty or relative segment, or other characters than letters, digits, dots, hyphens and underscores"
    )]
    Path,
}

impl SpiffeId {
    /// The id that this mesh gives to a workload: `spiffe://<trust domain>/ns/<namespace>/sa/<account>`.
    pub fn of(trust_domain: &TrustDomain, workload: &Workload) -> Self {
        Self(
            format!(
                "{SCHEME}{}/ns/{}/sa/{}",
                trust_domain.0, workload.namespace, workload.account
            )
            .into(),
        )
    }

    /// The text, scheme and all.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its trust domain.
    pub fn trust_domain(&self) -> TrustDomain {
        let rest = self.0.strip_prefix(SCHEME).unwrap_or_default();
        TrustDomain(rest.split('/').next().unwrap_or_default().into())
    }

    /// The workload, when the path is of the form that this mesh gives.
    pub fn workload(&self) -> Option<Workload> {
        let rest = self.0.strip_prefix(SCHEME)?;
        let mut parts = rest.split('/').skip(1);
        match (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            (Some("ns"), Some(namespace), Some("sa"), Some(account), None) => {
                Some(Workload::new(namespace, account))
            }
            _ => None,
        }
    }
}

impl TrustDomain {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TrustDomain {
    fn default() -> Self {
        Self("cluster.local".into())
    }
}

impl Identity {
    /// What a certificate with this id, and perhaps a pod's UID, proves.
    pub fn new(id: SpiffeId, pod_uid: Option<Box<str>>) -> Self {
        Self {
            workload: id.workload(),
            id,
            pod_uid,
        }
    }
}

impl FromStr for SpiffeId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix(SCHEME).ok_or(InvalidId::Scheme)?;
        if text.len() > LONGEST_ID {
            return Err(InvalidId::TooLong);
        }
        let (domain, path) = match rest.split_once('/') {
            Some((domain, path)) => (domain, Some(path)),
            None => (rest, None),
        };
        domain.parse::<TrustDomain>()?;
        let segments = path.into_iter().flat_map(|path| path.split('/'));
        for segment in segments {
            let plain = segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
            if segment.is_empty() || segment == "." || segment == ".." || !plain {
                return Err(InvalidId::Path);
            }
        }
        Ok(Self(text.into()))
    }
}

impl FromStr for TrustDomain {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
        if text.is_empty() || text.len() > LONGEST_DOMAIN || !text.bytes().all(plain) {
            return Err(InvalidId::TrustDomain);
        }
        Ok(Self(text.into()))
    }
}

macro_rules! as_text {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

as_text!(SpiffeId);
as_text!(TrustDomain);

#[cfg(test)]
mod tests;
