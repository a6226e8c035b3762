//! References of splits to HTTPRouteGroups (SMI TrafficSplit v1alpha4).

use smilax_core::config::HttpMatch;

use super::Scope;
use crate::diagnostic::Reason;
use crate::model::Reference;

/// API group of HTTPRouteGroup.
const SPECS_GROUP: &str = "specs.smi-spec.io";

/// The usable matches of the group that a split refers to. What cannot be used selects nothing; the group's own condition
/// says why.
pub(super) fn resolve(scope: &Scope<'_>, reference: &Reference) -> Result<Vec<HttpMatch>, (Reason, String)> {
    if reference.kind != "HTTPRouteGroup" || !matches!(reference.group.as_str(), "" | SPECS_GROUP) {
        return Err((
            Reason::InvalidKind,
            format!(
                "{} {:?} cannot select HTTP traffic; refer to an HTTPRouteGroup of {SPECS_GROUP}",
                reference.kind, reference.name
            ),
        ));
    }
    if !scope.contents.groups.contains_key(reference.name.as_str()) {
        return Err((
            Reason::RouteGroupNotFound,
            format!(
                "HTTPRouteGroup {} does not exist in namespace {}; it selects nothing until it does",
                reference.name, scope.namespace
            ),
        ));
    }
    Ok(scope.usable(&reference.name).to_vec())
}
