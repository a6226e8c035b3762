//! `TrafficTarget` and `IdentityBinding`: who may call what.

mod binding;
mod target;
pub mod v1alpha1;

pub use binding::{IdentityBinding, IdentityBindingSpec, PodLabelSelector, Schemes};
pub use target::{Allowed, Destination, Port, Rule, Source, TrafficTarget, TrafficTargetSpec};

/// API group of TrafficTarget and IdentityBinding.
pub const GROUP: &str = "access.smi-spec.io";

/// Annotation that says what a TrafficTarget without rules means, where its version alone does not: `allow` on one
/// that was written in v1alpha1 or v1alpha2, whose rules are optional, and `deny` on one read in those versions that
/// was not.
pub const EMPTY_RULES_ANNOTATION: &str = "conversion.smilax.dev/empty-rules";
