//! HTTPRouteGroups to matches (SMI HTTPRouteGroup v1alpha4).

use std::collections::BTreeSet;

use smilax_core::config::{HeaderMatch, HttpMatch};
use smilax_core::matching::{Matcher, compile_pattern};

use super::{Scope, object};
use crate::diagnostic::{Diagnostic, Reason};
use crate::index::{HeaderRegexMode, PathRegexMode, Settings};
use crate::model::{GroupMatch, Reference, RouteGroup};

/// API group of HTTPRouteGroup.
const SPECS_GROUP: &str = "specs.smi-spec.io";

/// Reports what is wrong with a group itself.
pub(super) fn check(scope: &Scope<'_>, group: &RouteGroup, diagnostics: &mut BTreeSet<Diagnostic>) {
    let mut report = |message| {
        diagnostics.insert(Diagnostic {
            object: object("HTTPRouteGroup", &group.meta),
            reason: Reason::Invalid,
            message,
        });
    };
    if group.matches.is_empty() {
        report("spec.matches: it is empty, so the group selects nothing".to_owned());
    }
    for (index, one) in group.matches.iter().enumerate() {
        if let Err(error) = compiled(scope.index.settings(), one) {
            report(format!(
                "spec.matches[{index}].{error}; the match selects nothing"
            ));
        }
    }
}

/// The usable matches of the group that a split refers to.
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
    let group = scope
        .contents
        .groups
        .get(reference.name.as_str())
        .ok_or_else(|| {
            (
                Reason::RouteGroupNotFound,
                format!(
                    "HTTPRouteGroup {} does not exist in namespace {}; it selects nothing until it does",
                    reference.name, scope.namespace
                ),
            )
        })?;
    Ok(usable(scope, group))
}

/// The matches of a group that compile. What does not selects nothing; the group's own condition says why.
pub(super) fn usable(scope: &Scope<'_>, group: &RouteGroup) -> Vec<HttpMatch> {
    group
        .matches
        .iter()
        .filter_map(|one| compiled(scope.index.settings(), one).ok())
        .collect()
}

/// A match with its anchors, proven to compile within the bounds that the proxy keeps to.
fn compiled(settings: &Settings, one: &GroupMatch) -> Result<HttpMatch, String> {
    // A pattern must stand by itself before anchors are put around it: `a)|(b` would break out of them.
    let patterns = one
        .path_regex
        .iter()
        .map(|pattern| ("pathRegex".to_owned(), pattern));
    let of_headers = one
        .headers
        .iter()
        .map(|(name, pattern)| (format!("headers.{name}"), pattern));
    for (field, pattern) in patterns.chain(of_headers) {
        compile_pattern(pattern).map_err(|error| format!("{field}: {error}"))?;
    }
    let path = one
        .path_regex
        .as_deref()
        .filter(|pattern| !pattern.is_empty())
        .map(|pattern| match settings.path_regex_mode {
            PathRegexMode::Prefix => format!("^(?:{pattern})"),
            PathRegexMode::Full => format!("^(?:{pattern})$"),
        });
    let any_method = one.methods.iter().any(|method| method == "*");
    let config = HttpMatch {
        name: one.name.clone(),
        path,
        methods: if any_method {
            Vec::new()
        } else {
            one.methods.clone()
        },
        headers: one
            .headers
            .iter()
            .map(|(name, pattern)| HeaderMatch {
                name: name.to_ascii_lowercase(),
                value: match settings.header_regex_mode {
                    HeaderRegexMode::Full => format!("^(?:{pattern})$"),
                    HeaderRegexMode::Search => pattern.clone(),
                },
            })
            .collect(),
    };
    Matcher::new(&config).map_err(|error| error.to_string())?;
    Ok(config)
}
