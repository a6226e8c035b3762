//! The operator, its webhooks, and what it tells about the authority.

use serde_json::Value;

use super::{Finding, Snapshot, failed, good, notice};
use crate::operator::{Operator, Rollout};
use crate::remedies;
use crate::trouble;
use crate::world::text;

pub(super) fn operator(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    findings.push(match snapshot.operator() {
        Some(operator) => replicas(&operator, operator.rollout(&snapshot.keyed)),
        None => failed("operator", absent(snapshot)),
    });
}

fn absent(snapshot: &Snapshot) -> String {
    let namespace = &snapshot.namespace;
    let elsewhere: Vec<&str> = snapshot.installations().into_iter().collect();
    let next = match elsewhere.as_slice() {
        [] => format!("run {}", remedies::install(namespace)),
        [one] => format!("one runs in namespace {one}: add --smilax-namespace {one}"),
        many => format!(
            "namespaces {} have one: choose with --smilax-namespace",
            many.join(", ")
        ),
    };
    format!("there is no Deployment smilax-operator in namespace {namespace}; {next}")
}

/// What serves, and whether that is what the Deployment asks for.
fn replicas(operator: &Operator<'_>, rollout: Rollout) -> Finding {
    let subject = "operator";
    let Rollout {
        wanted,
        current,
        earlier,
    } = rollout;
    let versions: Vec<&str> = operator.versions().into_iter().collect();
    let version = match versions.as_slice() {
        [one] => format!("version {one}"),
        many => format!("versions {}", many.join(" and ")),
    };
    let trouble = trouble(operator);
    if current + earlier == 0 {
        return failed(
            subject,
            format!("none of {wanted} replicas is ready; running proxies keep what they have{trouble}"),
        );
    }
    if current < wanted && earlier > 0 {
        let state = if trouble.is_empty() {
            "rollout not finished"
        } else {
            "rollout stuck"
        };
        return failed(
            subject,
            format!(
                "{state}: {current} of {wanted} replicas run this configuration; replicas with an earlier one: {earlier}, {version}{trouble}"
            ),
        );
    }
    let told = format!(
        "{} of {wanted} replicas are ready, {version}{trouble}",
        current + earlier
    );
    if current < wanted {
        notice(subject, told)
    } else {
        good(subject, told)
    }
}

/// Why a replica does not start, to follow a message; empty where none is in trouble.
fn trouble(operator: &Operator<'_>) -> String {
    let mut pods = operator.pods.iter().filter(|pod| !trouble::is_ready(pod));
    let found = pods.find_map(|pod| {
        let why = trouble::of_pod(pod)?;
        Some((text(pod, "/metadata/name"), text(pod, "/metadata/namespace"), why))
    });
    found.map_or_else(String::new, |(name, namespace, why)| {
        format!(
            "; pod {name} does not start: {why}; see {}",
            remedies::describe(namespace, "pod", name)
        )
    })
}

pub(super) fn webhooks(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    for (name, all) in [
        ("smilax-inject", &snapshot.mutating),
        ("smilax-validate", &snapshot.validating),
    ] {
        let Some(found) = all.iter().find(|one| one["metadata"]["name"] == name) else {
            findings.push(failed(
                name,
                format!(
                    "the webhook configuration is missing; run {}",
                    remedies::install(&snapshot.namespace)
                ),
            ));
            continue;
        };
        let unpublished = found["webhooks"].as_array().into_iter().flatten().any(|hook| {
            hook["clientConfig"]["caBundle"]
                .as_str()
                .is_none_or(str::is_empty)
        });
        findings.push(if unpublished {
            failed(
                name,
                "it has no caBundle yet; the operator publishes it when it runs",
            )
        } else {
            good(name, "the webhook is registered")
        });
    }
}

/// What the operator tells about the authority.
pub(super) fn authority(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let is_default = |mesh: &&Value| mesh["metadata"]["name"] == "default";
    let Some(mesh) = snapshot.meshes.iter().find(is_default) else {
        // Without an operator, nothing is expected of it.
        if snapshot.operator().is_some() {
            findings.push(notice(
                "authority",
                format!(
                    "unknown: there is no MeshConfig default, on which the operator reports; run {}, with meshConfig.create as it is by default",
                    remedies::install(&snapshot.namespace)
                ),
            ));
        }
        return;
    };
    let conditions = mesh["status"]["conditions"].as_array();
    let conditions: Vec<&Value> = conditions.into_iter().flatten().collect();
    if !conditions.iter().any(|one| one["type"] == "AuthorityReady") {
        findings.push(notice(
            "authority",
            "MeshConfig default has no status of it yet; the operator writes it",
        ));
    }
    for one in conditions {
        let message = format!("{}: {}", text(one, "/reason"), text(one, "/message"));
        match (text(one, "/type"), text(one, "/status")) {
            ("AuthorityReady", "True") => findings.push(good("authority", message)),
            ("AuthorityReady", _) => findings.push(failed("authority", message)),
            ("ConfigurationsSigned", "False") => findings.push(failed("signatures", message)),
            ("AuthorityRotating", "True") => findings.push(notice("authority", message)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
