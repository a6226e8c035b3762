//! Which pods stand behind which Services, worked out once for a namespace.

use std::collections::{BTreeMap, HashMap};

use crate::index::Contents;
use crate::model::{Addressing, Pod};

/// Pods that have not ended, by the Services that select them.
pub(super) struct Pods<'a> {
    behind: HashMap<&'a str, Vec<&'a Pod>>,
    by_label: ByLabel<'a>,
    bare: HashMap<&'a str, Vec<&'a Pod>>,
}

type ByLabel<'a> = HashMap<(&'a str, &'a str), Vec<&'a Pod>>;

impl<'a> Pods<'a> {
    pub(super) fn of(contents: &'a Contents) -> Self {
        // With many Services and many pods, trying each with each is what would take long.
        let mut by_label = ByLabel::new();
        let mut bare: HashMap<&str, Vec<&Pod>> = HashMap::new();
        for pod in contents.pods.values().filter(|pod| !pod.finished) {
            if !pod.injected() {
                bare.entry(&pod.account).or_default().push(pod);
            }
            for (key, value) in &pod.labels {
                by_label.entry((key, value)).or_default().push(pod);
            }
        }
        let behind = contents
            .services
            .values()
            .filter(|service| !matches!(service.addressing, Addressing::External(_)))
            .map(|service| {
                let name: &str = &service.meta.name;
                (name, selected(&by_label, &service.selector))
            })
            .collect();
        Self {
            behind,
            by_label,
            bare,
        }
    }

    /// The pods that have all these labels; none without a label.
    pub(super) fn labelled(&self, labels: &BTreeMap<String, String>) -> Vec<&'a Pod> {
        selected(&self.by_label, labels)
    }

    /// The pods of an account that have no proxy.
    pub(super) fn bare(&self, account: &str) -> &[&'a Pod] {
        self.bare.get(account).map(Vec::as_slice).unwrap_or_default()
    }

    /// The pods that a Service selects, in the order of their names. One without selector selects none.
    pub(super) fn behind(&self, service: &str) -> &[&'a Pod] {
        self.behind.get(service).map(Vec::as_slice).unwrap_or_default()
    }
}

fn selected<'a>(by_label: &ByLabel<'a>, selector: &BTreeMap<String, String>) -> Vec<&'a Pod> {
    let candidates = selector
        .iter()
        .map(|(key, value)| {
            by_label
                .get(&(key.as_str(), value.as_str()))
                .map(Vec::as_slice)
                .unwrap_or_default()
        })
        .min_by_key(|pods| pods.len());
    candidates
        .into_iter()
        .flatten()
        .copied()
        .filter(|pod| pod.is_selected_by(selector))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::{Cluster, pod, service};

    proptest! {
        #[test]
        fn a_service_selects_the_pods_that_have_all_its_labels(
            labels in proptest::collection::vec(proptest::collection::btree_map("[ab]", "[xy]", 0..3), 0..6),
            selector in proptest::collection::btree_map("[ab]", "[xy]", 0..3),
        ) {
            let mut cluster = Cluster::new();
            for (index, labels) in labels.iter().enumerate() {
                let labelled = labels.iter().fold(pod(&format!("p{index}")), |pod, (key, value)| pod.label(key, value));
                cluster = cluster.add_pod(labelled);
            }
            let web = selector.iter().fold(service("web"), |web, (key, value)| web.selecting(key, value));
            let index = cluster.service(web).index();
            let contents = index.contents("shop").unwrap();
            let found: Vec<&str> = Pods::of(contents).behind("web").iter().map(|pod| &*pod.meta.name).collect();
            let expected: Vec<&str> = contents
                .pods
                .values()
                .filter(|pod| !selector.is_empty() && pod.is_selected_by(&selector))
                .map(|pod| &*pod.meta.name)
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
