//! TrafficSplits to routes (SMI TrafficSplit v1alpha4).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use smilax_core::config::{HttpMatch, Protocol, RouteConfig, WeightedBackend};
use smilax_core::{DestinationName, ObjectRef, host};

use super::{NamespacePlan, Routes, Scope, by_age, is_http, matches, object};
use crate::diagnostic::{Diagnostic, Reason};
use crate::model::{Addressing, Service, Split};

/// Routes of every Service of the namespace that is the root of a split.
pub(super) fn routes(scope: &Scope<'_>, plan: &mut NamespacePlan) -> Routes {
    let mut by_root: BTreeMap<Arc<str>, Vec<&Split>> = BTreeMap::new();
    for split in scope.contents.splits.values() {
        match root(scope, split) {
            Ok(name) => by_root.entry(name).or_default().push(split),
            Err((reason, message)) => report(plan, split, reason, message),
        }
    }
    let roots: BTreeSet<Arc<str>> = by_root.keys().cloned().collect();
    let mut routes = Routes::new();
    for (root, mut splits) in by_root {
        by_age(&mut splits);
        let in_force = without_losers(plan, &root, &splits);
        // With matches first: they are narrower, and the one without matches takes all that is left.
        let (narrow, wide): (Vec<&Split>, Vec<&Split>) =
            in_force.into_iter().partition(|split| !split.matches.is_empty());
        for split in narrow.into_iter().chain(wide) {
            let mut translation = Translation {
                scope,
                plan,
                roots: &roots,
                split,
                root: &root,
            };
            for (port, route) in translation.routes() {
                routes
                    .entry(root.clone())
                    .or_default()
                    .entry(port)
                    .or_default()
                    .push(route);
                plan.splits.insert(
                    split.meta.name.clone(),
                    DestinationName::new(scope.namespace, root.clone()),
                );
            }
        }
    }
    routes
}

/// The root's Service name, from any of the forms in which it may be written.
fn root(scope: &Scope<'_>, split: &Split) -> Result<Arc<str>, (Reason, String)> {
    let domain = &scope.index.settings().cluster_domain;
    match host::destination(&split.root, scope.namespace, domain) {
        Some(name) if *name.namespace == *scope.namespace => Ok(name.name),
        Some(name) => Err((
            Reason::NamespaceMismatch,
            format!(
                "spec.service: {:?} is a Service of namespace {}; a TrafficSplit acts on Services of its own namespace {} only",
                split.root, name.namespace, scope.namespace
            ),
        )),
        None => Err((
            Reason::Invalid,
            format!(
                "spec.service: {:?} does not name a Service; write its name, or name.namespace",
                split.root
            ),
        )),
    }
}

/// All splits with matches, and the oldest without; the others are told that they lost.
fn without_losers<'a>(plan: &mut NamespacePlan, root: &str, oldest_first: &[&'a Split]) -> Vec<&'a Split> {
    let mut winner: Option<&Split> = None;
    let mut kept = Vec::new();
    for &split in oldest_first {
        match winner {
            Some(winner) if split.matches.is_empty() => report(
                plan,
                split,
                Reason::Conflicted,
                format!(
                    "Service {root} is already split by the older TrafficSplit {}, which decides; delete one of the two",
                    winner.meta.name
                ),
            ),
            _ => {
                if split.matches.is_empty() {
                    winner = Some(split);
                }
                kept.push(split);
            }
        }
    }
    kept
}

fn report(plan: &mut NamespacePlan, split: &Split, reason: Reason, message: String) {
    plan.diagnostics.insert(Diagnostic {
        object: object("TrafficSplit", &split.meta),
        reason,
        message,
    });
}

/// One split on its way to routes.
struct Translation<'a, 'b> {
    scope: &'a Scope<'a>,
    plan: &'b mut NamespacePlan,
    roots: &'a BTreeSet<Arc<str>>,
    split: &'a Split,
    root: &'a Arc<str>,
}

/// A backend that exists, with its weight.
struct Candidate<'a> {
    /// Where it is written.
    field: String,
    service: &'a Service,
    weight: u64,
}

