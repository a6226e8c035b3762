//! Services of other namespaces whose TrafficTargets name a workload as a source: it is told of them without asking.

use std::collections::BTreeSet;

use smilax_core::config::SourceMatch;
use smilax_core::{DestinationName, Workload};

use super::workloads;
use crate::index::Index;
use crate::plan::Offer;

/// The Services that a workload is let in to elsewhere.
pub(super) fn offered(index: &mut Index, workload: &Workload) -> BTreeSet<DestinationName> {
    let elsewhere: Vec<_> = index
        .that_name(&workload.namespace)
        .filter(|name| **name != workload.namespace)
        .cloned()
        .collect();
    let mut found = BTreeSet::new();
    for namespace in elsewhere {
        let plan = index.plan(&namespace);
        let named = plan
            .access
            .offers
            .iter()
            .filter(|offer| offer.sources.iter().any(|source| names(index, source, workload)));
        found.extend(named.flat_map(|offer| offer.services.iter().cloned()));
    }
    found
}

/// The workloads of other namespaces that are let in by an offer of `namespace`.
pub(crate) fn callers(index: &Index, namespace: &str, offer: &Offer) -> BTreeSet<Workload> {
    let mut found = BTreeSet::new();
    for source in &offer.sources {
        let of = match source {
            SourceMatch::Account(account) => Some(account.namespace.to_string()),
            SourceMatch::Spiffe(id) => id.workload().map(|workload| workload.namespace.to_string()),
            SourceMatch::Binding(binding) => binding.split_once('/').map(|(of, _)| of.to_owned()),
        };
        let Some(of) = of.filter(|of| of != namespace) else {
            continue;
        };
        let named = workloads(index, &of).into_iter();
        found.extend(named.filter(|workload| names(index, source, workload)));
    }
    found
}

/// Whether a source may mean pods of this workload.
fn names(index: &Index, source: &SourceMatch, workload: &Workload) -> bool {
    match source {
        SourceMatch::Account(account) => account == workload,
        SourceMatch::Spiffe(id) => id.workload().as_ref() == Some(workload),
        SourceMatch::Binding(binding) => {
            let Some((namespace, name)) = binding.split_once('/') else {
                return false;
            };
            let Some(contents) = index
                .contents(namespace)
                .filter(|_| *namespace == *workload.namespace)
            else {
                return false;
            };
            let labels = contents
                .bindings
                .get(name)
                .and_then(|binding| binding.labels.as_ref());
            labels.is_some_and(|labels| {
                contents
                    .pods
                    .values()
                    .any(|pod| !pod.finished && pod.account == workload.account && pod.is_selected_by(labels))
            })
        }
    }
}
