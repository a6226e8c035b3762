//! The pods that bindings select by their labels: what a configuration cannot name, since they come and go.

use std::collections::BTreeSet;

use smilax_core::config::SourceMatch;
use smilax_core::{Members, Workload};

use crate::compile::inbound;
use crate::index::Index;

/// The pods of every binding that the configuration of a workload names.
pub fn members(index: &mut Index, workload: &Workload) -> Members {
    if !index.names_bindings(&workload.namespace) {
        return Members::default();
    }
    let policies = inbound(index, workload);
    let bindings: BTreeSet<&str> = policies
        .iter()
        .flat_map(|policy| &policy.targets)
        .flat_map(|target| &target.sources)
        .filter_map(|source| match source {
            SourceMatch::Binding(name) => Some(name.as_str()),
            SourceMatch::Account(_) | SourceMatch::Spiffe(_) => None,
        })
        .collect();
    Members(
        bindings
            .into_iter()
            .map(|name| (name.to_owned(), pods(index, name)))
            .collect(),
    )
}

/// UIDs of the pods that a binding, `namespace/name`, selects.
fn pods(index: &Index, binding: &str) -> BTreeSet<Box<str>> {
    let found = binding
        .split_once('/')
        .and_then(|(namespace, name)| Some((index.contents(namespace)?, name)))
        .and_then(|(contents, name)| {
            let binding = contents.bindings.get(name)?;
            let labels = binding.labels.as_ref().filter(|_| binding.fault().is_none())?;
            Some((contents, labels))
        });
    let Some((contents, labels)) = found else {
        return BTreeSet::new();
    };
    contents
        .pods
        .values()
        .filter(|pod| !pod.finished && pod.is_selected_by(labels))
        .map(|pod| pod.meta.uid.as_str().into())
        .collect()
}
