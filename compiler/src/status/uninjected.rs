//! Pods that should enforce an object and cannot, since they have no proxy.

use std::collections::BTreeMap;
use std::sync::Arc;

use smilax_core::convention::key;

use super::enforcement::MOST_NAMED;
use crate::compile::is_enabled;
use crate::index::{Contents, Index};
use crate::model::{Pod, Rules};
use crate::plan::NamespacePlan;

/// How many of an object's pods must have a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Need {
    /// One is enough: callers that have none are asked about elsewhere.
    #[default]
    Any,
    /// Every one: a pod that is called without a proxy lets everybody in.
    All,
}

/// Pods without a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uninjected {
    need: Need,
    /// Names of the first ones, [`MOST_NAMED`] at most.
    named: Vec<Arc<str>>,
    count: usize,
    /// What to do about it.
    remedy: Arc<str>,
}

impl Uninjected {
    /// Of pods that have no proxy.
    fn of<'a>(need: Need, pods: impl Iterator<Item = &'a Pod>, remedy: &Arc<str>) -> Self {
        let mut found = Self {
            need,
            remedy: Arc::clone(remedy),
            ..Self::default()
        };
        for pod in pods {
            found.count += 1;
            if found.named.len() < MOST_NAMED {
                found.named.push(pod.meta.name.clone());
            }
        }
        found
    }

    /// Why an object is not enforced where so many proxies hold it; `None` when it is, or when there is no pod to enforce it.
    pub(super) fn fault(&self, proxies: usize) -> Option<String> {
        let is_needed = self.need == Need::All || proxies == 0;
        if self.count == 0 || !is_needed {
            return None;
        }
        let names: Vec<&str> = self.named.iter().map(|name| &**name).collect();
        let names = names.join(", ");
        let pods = if self.count == 1 { "pod has" } else { "pods have" };
        let more = match self.count - self.named.len() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let Self { count, remedy, .. } = self;
        Some(format!("{count} {pods} no sidecar: {names}{more}; {remedy}"))
    }
}

/// The pods without a proxy of every object of a namespace.
#[derive(Debug, Default)]
pub(super) struct UninjectedPods {
    /// Of every split of the namespace.
    callers: Uninjected,
    targets: BTreeMap<Arc<str>, Uninjected>,
    /// Of what splits and targets refer to.
    groups: BTreeMap<String, Uninjected>,
    tcp_routes: BTreeMap<String, Uninjected>,
}

impl UninjectedPods {
    pub(super) fn of(index: &Index, namespace: &str, contents: &Contents, plan: &NamespacePlan) -> Self {
        let remedy: Arc<str> = if is_enabled(index, namespace) {
            format!("restart them: kubectl --namespace {namespace} rollout restart deployment")
        } else {
            // kubectl changes a label only when it is told to.
            let is_labelled = index
                .namespace(namespace)
                .is_some_and(|one| one.labels.contains_key(key::INJECT));
            let overwrite = if is_labelled { " --overwrite" } else { "" };
            format!(
                "run kubectl label namespace {namespace} smilax.dev/inject=enabled{overwrite}, then restart them"
            )
        }
        .into();
        // Few or none in most namespaces, whose targets and pods may be many.
        let pods = contents.pods.values();
        let bare: Vec<&Pod> = pods.filter(|pod| !pod.finished && !pod.injected()).collect();
        // Callers that stay out on purpose need no split.
        let callers = bare.iter().copied().filter(|pod| !pod.stays_out());
        let mut all = Self {
            callers: Uninjected::of(Need::Any, callers, &remedy),
            ..Self::default()
        };
        for (name, closed) in &plan.access.destinations {
            let called = bare.iter().copied().filter(|pod| closed.contains(pod));
            all.targets
                .insert(name.clone(), Uninjected::of(Need::All, called, &remedy));
        }
        all.refer(contents);
        all
    }

    pub(super) fn get(&self, kind: &str, name: &str) -> Uninjected {
        let found = match kind {
            "TrafficSplit" => Some(&self.callers),
            "TrafficTarget" => self.targets.get(name),
            "HTTPRouteGroup" => self.groups.get(name),
            "TCPRoute" => self.tcp_routes.get(name),
            _ => None,
        };
        found.cloned().unwrap_or_default()
    }

    /// What is referred to is enforced by whoever enforces what refers to it.
    fn refer(&mut self, contents: &Contents) {
        for reference in contents.splits.values().flat_map(|split| &split.matches) {
            refer(&mut self.groups, &reference.name, &self.callers);
        }
        for target in contents.targets.values() {
            let Some(of_target) = self.targets.get(&target.meta.name) else {
                continue;
            };
            let Rules::Listed(rules) = &target.rules else {
                continue;
            };
            for rule in rules {
                match rule.kind.as_str() {
                    "HTTPRouteGroup" => refer(&mut self.groups, &rule.name, of_target),
                    "TCPRoute" => refer(&mut self.tcp_routes, &rule.name, of_target),
                    _ => {}
                }
            }
        }
    }
}

fn refer(to: &mut BTreeMap<String, Uninjected>, name: &str, of: &Uninjected) {
    if of.count > 0 && !to.contains_key(name) {
        // Of a target that only some of its pods enforce, the target itself says so.
        let of = Uninjected {
            need: Need::Any,
            ..of.clone()
        };
        to.insert(name.to_owned(), of);
    }
}
