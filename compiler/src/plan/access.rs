//! TrafficTargets to what they allow (SMI TrafficTarget v1alpha4).
//!
//! A target that is wrong in part never allows more than the part that is right, and still says that the pods which it
//! names are closed to everybody else.

mod bare;
mod closing;
mod identity;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smilax_core::config::{AccessMode, AccessTarget, SourceMatch};
use smilax_core::convention::key;

use super::effect::{self, Effect};
use super::groups::Groups;
use super::spending::{self, Enforced, Fits};
use super::{Names, Scope, object};
use crate::diagnostic::{Diagnostic, Reason};
use crate::model::{Pod, RoutePorts, Target};

pub use closing::target_warnings;

/// What the targets of a namespace allow, by whom it is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Targets about every pod of an account.
    pub by_account: BTreeMap<Arc<str>, Vec<AccessTarget>>,
    /// Targets about the pods with certain labels.
    pub by_labels: BTreeMap<BTreeMap<String, String>, Vec<AccessTarget>>,
    /// Accounts and labels that each target is about, by its name.
    pub destinations: BTreeMap<Arc<str>, Closed>,
    /// What each target does, by its name.
    pub(super) effects: BTreeMap<Arc<str>, Effect>,
}

/// The pods that a target is about: these are closed to who is not named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Closed {
    /// All pods of these accounts.
    pub accounts: BTreeSet<Arc<str>>,
    /// The pods that have all labels of one of these.
    pub labels: BTreeSet<BTreeMap<String, String>>,
}

impl Closed {
    /// Whether a pod of the namespace is among them.
    pub fn contains(&self, pod: &Pod) -> bool {
        self.accounts.contains(&pod.account) || self.labels.iter().any(|labels| pod.is_selected_by(labels))
    }
}

/// Compiles every target of a namespace, in the order of their names.
pub(super) fn compile(scope: &Scope<'_>, diagnostics: &mut BTreeSet<Diagnostic>) -> Access {
    for binding in scope.contents.bindings.values() {
        identity::check(scope, binding, diagnostics);
    }
    for route in scope.contents.tcp_routes.values() {
        check_ports("TCPRoute", &route.meta, &route.ports, diagnostics);
    }
    for route in scope.contents.udp_routes.values() {
        diagnostics.insert(Diagnostic {
            object: object("UDPRoute", &route.meta),
            reason: Reason::Unsupported,
            message: "proxies do not carry UDP, so no right is given by it; where the access mode is deny when a pod \
                      is made, new inbound UDP is dropped"
                .to_owned(),
        });
    }
    let mut access = Access::default();
    let mut by_age: Vec<&Target> = scope.contents.targets.values().collect();
    by_age.sort_by(|a, b| (a.meta.created, &a.meta.name).cmp(&(b.meta.created, &b.meta.name)));
    let mut enforced = Enforced::default();
    for target in by_age {
        one(scope, target, &mut access, &mut enforced, diagnostics);
    }
    let lists = access
        .by_account
        .values_mut()
        .chain(access.by_labels.values_mut());
    for list in lists {
        list.sort_by(|a, b| a.source.name.cmp(&b.source.name));
    }
    access
}

/// The pods that a target is about, and whom it lets in; `None` for one that is about those of another namespace.
pub(crate) fn subjects(names: Names<'_>, target: &Target) -> Option<(Closed, Vec<SourceMatch>)> {
    if other_namespace(names.namespace, target).is_some() {
        return None;
    }
    let mut report = |_, _| {};
    let closed = identity::destination(names, &target.destination, &mut report);
    let sources = identity::sources(names, target, &mut report);
    Some((closed, sources))
}

/// The namespace that a target wants to be about, if that is not its own.
fn other_namespace<'a>(own: &str, target: &'a Target) -> Option<&'a str> {
    let named = target.destination.namespace.as_deref();
    named.filter(|named| *named != own)
}