impl<'a> Translation<'a, '_> {
    fn routes(&mut self) -> Vec<(u16, RouteConfig)> {
        let candidates = self.candidates();
        let Some(root) = self.scope.service(self.root) else {
            self.report(
                Reason::RootNotFound,
                format!(
                    "spec.service: Service {} does not exist; the split takes effect when it does",
                    self.root
                ),
            );
            return Vec::new();
        };
        if !self.can_be_root(root) {
            return Vec::new();
        }
        let Some((groups, matches)) = self.matches() else {
            return Vec::new();
        };
        let mut routes = Vec::new();
        for (&port, &protocol) in &root.ports {
            if !self.carries(root, port, protocol, &matches) {
                continue;
            }
            let weights = self.weights(&candidates, root, port);
            let Some(backends) = weighted(self.scope.namespace, &weights) else {
                self.report(
                    Reason::NoUsableBackend,
                    format!("port {port}: no backend with a weight above zero can be used; traffic goes to Service {}", self.root),
                );
                continue;
            };
            routes.push((
                port,
                RouteConfig {
                    source: self.source(),
                    matches: matches.clone(),
                    groups: groups.clone(),
                    backends,
                },
            ));
        }
        routes
    }

    /// Backends that can be sent to at all. Findings about weights and names are made here, once, whatever the root.
    fn candidates(&mut self) -> Vec<Candidate<'a>> {
        let mut found = Vec::new();
        for (index, backend) in self.split.backends.iter().enumerate() {
            let field = format!("spec.backends[{index}]");
            let Ok(weight) = u64::try_from(backend.weight) else {
                self.report(
                    Reason::Invalid,
                    format!(
                        "{field}.weight: {} is negative; the backend is left out",
                        backend.weight
                    ),
                );
                continue;
            };
            let domain = &self.scope.index.settings().cluster_domain;
            let name = host::destination(&backend.service, self.scope.namespace, domain)
                .filter(|name| *name.namespace == *self.scope.namespace);
            let Some(service) = name.as_ref().and_then(|name| self.scope.service(&name.name)) else {
                self.report(
                    Reason::BackendNotFound,
                    format!("{field}.service: Service {} does not exist in namespace {}; it receives nothing until it does", backend.service, self.scope.namespace),
                );
                continue;
            };
            if self.can_be_backend(service, &field) {
                self.notices(service, &field, weight);
                found.push(Candidate {
                    field,
                    service,
                    weight,
                });
            }
        }
        self.overlaps(&found);
        found
    }

    fn can_be_root(&mut self, root: &Service) -> bool {
        match &root.addressing {
            Addressing::Virtual(_) | Addressing::Headless => true,
            Addressing::Pending => false,
            Addressing::External(target) => {
                self.report(
                    Reason::Unsupported,
                    format!(
                        "spec.service: Service {} is of type ExternalName ({target}), which cannot be split",
                        self.root
                    ),
                );
                false
            }
        }
    }

    fn can_be_backend(&mut self, service: &Service, field: &str) -> bool {
        let why = match &service.addressing {
            Addressing::Virtual(_) => return true,
            Addressing::Headless if service.meta.name == *self.root => return true,
            Addressing::Pending => return false,
            Addressing::Headless => "headless: it has no address of its own to send to".to_owned(),
            Addressing::External(target) => format!("of type ExternalName ({target})"),
        };
        self.report(
            Reason::InvalidKind,
            format!(
                "{field}.service: Service {} is {why}; it receives nothing",
                service.meta.name
            ),
        );
        false
    }

    fn notices(&mut self, service: &Service, field: &str, weight: u64) {
        let name = &service.meta.name;
        if name != self.root && self.roots.contains(name) {
            self.report(
                Reason::NestedSplit,
                format!("{field}.service: Service {name} is itself the root of a TrafficSplit, which is not followed from here"),
            );
        }
        if weight > 0 && !self.scope.index.is_ready(self.scope.namespace, name) {
            self.report(
                Reason::NoReadyEndpoints,
                format!(
                    "{field}.service: Service {name} has no ready endpoint; its share is answered with 503"
                ),
            );
        }
    }

    fn overlaps(&mut self, candidates: &[Candidate<'a>]) {
        let others: Vec<&Service> = candidates
            .iter()
            .map(|one| one.service)
            .filter(|service| service.meta.name != *self.root)
            .collect();
        for (index, first) in others.iter().enumerate() {
            for second in others
                .iter()
                .skip(index + 1)
                .filter(|second| second.meta.name != first.meta.name)
            {
                let both = self.scope.pods.behind(&second.meta.name);
                let shared = self
                    .scope
                    .pods
                    .behind(&first.meta.name)
                    .iter()
                    .find(|pod| both.iter().any(|other| other.meta.name == pod.meta.name));
                if shared.is_some() {
                    self.report(
                        Reason::OverlappingBackends,
                        format!(
                            "Services {} and {} select the same pods; the shares of the two mix",
                            first.meta.name, second.meta.name
                        ),
                    );
                }
            }
        }
    }

    /// The groups that can be used, and all their matches; `None` when the split names groups but none of their matches can
    /// be used: it then selects nothing, never everything.
    fn matches(&mut self) -> Option<(Vec<ObjectRef>, Vec<HttpMatch>)> {
        if self.split.matches.is_empty() {
            return Some((Vec::new(), Vec::new()));
        }
        let mut groups = BTreeMap::new();
        let mut found = Vec::new();
        for (index, reference) in self.split.matches.iter().enumerate() {
            match matches::resolve(self.scope, reference) {
                Ok((group, matches)) => {
                    groups.insert(group.name.clone(), object("HTTPRouteGroup", group));
                    found.extend_from_slice(matches);
                }
                Err((reason, message)) => self.report(reason, format!("spec.matches[{index}]: {message}")),
            }
        }
        (!found.is_empty()).then(|| (groups.into_values().collect(), found))
    }

    fn carries(&mut self, root: &Service, port: u16, protocol: Protocol, matches: &[HttpMatch]) -> bool {
        if !matches.is_empty() && !is_http(protocol) {
            // Beside a port that carries HTTP this is no mistake; alone it is.
            if !root.ports.values().any(|&other| is_http(other)) {
                self.report(
                    Reason::PortMismatch,
                    format!(
                        "port {port} of Service {} does not carry HTTP, so spec.matches selects nothing there",
                        self.root
                    ),
                );
            }
            return false;
        }
        if root.addressing == Addressing::Headless && !is_http(protocol) {
            self.report(
                Reason::PortMismatch,
                format!("port {port} of headless Service {} does not carry HTTP; its connections go where the caller sends them", self.root),
            );
            return false;
        }
        true
    }

    /// What each backend weighs on a port of the root; one that lacks the port is left out.
    fn weights(&mut self, candidates: &[Candidate<'a>], root: &Service, port: u16) -> Vec<(Arc<str>, u64)> {
        let mut weights = Vec::new();
        for candidate in candidates {
            let Candidate { field, service, .. } = candidate;
            let name = &service.meta.name;
            if service.ports.contains_key(&port) {
                weights.push((name.clone(), candidate.weight));
            } else {
                self.report(
                    Reason::PortMismatch,
                    format!(
                        "{field}.service: Service {name} has no port {port} like its root {}, so it receives nothing there; it {}",
                        root.meta.name,
                        ports(service)
                    ),
                );
            }
        }
        weights
    }

    fn source(&self) -> ObjectRef {
        object("TrafficSplit", &self.split.meta)
    }

    fn report(&mut self, reason: Reason, message: String) {
        report(self.plan, self.split, reason, message);
    }
}

/// The ports of a Service, in words.
fn ports(service: &Service) -> String {
    let numbers: Vec<String> = service.ports.keys().map(u16::to_string).collect();
    match numbers.as_slice() {
        [] => "has no TCP port".to_owned(),
        [one] => format!("has port {one}"),
        _ => format!("has the ports {}", numbers.join(", ")),
    }
}

/// Backends with weights that fit; `None` when they sum to zero. Weights too large are scaled down together, and none
/// above zero becomes zero.
fn weighted(namespace: &str, weights: &[(Arc<str>, u64)]) -> Option<Vec<WeightedBackend>> {
    let largest = weights
        .iter()
        .map(|&(_, weight)| weight)
        .max()
        .filter(|&weight| weight > 0)?;
    let shift = largest.checked_ilog2().unwrap_or(0).saturating_sub(30);
    let fit = |weight: u64| match weight {
        0 => 0,
        weight => u32::try_from((weight >> shift).max(1)).unwrap_or(u32::MAX),
    };
    Some(
        weights
            .iter()
            .filter(|&&(_, weight)| weight > 0)
            .map(|(name, weight)| WeightedBackend {
                destination: DestinationName::new(namespace, name.clone()),
                weight: fit(*weight),
            })
            .collect(),
    )
}
