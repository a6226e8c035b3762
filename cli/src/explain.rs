//! `smilax explain`: which proxies an object concerns, what each of them enforces, and why it concerns no others.

mod holders;
mod object;
mod print;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use clap_complete::ArgValueCompleter;
use serde_json::Value;
use smilax_compiler::Diagnostic;
use smilax_compiler::status::statuses;
use smilax_core::{ProxyConfig, Workload};

use crate::complete;
use crate::fleet::{Heard, Proxy};
use crate::names;
use crate::operator;
use crate::output::OutputArgs;
use crate::remedies;
use crate::world::{World, text};
use holders::Holder;

pub(crate) use object::{KINDS, ObjectName};
pub(crate) use print::{json, table};

/// How a proxy holds what its configuration does not.
const LOOKUP: &str = "address lookup";

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct ExplainArgs {
    /// SMI object, such as trafficsplit/web. Kinds may be written as in kubectl: trafficsplits, ts, tt, htr, tr, ur, ib.
    #[arg(value_name = "KIND/NAME", add = ArgValueCompleter::new(complete::objects))]
    pub(crate) object: ObjectName,
    /// Namespace of the object [default: that of the kubeconfig].
    #[arg(short = 'n', long, value_name = "NAMESPACE", add = ArgValueCompleter::new(complete::namespaces))]
    pub(crate) namespace: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What proxies there are, as far as it could be found out.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) proxies: Vec<Proxy>,
    /// The configuration of each account that lies in the cluster.
    pub(crate) configs: BTreeMap<Workload, ProxyConfig>,
    /// Why nothing is known of what proxies enforce.
    pub(crate) trouble: Option<String>,
}

/// An object, explained.
#[derive(Clone, Debug)]
pub(crate) struct Explanation {
    pub(crate) kind: &'static str,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) generation: i64,
    /// As its status has them.
    pub(crate) conditions: Vec<Value>,
    /// What is found wrong with it now.
    pub(crate) findings: Vec<Diagnostic>,
    pub(crate) proxies: Vec<Concerned>,
    /// Why there are no more of them.
    pub(crate) others: Vec<String>,
    pub(crate) trouble: Option<String>,
}

impl Explanation {
    /// Whether its status says so of this generation, and nothing contradicts it.
    pub(crate) fn is_in_force(&self) -> bool {
        let says = |status: &str| self.conditions.iter().any(|one| one["status"] == *status);
        says("True") && !says("False")
    }
}

/// A proxy that an object concerns.
#[derive(Clone, Debug)]
pub(crate) struct Concerned {
    pub(crate) proxy: Proxy,
    /// Objects through which it is concerned, if not by the object itself.
    pub(crate) through: Vec<String>,
    pub(crate) enforces: Enforces,
}

/// What a proxy enforces of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enforces {
    /// This generation of it.
    Generation(i64),
    /// What is compiled now; it has no generation of its own there.
    Newest,
    /// An older configuration. Whether the object is in it is not known.
    Older,
    /// The newest configuration, which does not hold the object yet.
    NotYet,
    /// Nobody knows.
    Unknown,
}

