//! Where the pods of a destination are: what a configuration does not hold, since pods come and go.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::config::{Destination, Protocol};
use crate::expected::ExpectedIdentity;
use crate::name::DestinationName;

/// Something that a proxy asks the operator for, over the workload connection only.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Resource {
    /// The endpoints of one port of a destination.
    Endpoints(DestinationPortName),
    /// What stands behind an address that the configuration does not name: another Service, or a pod.
    Address(SocketAddr),
}

/// One port of a destination, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DestinationPortName {
    /// The destination.
    pub destination: DestinationName,
    /// Its port, not that of its pods.
    pub port: u16,
}

/// What is known of a resource now. It replaces whatever was known before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Update {
    /// The endpoints of a port. Without any, nobody is there.
    Endpoints {
        /// Of which port.
        of: DestinationPortName,
        /// All of them; `None` when endpoints do not tell where requests go (there is no such destination, or its
        /// address is to be used), so that its virtual address is.
        endpoints: Option<Vec<Endpoint>>,
    },
    /// What stands behind an address.
    Address {
        /// Which address.
        of: SocketAddr,
        /// What.
        found: Found,
    },
}

/// What stands behind an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Found {
    /// Nothing of the mesh: bytes pass untouched.
    Nothing,
    /// A destination with its routes, and after it every other that these lead to, without theirs.
    Destinations(Vec<Destination>),
    /// A pod of the mesh.
    Pod {
        /// Whom it must prove to be.
        workload: ExpectedIdentity,
        /// What is spoken there.
        #[serde(default)]
        protocol: Protocol,
        /// Whether it can prove that.
        #[serde(default, skip_serializing_if = "Sidecar::is_present")]
        sidecar: Sidecar,
    },
}

/// Whether a pod has a proxy beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Sidecar {
    /// It has.
    #[default]
    Present,
    /// It has none, and its namespace takes no plaintext: callers are refused at once.
    Absent,
}

impl Endpoint {
    /// What is told of it to who may not call it. Its zone and its node are of use only to who is answered there.
    #[must_use]
    pub fn address_only(&self) -> Self {
        Self {
            address: self.address,
            workload: self.workload.as_ref().map(ExpectedIdentity::without_account),
            state: self.state,
            zone: None,
            for_zones: Vec::new(),
            node: None,
        }
    }
}

impl Found {
    /// What is told of it to who may not call it: no account, and not where routes lead.
    #[must_use]
    pub fn addresses_only(&self) -> Self {
        match self {
            Self::Nothing => Self::Nothing,
            Self::Destinations(all) => {
                let found = all.first().map(Destination::addresses_only);
                Self::Destinations(found.into_iter().collect())
            }
            Self::Pod {
                workload,
                protocol,
                sidecar,
            } => Self::Pod {
                workload: workload.without_account(),
                protocol: *protocol,
                sidecar: *sidecar,
            },
        }
    }
}

impl Update {
    /// What is told to who may not call what it is about.
    #[must_use]
    pub fn addresses_only(&self) -> Self {
        match self {
            Self::Endpoints { of, endpoints } => Self::Endpoints {
                of: of.clone(),
                endpoints: endpoints
                    .as_ref()
                    .map(|all| all.iter().map(Endpoint::address_only).collect()),
            },
            Self::Address { of, found } => Self::Address {
                of: *of,
                found: found.addresses_only(),
            },
        }
    }
}

impl Sidecar {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_present(&self) -> bool {
        *self == Self::Present
    }
}

/// A pod that requests may go to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whom it must prove to be; `None` where connections to it are not secured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<ExpectedIdentity>,
    /// Whether it takes new requests.
    #[serde(default, skip_serializing_if = "EndpointState::is_ready")]
    pub state: EndpointState,
    /// Zone of its node, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Box<str>>,
    /// Zones whose callers should prefer it (EndpointSlice hints). Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub for_zones: Vec<Box<str>>,
    /// Name of its node, where that is known; `internalTrafficPolicy: Local` asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Box<str>>,
}

/// Whether an endpoint takes new requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EndpointState {
    /// It does.
    #[default]
    Ready,
    /// It still serves, and is about to end: used only when no other is there (EndpointSlice `serving` and
    /// `terminating`).
    Draining,
}

impl EndpointState {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    fn is_ready(&self) -> bool {
        *self == Self::Ready
    }
}

impl Update {
    /// What it is about.
    pub fn resource(&self) -> Resource {
        match self {
            Self::Endpoints { of, .. } => Resource::Endpoints(of.clone()),
            Self::Address { of, .. } => Resource::Address(*of),
        }
    }
}
