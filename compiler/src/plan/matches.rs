//! References of splits to HTTPRouteGroups (SMI TrafficSplit v1alpha4).

use smilax_core::config::HttpMatch;

use super::Scope;
use crate::diagnostic::Reason;
use crate::model::{Meta, Reference};

/// API group of HTTPRouteGroup.
const SPECS_GROUP: &str = "specs.smi-spec.io";

/// The group that a split refers to, with its usable matches; what cannot be used selects nothing.
pub(super) fn resolve<'a>(
    scope: &'a Scope<'_>,
    reference: &Reference,
) -> Result<(&'a Meta, &'a [HttpMatch]), (Reason, String)> {
    if reference.kind != "HTTPRouteGroup" || !matches!(reference.group.as_str(), "" | SPECS_GROUP) {
        return Err((
            Reason::InvalidKind,
            format!(
                "{} {:?} cannot select HTTP traffic; refer to an HTTPRouteGroup of {SPECS_GROUP}",
                reference.kind, reference.name
            ),
        ));
    }
    let Some(group) = scope.contents.groups.get(reference.name.as_str()) else {
        return Err((
            Reason::RouteGroupNotFound,
            format!(
                "HTTPRouteGroup {} does not exist in namespace {}; it selects nothing until it does",
                reference.name, scope.namespace
            ),
        ));
    };
    let usable = scope.groups.usable(&reference.name);
    if usable.is_empty() {
        return Err((
            Reason::MatchNotFound,
            format!(
                "HTTPRouteGroup {} has no match that can be used, so it selects nothing; its status says why",
                reference.name
            ),
        ));
    }
    Ok((&group.meta, usable))
}
