//! Which objects of a namespace are in the configuration of some proxy.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::index::{Contents, Index};
use crate::model::{Rule, Rules, Target};
use crate::plan::NamespacePlan;

/// Names of the objects that some proxy holds.
#[derive(Debug, Default)]
pub(super) struct Used {
    /// TrafficTargets whose pods have a proxy.
    pub(super) targets: BTreeSet<Arc<str>>,
    /// HTTPRouteGroups that these refer to.
    pub(super) groups: BTreeSet<String>,
    /// TCPRoutes that these refer to.
    pub(super) tcp_routes: BTreeSet<String>,
    /// IdentityBindings that these, and such targets of other namespaces, refer to.
    pub(super) bindings: BTreeSet<String>,
}

impl Used {
    pub(super) fn of(index: &mut Index, namespace: &str) -> Self {
        let mut used = Self::default();
        let plan = index.plan(namespace);
        if let Some(contents) = index.contents(namespace) {
            for target in held(&plan, contents) {
                used.targets.insert(target.meta.name.clone());
                if target.destination.kind == "IdentityBinding" {
                    used.bindings.insert(target.destination.name.clone());
                }
                for rule in rules(target) {
                    match rule.kind.as_str() {
                        "HTTPRouteGroup" => used.groups.insert(rule.name.clone()),
                        "TCPRoute" => used.tcp_routes.insert(rule.name.clone()),
                        _ => false,
                    };
                }
            }
        }
        let naming: Vec<Arc<str>> = index.that_name(namespace).cloned().collect();
        for other in naming {
            let plan = index.plan(&other);
            let Some(contents) = index.contents(&other) else {
                continue;
            };
            let sources = held(&plan, contents).flat_map(|target| &target.sources);
            let bindings = sources.filter(|source| {
                source.kind == "IdentityBinding" && source.namespace.as_deref().unwrap_or(&other) == namespace
            });
            used.bindings.extend(bindings.map(|source| source.name.clone()));
        }
        used
    }
}

fn held<'a>(plan: &'a NamespacePlan, contents: &'a Contents) -> impl Iterator<Item = &'a Target> {
    contents.targets.values().filter(|target| {
        plan.access
            .destinations
            .get(&target.meta.name)
            .is_some_and(|closed| {
                contents
                    .pods
                    .values()
                    .any(|pod| pod.injected() && !pod.finished && closed.contains(pod))
            })
    })
}

fn rules(target: &Target) -> &[Rule] {
    match &target.rules {
        Rules::Listed(rules) => rules,
        Rules::Nothing | Rules::Everything => &[],
    }
}
