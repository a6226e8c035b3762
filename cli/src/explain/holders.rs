//! Who holds an object in the configuration, and why others do not.

use std::collections::{BTreeMap, BTreeSet};

use smilax_compiler::model::{Rules, Subject, Target};
use smilax_compiler::{Diagnostic, Reason, Severity, compile};
use smilax_core::convention::key;
use smilax_core::{ObjectRef, ProxyConfig, Workload};

use crate::remedies;
use crate::world::World;

/// Pods that are listed at most.
const MOST_PODS: usize = 5;

/// An account whose configuration holds an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) workload: Workload,
    /// Objects by which it does, each with the labels of the pods that are meant; none for all.
    by: Vec<(String, BTreeMap<String, String>)>,
}

impl Holder {
    /// Whether a pod of the account is meant.
    pub(crate) fn concerns(&self, world: &World, pod: &str) -> bool {
        let contents = world.index.contents(&self.workload.namespace);
        let labels = contents.and_then(|contents| contents.pods.get(pod));
        self.by.iter().any(|(_, selector)| {
            selector.is_empty() || labels.is_some_and(|pod| pod.is_selected_by(selector))
        })
    }

    /// Whether an object stands in its configuration itself.
    pub(crate) fn names(&self, object: &str) -> bool {
        self.by.iter().any(|(by, _)| by == object)
    }

    /// Other objects by which it is held.
    pub(crate) fn through(&self, object: &str) -> Vec<String> {
        let all: BTreeSet<&String> = self
            .by
            .iter()
            .map(|(by, _)| by)
            .filter(|by| *by != object)
            .collect();
        all.into_iter().cloned().collect()
    }
}

/// Objects, as `Kind/namespace/name`, with which this one gets into a configuration: itself, or those that refer to it.
pub(crate) fn carriers(world: &World, kind: &str, namespace: &str, name: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    match kind {
        "TrafficSplit" | "TrafficTarget" => {
            all.insert(format!("{kind}/{namespace}/{name}"));
        }
        "IdentityBinding" => {
            for other in &world.namespaces {
                let targets = targets(world, other);
                let naming = targets.filter(|target| binds(target, other, namespace, name));
                all.extend(naming.map(|target| format!("TrafficTarget/{other}/{}", target.meta.name)));
            }
        }
        _ => {
            let using = targets(world, namespace).filter(|target| rules(target, kind, name));
            all.extend(using.map(|target| format!("TrafficTarget/{namespace}/{}", target.meta.name)));
            let splits = world
                .index
                .contents(namespace)
                .into_iter()
                .flat_map(|contents| contents.splits.values());
            let using = splits.filter(|split| {
                split
                    .matches
                    .iter()
                    .any(|one| one.kind == kind && one.name == name)
            });
            all.extend(using.map(|split| format!("TrafficSplit/{namespace}/{}", split.meta.name)));
        }
    }
    all
}

fn targets<'a>(world: &'a World, namespace: &str) -> impl Iterator<Item = &'a Target> {
    let contents = world.index.contents(namespace);
    contents
        .into_iter()
        .flat_map(|contents| contents.targets.values())
}

fn binds(target: &Target, of: &str, namespace: &str, name: &str) -> bool {
    let is = |subject: &Subject| {
        subject.kind == "IdentityBinding"
            && subject.name == name
            && subject.namespace.as_deref().unwrap_or(of) == namespace
    };
    is(&target.destination) || target.sources.iter().any(is)
}

fn rules(target: &Target, kind: &str, name: &str) -> bool {
    match &target.rules {
        Rules::Listed(rules) => rules.iter().any(|rule| rule.kind == kind && rule.name == name),
        Rules::Nothing | Rules::Everything => false,
    }
}

/// By what these accounts hold an object.
pub(crate) fn holders(
    world: &mut World,
    workloads: &BTreeSet<Workload>,
    carriers: &BTreeSet<String>,
) -> Vec<Holder> {
    let mut by = |workload: &Workload| {
        let (config, _) = compile(&mut world.index, workload);
        sources(&config)
            .map(|(source, selector)| (source.to_string(), selector))
            .filter(|(source, _)| carriers.contains(source))
            .collect()
    };
    workloads
        .iter()
        .map(|workload| Holder {
            workload: workload.clone(),
            by: by(workload),
        })
        .collect()
}

/// The generation of an object in a configuration.
pub(crate) fn generations(config: &ProxyConfig, object: &str) -> Option<i64> {
    sources(config)
        .map(|(source, _)| source)
        .filter(|source| source.to_string() == object)
        .map(|source| source.generation)
        .min()
}

