//! The configuration of one workload, and which workloads there are.

mod imports;
mod inbound;

use std::collections::BTreeSet;

use smilax_core::config::INBOUND_POLICY;
use smilax_core::convention::key;
use smilax_core::{ProxyConfig, Workload};

use crate::diagnostic::Diagnostic;
use crate::index::Index;

pub(crate) use imports::{Audience, Wanted, import, imports};
pub(crate) use inbound::inbound;

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
    let (destinations, mut diagnostics) = imports::with_imports(index, workload);
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

#[cfg(test)]
mod tests;
