//! What a proxy is told: the configuration that lies in a ConfigMap.
//!
//! It is additive. Unknown fields are ignored, so that an older proxy reads what a newer operator writes; what an
//! older proxy must not ignore is named in [`ProxyConfig::requires`], and a proxy that lacks one of these features
//! refuses the configuration whole. In conditions, and in who may call, an unknown field refuses it too: it may narrow
//! what stands beside it, and to ignore it would allow more than was written.

mod inbound;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

pub use inbound::{
    AccessMode, AccessTarget, ContainerPort, InboundPolicy, InvalidMode, OwnSettings, PortMatch, SourceMatch,
    TlsMode, UnauthenticatedSource,
};

use crate::expected::ExpectedIdentity;
use crate::identity::TrustDomain;
use crate::name::{DestinationName, ObjectRef, Workload};
use crate::packed;
use crate::revision::Revision;
use crate::workload_connection::OperatorEndpoint;

/// Required by a configuration that restricts callers: a proxy that would ignore it must not use it.
pub const INBOUND_POLICY: &str = "inbound-policy";
/// Features that this version understands when a configuration requires them.
pub const FEATURES: &[&str] = &[INBOUND_POLICY];

/// Configuration of every proxy that runs under one workload identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyConfig {
    /// Place in the order of configurations.
    #[serde(default)]
    pub revision: Revision,
    /// Features without which this configuration must not be used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Whose proxies these are.
    pub workload: Workload,
    /// Suffix of the cluster's DNS names.
    #[serde(default = "default_cluster_domain")]
    pub cluster_domain: String,
    /// First part of every identity of the mesh.
    #[serde(default)]
    pub trust_domain: TrustDomain,
    /// Where the operator is reached; `None` for a proxy that runs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<OperatorEndpoint>,
    /// What the workload may call with policy; anything else passes through untouched.
    #[serde(default)]
    pub destinations: Vec<Destination>,
    /// Who may call the workload. Empty: everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inbound: Vec<InboundPolicy>,
}

/// Something that workloads call by a stable name and address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// Its name.
    pub name: DestinationName,
    /// Virtual addresses, one for each family. Empty for a headless destination, which has none and is recognised by
    /// the request's Host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    /// Accounts of the pods that stand behind it: whom a server must prove to be, where a port is secured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accounts: Vec<ExpectedIdentity>,
    /// Ports that it listens on.
    pub ports: Vec<DestinationPort>,
}

/// One port of a destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationPort {
    /// Port number, 1 to 65535.
    pub port: u16,
    /// What is spoken there.
    #[serde(default)]
    pub protocol: Protocol,
    /// How connections to it are secured.
    #[serde(default, skip_serializing_if = "Security::is_plaintext")]
    pub security: Security,
    /// Tried in order; the first that matches decides. What no route matches goes to the destination itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteConfig>,
}

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1 or HTTP/2 with prior knowledge, told apart by the preface (RFC 9113 section 3.4).
    Http,
    /// Bytes, never parsed: the choice is made once a connection.
    Tcp,
    /// Unknown: looked at, and carried as bytes when it is not HTTP.
    #[default]
    Detect,
}

/// How connections to a port are secured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Security {
    /// As the application sends it.
    #[default]
    Plaintext,
    /// TLS in which both sides prove who they are. Nothing is sent to who cannot.
    MutualTls,
}

impl ProxyConfig {
    /// The configuration of a workload that knows no destination and lets everybody in.
    pub fn empty(workload: Workload) -> Self {
        Self {
            revision: Revision::default(),
            requires: Vec::new(),
            workload,
            cluster_domain: default_cluster_domain(),
            trust_domain: TrustDomain::default(),
            operator: None,
            destinations: Vec::new(),
            inbound: Vec::new(),
        }
    }
}

