//! What can be followed.

use std::net::SocketAddr;
use std::sync::Arc;

use smilax_core::convention::config_map_name;
use smilax_core::endpoints::{DestinationPortName, Resource};
use smilax_core::{Revision, Workload};

/// Something whose newest value proxies are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    /// Whom to trust.
    Bundle,
    /// The pods of the bindings that a workload's configuration names.
    Members(Workload),
    /// A workload's configuration, by the ConfigMap that holds it.
    Policy {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        map: Arc<str>,
    },
    /// The endpoints of a port.
    Endpoints(DestinationPortName),
    /// What stands behind an address.
    Address(SocketAddr),
    /// Where a node is, by its name.
    Locality(Arc<str>),
}

/// Place of a value among those of its topic: a policy's is its revision, others are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(u64, u64);

impl Topic {
    /// The configuration of a workload.
    pub(super) fn policy(workload: &Workload) -> Self {
        Self::Policy {
            namespace: workload.namespace.clone(),
            map: config_map_name(&workload.account).into(),
        }
    }

    /// Kind, as metrics name it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Bundle => "bundle",
            Self::Members(_) => "members",
            Self::Policy { .. } => "policy",
            Self::Endpoints(_) => "endpoints",
            Self::Address(_) => "address",
            Self::Locality(_) => "locality",
        }
    }
}

impl From<Resource> for Topic {
    fn from(resource: Resource) -> Self {
        match resource {
            Resource::Endpoints(of) => Self::Endpoints(of),
            Resource::Address(of) => Self::Address(of),
        }
    }
}

impl Version {
    /// The nth of all.
    pub(super) fn nth(count: u64) -> Self {
        Self(0, count)
    }
}

impl From<Revision> for Version {
    fn from(revision: Revision) -> Self {
        Self(revision.term, revision.counter)
    }
}
