//! The configuration of one workload, and which workloads there are.

mod inbound;
mod offered;

use std::collections::{BTreeMap, BTreeSet};

use smilax_core::config::{Destination, INBOUND_POLICY};
use smilax_core::convention::key;
use smilax_core::{DestinationName, ProxyConfig, Workload};

use crate::diagnostic::{Diagnostic, Reason};
use crate::index::Index;
use crate::model::Meta;
use crate::plan;

pub(crate) use inbound::inbound;
pub(crate) use offered::callers;

/// Workloads of a namespace that need a configuration: every account where pods are injected by the namespace's
/// label, and every account of a pod that has a proxy.
pub fn workloads(index: &Index, namespace: &str) -> BTreeSet<Workload> {
    let Some(contents) = index.contents(namespace) else {
        return BTreeSet::new();
    };
    let enabled = is_enabled(index, namespace);
    let accounts = contents.accounts.keys().filter(|_| enabled);
    let injected = contents
        .pods
        .values()
        .filter(|pod| pod.injected())
        .map(|pod| &pod.account);
    accounts
        .chain(injected)
        .map(|account| Workload::new(namespace, account.clone()))
        .collect()
}

/// Whether pods of a namespace join the mesh by its label.
pub fn is_enabled(index: &Index, namespace: &str) -> bool {
    index.namespace(namespace).is_some_and(|one| {
        one.labels
            .get(key::INJECT)
            .is_some_and(|value| value == "enabled")
    })
}

/// Compiles one workload. The revision is left at its default: it belongs to the writer. Findings are those about the
/// workload itself; those about the objects of a namespace are in its plan.
pub fn compile(index: &mut Index, workload: &Workload) -> (ProxyConfig, Vec<Diagnostic>) {
    let mut destinations: BTreeMap<DestinationName, Destination> =
        index.plan(&workload.namespace).destinations.clone();
    let mut diagnostics = Vec::new();
    for entry in imports(index, workload) {
        match entry {
            Ok((namespace, wanted)) => import(index, &namespace, &wanted, &mut destinations),
            Err(entry) => diagnostics.push(account_diagnostic(index, workload, &entry)),
        }
    }
    for name in offered::offered(index, workload) {
        let namespace = name.namespace.to_string();
        import(index, &namespace, &Wanted::One(name), &mut destinations);
    }
    diagnostics.extend(
        index
            .plan(&workload.namespace)
            .diagnostics
            .iter()
            .filter(|one| &*one.object.kind == "Namespace")
            .cloned(),
    );
    let inbound = inbound(index, workload);
    let requires = if inbound.is_empty() {
        Vec::new()
    } else {
        vec![INBOUND_POLICY.to_owned()]
    };
    let settings = index.settings();
    let config = ProxyConfig {
        requires,
        cluster_domain: settings.cluster_domain.clone(),
        trust_domain: settings.trust_domain.clone(),
        operator: index.operator().cloned(),
        destinations: destinations.into_values().collect(),
        inbound,
        ..ProxyConfig::empty(workload.clone())
    };
    (config, diagnostics)
}

/// What of another namespace a workload asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One destination.
    One(DestinationName),
    /// All of them.
    All,
}

/// Entries of the annotation of the account and of its namespace; `Err` carries an entry that cannot be read.
pub(crate) fn imports(index: &Index, workload: &Workload) -> Vec<Result<(String, Wanted), String>> {
    let namespace = index.namespace(&workload.namespace).map(|one| &one.annotations);
    let account = index
        .contents(&workload.namespace)
        .and_then(|contents| contents.accounts.get(&workload.account))
        .map(|account| &account.annotations);
    namespace
        .into_iter()
        .chain(account)
        .filter_map(|annotations| annotations.get(key::DESTINATIONS))
        .flat_map(|list| list.split(',').map(str::trim).filter(|entry| !entry.is_empty()))
        .map(|entry| match entry.split_once('/') {
            Some((namespace, "*")) if !namespace.is_empty() => Ok((namespace.to_owned(), Wanted::All)),
            _ => match entry.parse::<DestinationName>() {
                Ok(name) => Ok((name.namespace.to_string(), Wanted::One(name))),
                Err(_) => Err(entry.to_owned()),
            },
        })
        .collect()
}

/// Adds what is wanted, with every backend that its routes lead to.
pub(crate) fn import(
    index: &mut Index,
    namespace: &str,
    wanted: &Wanted,
    into: &mut BTreeMap<DestinationName, Destination>,
) {
    let plan = index.plan(namespace);
    let roots = plan.destinations.values().filter(|destination| match wanted {
        Wanted::All => true,
        Wanted::One(name) => destination.name == *name,
    });
    for destination in roots {
        let routes = destination.ports.iter().flat_map(|port| &port.routes);
        for backend in routes.flat_map(|route| &route.backends) {
            if let Some(found) = plan.destinations.get(&backend.destination) {
                into.entry(found.name.clone())
                    .or_insert_with(|| without_routes(found));
            }
        }
        into.insert(destination.name.clone(), destination.clone());
    }
}

/// A destination that is only sent to: where its own routes lead was not asked for.
fn without_routes(destination: &Destination) -> Destination {
    let mut destination = destination.clone();
    for port in &mut destination.ports {
        port.routes.clear();
    }
    destination
}

fn account_diagnostic(index: &Index, workload: &Workload, entry: &str) -> Diagnostic {
    let known = index
        .contents(&workload.namespace)
        .and_then(|contents| contents.accounts.get(&workload.account));
    let meta = known.map_or_else(
        || Meta {
            namespace: workload.namespace.clone(),
            name: workload.account.clone(),
            ..Meta::default()
        },
        |account| account.meta.clone(),
    );
    Diagnostic {
        object: plan::object("ServiceAccount", &meta),
        reason: Reason::Invalid,
        message: format!(
            "annotation {}: {entry:?} is not of the form namespace/service or namespace/*; it is left out",
            key::DESTINATIONS
        ),
    }
}

#[cfg(test)]
mod tests;
