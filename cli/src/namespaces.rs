//! `smilax namespaces`: what is in force in each namespace, and who says so.

mod resolve;

use std::fmt::Write as _;

use anyhow::bail;
use kube::Client;
use serde_json::{Value, json};

use crate::cluster;
use crate::names;
use crate::output::{OutputArgs, columns};
use resolve::InForce;

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct NamespacesArgs {
    /// Of this namespace only.
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What is in force, as text.
///
/// # Errors
/// When the cluster cannot be read, or has no namespace of the name.
pub(crate) async fn answer(
    client: &Client,
    installation: &str,
    asked: &NamespacesArgs,
    now: u64,
) -> anyhow::Result<String> {
    let objects = cluster::settings(client, installation).await?;
    let mut found = resolve::resolve(&objects);
    if let Some(name) = &asked.name {
        let known: Vec<String> = found.iter().map(|one| one.name.clone()).collect();
        found.retain(|one| one.name == *name);
        if found.is_empty() {
            let meant = names::did_you_mean(name, known.iter().map(String::as_str));
            bail!("there is no namespace {name}{meant}");
        }
    }
    asked.output.render(now, |_| table(&found), || json(&found))
}

fn table(namespaces: &[InForce]) -> String {
    let rows: Vec<[String; 5]> = namespaces
        .iter()
        .map(|one| {
            let destinations: Vec<String> = one.destinations.iter().map(ToString::to_string).collect();
            [
                one.name.clone(),
                one.injection.to_string(),
                one.tls.to_string(),
                one.access.to_string(),
                if destinations.is_empty() {
                    "none".to_owned()
                } else {
                    destinations.join("; ")
                },
            ]
        })
        .collect();
    let mut text = columns(["NAME", "INJECTION", "TLS", "ACCESS", "DESTINATIONS"], &rows);
    let faults = namespaces
        .iter()
        .flat_map(|one| one.faults.iter().map(move |fault| (&one.name, fault)));
    for (index, (name, fault)) in faults.enumerate() {
        if index == 0 {
            text.push('\n');
        }
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name}: {fault}");
    }
    text
}

fn json(namespaces: &[InForce]) -> Value {
    let all = namespaces.iter().map(|one| {
        let setting = |one: &resolve::Setting| json!({"value": one.value, "from": one.origin.to_string()});
        json!({
            "name": one.name,
            "injection": setting(&one.injection),
            "tlsMode": setting(&one.tls),
            "accessMode": setting(&one.access),
            "destinations": one.destinations.iter().map(setting).collect::<Vec<_>>(),
            "faults": one.faults,
        })
    });
    json!({"namespaces": all.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests;