fn one(
    scope: &Scope<'_>,
    target: &Target,
    access: &mut Access,
    enforced: &mut Enforced,
    diagnostics: &mut BTreeSet<Diagnostic>,
) {
    let source = object("TrafficTarget", &target.meta);
    let mut report = |reason, message| {
        diagnostics.insert(Diagnostic {
            object: source.clone(),
            reason,
            message,
        });
    };
    if let Some(named) = other_namespace(scope.namespace, target) {
        report(
            Reason::NamespaceMismatch,
            format!(
                "spec.destination.namespace: {named:?} is another namespace; a TrafficTarget protects only its own, create it there"
            ),
        );
        return;
    }
    let closed = identity::destination(scope.names(), &target.destination, &mut report);
    let compiled = translated(scope.names(), &scope.groups, target, &mut report);
    bare::check_sources(scope.names(), scope.namespace, &scope.pods, target, &mut report);
    if scope.modes.access == AccessMode::Audit {
        report(
            Reason::Audited,
            format!(
                "the access mode of namespace {} is audit: what it would refuse is let in, counted and logged; annotate the \
                 Namespace with {}: allow or deny to enforce it",
                scope.namespace,
                key::ACCESS_MODE
            ),
        );
    }
    let size = spending::text_size(&compiled);
    let fits = enforced.take(&closed, size);
    if fits == Fits::No {
        report(
            Reason::OverBudget,
            format!(
                "it takes {} KiB, and with the older targets about the same pods more than there is room for, so nothing may \
                 be called by it; refer to fewer or smaller HTTPRouteGroups, or name fewer sources",
                size.div_ceil(1024)
            ),
        );
    }
    for account in &closed.accounts {
        let list = access.by_account.entry(account.clone()).or_default();
        add(list, &compiled, fits);
    }
    for labels in &closed.labels {
        let list = access.by_labels.entry(labels.clone()).or_default();
        add(list, &compiled, fits);
    }
    let kept = (fits == Fits::Yes).then_some(&compiled);
    let effect = effect::of_target(scope.contents, scope.modes.access, &closed, kept);
    access.effects.insert(target.meta.name.clone(), effect);
    access.destinations.insert(target.meta.name.clone(), closed);
}

/// Whom a target lets in, and what these may call.
fn translated(
    names: Names<'_>,
    groups: &Groups,
    target: &Target,
    report: &mut impl FnMut(Reason, String),
) -> AccessTarget {
    let sources = identity::sources(names, target, report);
    let allowed = rules::allowed(names, groups, target, report);
    AccessTarget {
        source: object("TrafficTarget", &target.meta),
        sources: if allowed.is_some() { sources } else { Vec::new() },
        ports: allowed.as_ref().map(|it| it.ports.clone()).unwrap_or_default(),
        http: allowed.and_then(|it| it.http),
    }
}

/// Adds a target to those about the same pods. One that does not fit still says that these are closed, if no other does.
fn add(list: &mut Vec<AccessTarget>, target: &AccessTarget, fits: Fits) {
    match fits {
        Fits::Yes => list.push(target.clone()),
        Fits::No if list.is_empty() => list.push(AccessTarget {
            source: target.source.clone(),
            sources: Vec::new(),
            ports: Vec::new(),
            http: None,
        }),
        Fits::No => {}
    }
}

fn check_ports(
    kind: &str,
    meta: &crate::model::Meta,
    ports: &RoutePorts,
    diagnostics: &mut BTreeSet<Diagnostic>,
) {
    let RoutePorts::Listed(ports) = ports else {
        return;
    };
    for (index, port) in ports.iter().enumerate() {
        if rules::number(*port).is_none() {
            diagnostics.insert(Diagnostic {
                object: object(kind, meta),
                reason: Reason::Invalid,
                message: format!(
                    "spec.matches.ports[{index}]: it is not a port, so it selects nothing; write 1 to 65535"
                ),
            });
        }
    }
}

#[cfg(test)]
mod tests;