/// The user's objects in a configuration, and the labels of the pods that each is for.
fn sources(config: &ProxyConfig) -> impl Iterator<Item = (&ObjectRef, BTreeMap<String, String>)> {
    let ports = config
        .destinations
        .iter()
        .flat_map(|destination| &destination.ports);
    let routes = ports
        .flat_map(|port| &port.routes)
        .map(|route| (&route.source, BTreeMap::new()));
    let targets = config.inbound.iter().flat_map(|policy| {
        let selector = &policy.pod_selector;
        policy
            .targets
            .iter()
            .map(move |target| (&target.source, selector.clone()))
    });
    routes.chain(targets)
}

/// Sentences about who does not hold it, and why.
pub(crate) fn others(
    world: &World,
    kind: &str,
    (namespace, name): (&str, &str),
    carriers: &BTreeSet<String>,
    holders: &[Holder],
    findings: &[Diagnostic],
) -> Vec<String> {
    let mut all = Vec::new();
    match kind {
        "TrafficSplit" => {
            let root = world
                .index
                .contents(namespace)
                .and_then(|contents| contents.splits.get(name))
                .map_or(name, |split| split.root.split('.').next().unwrap_or(name));
            all.push(format!(
                "Callers carry out splits. A proxy of another namespace learns it when its pod calls Service \
                 {namespace}/{root}, and is listed while it uses it; with {} on its account or namespace it holds the \
                 split from the start.",
                key::DESTINATIONS
            ));
        }
        "TrafficTarget" => {
            all.push("Pods that are called decide about access, so callers do not hold it.".to_owned());
        }
        "UDPRoute" => all.push("Proxies carry no UDP, so none holds a UDPRoute.".to_owned()),
        "IdentityBinding" if carriers.is_empty() => {
            all.push("No TrafficTarget refers to it, so no proxy needs it.".to_owned());
        }
        _ if carriers.is_empty() => all.push(format!(
            "No TrafficSplit or TrafficTarget of namespace {namespace} refers to it, so no proxy needs it."
        )),
        _ => {
            let by: Vec<&str> = carriers.iter().map(String::as_str).collect();
            all.push(format!(
                "Proxies hold it only through what refers to it: {}.",
                by.join(", ")
            ));
        }
    }
    if holders.is_empty() && !carriers.is_empty() && kind != "UDPRoute" {
        all.push(format!(
            "No account's configuration holds it: {}.",
            unheld(world, namespace, findings)
        ));
    }
    all.extend(holders.iter().filter_map(|holder| without_proxy(world, holder)));
    all
}

/// Why no account's configuration holds an object, by what is found about it.
fn unheld(world: &World, namespace: &str, findings: &[Diagnostic]) -> String {
    let of = |is: fn(&Diagnostic) -> bool| {
        findings
            .iter()
            .find(|one| is(one))
            .map(|one| one.message.as_str())
    };
    if let Some(message) = of(|one| one.reason.severity() == Severity::Rejected) {
        return format!("it is not accepted ({message})");
    }
    if let Some(message) = of(|one| one.reason == Reason::NoUsableBackend) {
        return format!("it divides nothing ({message})");
    }
    if let Some(message) = of(|one| one.reason.severity() == Severity::Unresolved) {
        return format!("what it refers to cannot be used ({message})");
    }
    let labels = world.index.namespace(namespace).map(|one| &one.labels);
    let label = labels.and_then(|labels| labels.get(key::INJECT));
    if label.is_some_and(|label| &**label == "enabled") {
        "no account in the mesh is concerned".to_owned()
    } else {
        format!(
            "namespace {namespace} is not in the mesh; run {}",
            remedies::join(namespace)
        )
    }
}

/// Pods of an account that should enforce it, but have no proxy.
fn without_proxy(world: &World, holder: &Holder) -> Option<String> {
    let contents = world.index.contents(&holder.workload.namespace)?;
    let of_account = || {
        let pods = contents.pods.values();
        pods.filter(|pod| pod.account == holder.workload.account && !pod.finished)
            .filter(|pod| holder.concerns(world, &pod.meta.name))
    };
    if of_account().next().is_none() {
        return Some(format!(
            "Account {} holds it, but has no running pod that it concerns.",
            holder.workload
        ));
    }
    let bare: Vec<String> = of_account()
        .filter(|pod| !pod.injected())
        .map(|pod| match &pod.inject_status {
            Some(status) => format!("{} ({status})", pod.meta.name),
            None => pod.meta.name.to_string(),
        })
        .collect();
    if bare.is_empty() {
        return None;
    }
    let more = bare.len().saturating_sub(MOST_PODS);
    let mut named = bare.into_iter().take(MOST_PODS).collect::<Vec<_>>().join(", ");
    if more > 0 {
        named = format!("{named} and {more} more");
    }
    Some(format!(
        "Pods of account {} without a proxy enforce nothing: {named}.",
        holder.workload
    ))
}
