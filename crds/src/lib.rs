//! API types of every SMI version, conversions between them, validation, and generated manifests. No IO.
//!
//! The rest of the product uses the *hub* types, those of the storage version `v1alpha4`: [`split::TrafficSplit`],
//! [`access::TrafficTarget`], [`access::IdentityBinding`], [`specs::HTTPRouteGroup`], [`specs::TCPRoute`],
//! [`specs::UDPRoute`], and the mesh's own [`mesh::MeshConfig`].
//!
//! ```text
//! object of any version ──convert()──► hub version ──serde──► hub type ──► compiler
//!          └────────────validate()──► errors and warnings for who applies it
//! Rust types of every version ──manifests()──► crds/manifests/*.yaml
//! ```
//!
//! Reading a hub type never fails because of what its `spec` holds: a specification that cannot be understood is
//! kept aside in `malformed` and the object's `spec` is then empty, so that one odd object cannot hide all others
//! of its kind from a watch.

pub mod access;
mod bounded;
pub mod census;
pub mod convert;
pub mod host;
mod manifests;
pub mod mesh;
pub mod metrics;
mod object;
pub mod quantity;
pub mod specs;
pub mod split;
pub mod status;
mod validate;

pub use convert::{
    Completeness, ConversionAnswer, ConversionOutcome, ConvertError, Converted, Reason, conversion_memory,
    conversion_review, convert, room,
};
pub use manifests::{CONVERSION_PATH, CONVERSION_SERVICE, file_name, manifests, to_yaml};
pub use object::Malformed;
pub use validate::{FieldError, Validation, validate};