impl Destination {
    /// What is told of it to who may not call it: how it is reached, but no accounts, and not where its routes lead.
    #[must_use]
    pub fn addresses_only(&self) -> Self {
        let without_routes = |port: &DestinationPort| DestinationPort {
            routes: Vec::new(),
            ..port.clone()
        };
        let accounts: BTreeSet<_> = self
            .accounts
            .iter()
            .map(ExpectedIdentity::without_account)
            .collect();
        Self {
            name: self.name.clone(),
            addresses: self.addresses.clone(),
            accounts: accounts.into_iter().collect(),
            ports: self.ports.iter().map(without_routes).collect(),
        }
    }
}

impl DestinationPort {
    /// A port in plaintext, without routes.
    pub fn plaintext(port: u16, protocol: Protocol) -> Self {
        Self {
            port,
            protocol,
            security: Security::Plaintext,
            routes: Vec::new(),
        }
    }
}

impl Security {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_plaintext(&self) -> bool {
        *self == Self::Plaintext
    }
}

/// A rule that sends requests to weighted backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RouteConfig {
    /// The user's object that asked for it.
    pub source: ObjectRef,
    /// Alternatives, any of which selects the request. Empty selects every request, and every TCP connection;
    /// a route with matches never selects a TCP connection.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<HttpMatch>,
    /// The HTTPRouteGroups that the matches come from. A proxy that learned the route reports their generations.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<ObjectRef>,
    /// Where to. At least one has a weight above zero.
    pub backends: Vec<WeightedBackend>,
}

/// Conditions on a request, all of which must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpMatch {
    /// Name that the user gave it.
    #[serde(default)]
    pub name: String,
    /// Regular expression on the path without its query, complete with its anchors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Methods, compared exactly (RFC 9110 section 9.1). Empty: any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Headers, all of which must be present with every value matching.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<HeaderMatch>,
}

/// A condition on one header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HeaderMatch {
    /// Lower-case name.
    pub name: String,
    /// Regular expression, complete with its anchors.
    pub value: String,
}

/// A backend and its share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightedBackend {
    /// Which destination; its own routes are not followed. The port is that of the route.
    pub destination: DestinationName,
    /// Share relative to the sum over the route. Zero receives nothing.
    pub weight: u32,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not JSON of the right shape.
    #[error("configuration is malformed at {path}: {reason}")]
    Malformed {
        /// Path of the field, `.` for the document.
        path: String,
        /// What is wrong there.
        reason: String,
    },
    /// Asks for what this version lacks.
    #[error("configuration requires feature {feature:?}, which version {version} of the proxy lacks")]
    MissingFeature {
        /// The feature.
        feature: String,
        /// Version of this crate.
        version: &'static str,
    },
}

fn default_cluster_domain() -> String {
    "cluster.local".to_owned()
}

/// Reads a configuration, packed or not, and checks that this version can honour it.
///
/// # Errors
/// [`DecodeError::Malformed`] with the path of the field, or [`DecodeError::MissingFeature`].
pub fn decode(bytes: &[u8]) -> Result<ProxyConfig, DecodeError> {
    if packed::is_packed(bytes) {
        let text = packed::unpack(bytes).map_err(|error| DecodeError::Malformed {
            path: ".".to_owned(),
            reason: error.to_string(),
        })?;
        return decode_text(&text);
    }
    decode_text(bytes)
}

fn decode_text(bytes: &[u8]) -> Result<ProxyConfig, DecodeError> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let config: ProxyConfig =
        serde_path_to_error::deserialize(&mut json).map_err(|error| DecodeError::Malformed {
            path: error.path().to_string(),
            reason: error.inner().to_string(),
        })?;
    json.end().map_err(|error| DecodeError::Malformed {
        path: ".".to_owned(),
        reason: error.to_string(),
    })?;
    match config
        .requires
        .iter()
        .find(|feature| !FEATURES.contains(&feature.as_str()))
    {
        Some(feature) => Err(DecodeError::MissingFeature {
            feature: feature.clone(),
            version: env!("CARGO_PKG_VERSION"),
        }),
        None => Ok(config),
    }
}

#[cfg(test)]
mod tests;