/// Explains an object of the cluster.
///
/// # Errors
/// When there is none of that name, or an object cannot be read.
pub(crate) fn explain(
    objects: Vec<Value>,
    name: &ObjectName,
    namespace: &str,
    known: &Known,
) -> anyhow::Result<Explanation> {
    let object = found(&objects, name, namespace)?;
    let mut world = World::live(objects)?;
    let status = statuses(&mut world.index, namespace)
        .into_iter()
        .find(|one| *one.object.kind == *name.kind && *one.object.name == *name.name);
    let (findings, workloads) = status
        .map(|status| (status.diagnostics, status.holders))
        .unwrap_or_default();
    let carriers = holders::carriers(&world, name.kind, namespace, &name.name);
    let holders = holders::holders(&mut world, &workloads, &carriers);
    let direct = format!("{}/{namespace}/{}", name.kind, name.name);
    let mut proxies = concerned(&world, &holders, &direct, known);
    proxies.extend(learned(&holders, &direct, &carriers, known));
    let place = (namespace, name.name.as_str());
    let others = holders::others(&world, name.kind, place, &carriers, &holders, &findings);
    Ok(Explanation {
        kind: name.kind,
        namespace: namespace.to_owned(),
        name: name.name.clone(),
        generation: object["metadata"]["generation"].as_i64().unwrap_or_default(),
        conditions: object["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default(),
        findings,
        others,
        proxies,
        trouble: known.trouble.clone(),
    })
}

fn found(objects: &[Value], name: &ObjectName, namespace: &str) -> anyhow::Result<Value> {
    let of_kind = || objects.iter().filter(|object| object["kind"] == name.kind);
    let named = |object: &&Value| object["metadata"]["name"] == *name.name;
    if let Some(object) = of_kind().find(|one| named(one) && one["metadata"]["namespace"] == namespace) {
        return Ok(object.clone());
    }
    let elsewhere: Vec<&str> = of_kind()
        .filter(named)
        .map(|object| text(object, "/metadata/namespace"))
        .collect();
    if elsewhere.is_empty() {
        let there = of_kind().filter(|object| object["metadata"]["namespace"] == namespace);
        let there = there.map(|object| text(object, "/metadata/name"));
        bail!(
            "there is no {} {} in namespace {namespace}{}; {} lists what there is",
            name.kind,
            name.name,
            names::did_you_mean(&name.name, there),
            remedies::list_smi(namespace)
        );
    }
    bail!(
        "there is no {} {} in namespace {namespace}, but in {}: choose with -n",
        name.kind,
        name.name,
        elsewhere.join(", ")
    )
}

fn concerned(world: &World, holders: &[Holder], direct: &str, known: &Known) -> Vec<Concerned> {
    let mut all = Vec::new();
    for proxy in &known.proxies {
        let workload = Workload::new(proxy.namespace.as_str(), proxy.account.as_str());
        let Some(holder) = holders.iter().find(|holder| holder.workload == workload) else {
            continue;
        };
        if !holder.concerns(world, &proxy.pod) {
            continue;
        }
        let carries = known
            .configs
            .get(&workload)
            .map(|config| holders::generations(config, direct));
        all.push(Concerned {
            proxy: proxy.clone(),
            through: holder.through(direct),
            enforces: match (&known.trouble, carries) {
                (Some(_), _) | (_, None) => Enforces::Unknown,
                _ if proxy.revision.is_none() => Enforces::Unknown,
                _ if proxy.revision < proxy.wanted => Enforces::Older,
                (None, Some(Some(generation))) => Enforces::Generation(generation),
                (None, Some(None)) if holder.names(direct) => Enforces::NotYet,
                (None, Some(None)) => Enforces::Newest,
            },
        });
    }
    all
}

/// Proxies that hold an object because they looked up an address, and not by their configuration.
fn learned(holders: &[Holder], direct: &str, carriers: &BTreeSet<String>, known: &Known) -> Vec<Concerned> {
    let others = known.proxies.iter().filter(|proxy| {
        let workload = Workload::new(proxy.namespace.as_str(), proxy.account.as_str());
        holders.iter().all(|holder| holder.workload != workload)
    });
    let concerned = others.filter_map(|proxy| {
        let itself = proxy.learned.iter().find(|one| one.to_string() == direct);
        let carrier = || {
            let mut learned = proxy.learned.iter();
            learned.find(|one| carriers.contains(&one.to_string()))
        };
        let by = itself.or_else(carrier)?;
        let is_direct = by.to_string() == direct;
        let carrier = (!is_direct).then(|| by.to_string());
        Some(Concerned {
            proxy: proxy.clone(),
            through: carrier.into_iter().chain([LOOKUP.to_owned()]).collect(),
            enforces: if is_direct {
                Enforces::Generation(by.generation)
            } else {
                // A proxy of an earlier version reports the split only.
                Enforces::Unknown
            },
        })
    });
    concerned.collect()
}

/// Reads what is needed and explains.
///
/// # Errors
/// As [`explain`], and when the cluster cannot be read.
pub(crate) async fn answer(
    client: &kube::Client,
    installation: &str,
    asked: &ExplainArgs,
) -> anyhow::Result<Explanation> {
    let namespace = asked.namespace.as_deref().unwrap_or(client.default_namespace());
    let objects = crate::cluster::policy(client, installation).await?;
    operator::expect(&objects, installation)?;
    let cluster = crate::fleet::read(client, None)
        .await
        .context("proxies cannot be listed")?;
    // What the object means can be said even if proxies cannot be asked.
    let (heard, trouble) = match crate::fleet::hear(client, installation).await {
        Ok(heard) => (heard, None),
        Err(error) => (Heard::default(), Some(format!("{error:#}"))),
    };
    let known = Known {
        proxies: cluster.proxies(heard.pages),
        configs: cluster.configs,
        trouble,
    };
    let mut explained = explain(objects, &asked.object, namespace, &known)?;
    explained.others.extend(cluster.unreadable);
    explained.others.extend(heard.missing);
    Ok(explained)
}

#[cfg(test)]
mod tests;
