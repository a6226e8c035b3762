//! The labels and annotations of the mesh: where each may stand, and what it may say.
//!
//! One table for everybody who reads, judges or documents them. What is wrong with those of an object, [`judge`] says.

mod foreign;
mod judge;
mod ports;
mod quantity;
mod service_ports;
pub mod values;

use smilax_core::convention::key;

pub use foreign::Instead;
pub use judge::{Fault, KeyFinding, Membership, judge};
pub use ports::{PortSet, PortsError};
pub use quantity::{Quantity, QuantityError};
pub use values::Values;

/// What all keys begin with.
pub const PREFIX: &str = "smilax.dev/";

/// Objects that a key may stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A Namespace.
    Namespace,
    /// A ServiceAccount.
    ServiceAccount,
    /// A Service.
    Service,
    /// A pod, or the pod template of a workload.
    Pod,
    /// The MeshConfig.
    MeshConfig,
}

/// Label or annotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In `metadata.labels`.
    Label,
    /// In `metadata.annotations`.
    Annotation,
}

/// A label or annotation of the mesh.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// With its prefix.
    pub name: &'static str,
    /// What it may be a label of.
    pub label_of: &'static [Place],
    /// What it may be an annotation of.
    pub annotation_of: &'static [Place],
    /// What it may say.
    pub values: Values,
}

impl Key {
    /// What it may stand on in this form.
    pub fn places(&self, form: Form) -> &'static [Place] {
        match form {
            Form::Label => self.label_of,
            Form::Annotation => self.annotation_of,
        }
    }

    /// The key of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        KEYS.iter().find(|key| key.name == name)
    }
}

const fn annotation(name: &'static str, annotation_of: &'static [Place], values: Values) -> Key {
    Key {
        name,
        label_of: &[],
        annotation_of,
        values,
    }
}

const POD: &[Place] = &[Place::Pod];
const NAMESPACE: &[Place] = &[Place::Namespace];
const BOTH: &[Place] = &[Place::Pod, Place::Namespace];

/// All of them.
pub const KEYS: &[Key] = &[
    Key {
        name: key::INJECT,
        label_of: &[Place::Namespace, Place::Pod],
        annotation_of: POD,
        values: Values::Injection,
    },
    annotation(key::ACCESS_MODE, BOTH, Values::AccessMode),
    annotation(key::TLS_MODE, BOTH, Values::TlsMode),
    annotation(key::TLS_PORT_MODES, POD, Values::TlsPortModes),
    annotation(key::ALLOW_RELAX, NAMESPACE, Values::Boolean),
    annotation(key::UNAUTHENTICATED_SOURCES, NAMESPACE, Values::Sources),
    annotation(key::DENIAL_REASONS, BOTH, Values::DenialReasons),
    annotation(
        key::DESTINATIONS,
        &[Place::ServiceAccount, Place::Namespace],
        Values::Destinations,
    ),
    annotation(key::CPU_REQUEST, BOTH, Values::Cpu),
    annotation(key::CPU_LIMIT, BOTH, Values::Cpu),
    annotation(key::MEMORY_REQUEST, BOTH, Values::Memory),
    annotation(key::MEMORY_LIMIT, BOTH, Values::Memory),
    annotation(key::LOG_LEVEL, BOTH, Values::LogFilter),
    annotation(key::DRAIN_SECONDS, BOTH, Values::DrainSeconds),
    annotation(key::MERGE_METRICS, BOTH, Values::Boolean),
    annotation(key::SKIP_INBOUND_PORTS, BOTH, Values::Ports),
    annotation(key::SKIP_OUTBOUND_PORTS, BOTH, Values::Ports),
    annotation(
        key::OPAQUE_PORTS,
        &[Place::Pod, Place::Namespace, Place::Service],
        Values::OpaquePorts,
    ),
    annotation(key::ROTATE, &[Place::MeshConfig], Values::Any),
    // Written at injection.
    annotation(key::INJECT_STATUS, POD, Values::Any),
    annotation(key::INBOUND_UDP, POD, Values::Any),
    Key {
        name: key::PROXY_VERSION,
        label_of: POD,
        annotation_of: &[],
        values: Values::Any,
    },
];

#[cfg(test)]
mod tests;
