//! Taking an earlier injection back.
//!
//! `kubectl debug --copy-to` and backup tools such as Velero create pods that already have a sidecar, perhaps that of an
//! older version, often without labels and annotations. A pod may also only pretend to have one. So nothing of it is
//! trusted: what looks like ours is taken out, and the pod is injected like any other.

use serde_json::{Map, Value, json};
use smilax_core::application_metrics::ApplicationMetrics;
use smilax_core::convention::{TOKEN_AUDIENCE, key, variable};
use smilax_core::probe::{PathKey, ProbeTable};

use super::pod::{is_sidecar, list, name, text};
use super::{EVICTABLE, probes, scrape, sidecar};

/// Every variable of our containers begins with it, in every version.
const VARIABLES: &str = "SMILAX_";
/// Annotations that injection writes.
const ANNOTATIONS: [&str; 2] = [key::INJECT_STATUS, key::INBOUND_UDP];

/// A pod as it was before injection, and warnings about what could not be restored.
pub(super) fn strip(raw: &Value) -> (Value, Vec<String>) {
    let mut pod = raw.clone();
    let mut table = table(&pod);
    let mut warnings = Vec::new();
    strip_metadata(&mut pod, proxy(raw).and_then(scrape::of_earlier).as_ref());
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else {
        return (pod, warnings);
    };
    retain(spec, "initContainers", |container| !is_our_container(container));
    retain(spec, "volumes", |volume| !is_our_volume(volume));
    for (field, only_sidecars) in [("initContainers", true), ("containers", false)] {
        let containers = spec.get_mut(field).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            if !only_sidecars || is_sidecar(container) {
                probes::restore(container, &mut table, &mut warnings);
            }
        }
    }
    (pod, warnings)
}

/// The key that the paths of its probes have, if an earlier injection gave it one.
pub(super) fn path_key(pod: &Value) -> Option<PathKey> {
    table(pod).key()
}

/// What the earlier proxy was told about the probes of its pod.
fn table(pod: &Value) -> ProbeTable {
    let table = proxy(pod).and_then(|proxy| {
        let probes = list(proxy, "/env").find(|entry| name(entry) == variable::PROBES)?;
        serde_json::from_str(&sidecar::unescaped(text(probes, "/value")?)).ok()
    });
    table.unwrap_or_default()
}

/// The proxy of the earlier injection.
fn proxy(pod: &Value) -> Option<&Value> {
    list(pod, "/spec/initContainers")
        .find(|container| name(container) == sidecar::PROXY && is_our_container(container))
}

/// By its name and by something that no other container has. The name alone is not enough: a container of somebody else must
/// not vanish, and is refused for its name.
fn is_our_container(container: &Value) -> bool {
    let has_variable = || list(container, "/env").any(|entry| name(entry).starts_with(VARIABLES));
    let has_volume = || list(container, "/volumeMounts").any(|mount| sidecar::VOLUMES.contains(&name(mount)));
    sidecar::CONTAINERS.contains(&name(container)) && (has_variable() || has_volume())
}

/// By its name and the kind of its source, which are the same in every version.
fn is_our_volume(volume: &Value) -> bool {
    match name(volume) {
        sidecar::CONFIG => text(volume, "/configMap/name").is_some_and(|name| name.starts_with("smilax-")),
        sidecar::STATE => text(volume, "/emptyDir/medium") == Some("Memory"),
        sidecar::TOKEN => list(volume, "/projected/sources")
            .any(|source| text(source, "/serviceAccountToken/audience") == Some(TOKEN_AUDIENCE)),
        sidecar::NO_TOKEN => volume.get("emptyDir").is_some(),
        sidecar::POD => volume.get("downwardAPI").is_some(),
        _ => false,
    }
}

fn strip_metadata(pod: &mut Value, application: Option<&ApplicationMetrics>) {
    let Some(metadata) = pod.get_mut("metadata") else {
        return;
    };
    if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
        labels.remove(key::PROXY_VERSION);
    }
    let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) else {
        return;
    };
    for written in ANNOTATIONS {
        annotations.remove(written);
    }
    scrape::restore(annotations, application);
    let listed = annotations
        .get(EVICTABLE)
        .and_then(Value::as_str)
        .unwrap_or_default();
    let others: Vec<&str> = listed
        .split(',')
        .filter(|volume| !sidecar::evictable().contains(&volume.trim()))
        .collect();
    if others.is_empty() {
        annotations.remove(EVICTABLE);
    } else if annotations.contains_key(EVICTABLE) {
        let others = json!(others.join(","));
        annotations.insert(EVICTABLE.to_owned(), others);
    }
}

fn retain(spec: &mut Map<String, Value>, field: &str, keep: impl Fn(&Value) -> bool) {
    let Some(all) = spec.get_mut(field).and_then(Value::as_array_mut) else {
        return;
    };
    let before = all.len();
    all.retain(keep);
    if all.is_empty() && before > 0 {
        spec.remove(field);
    }
}

#[cfg(test)]
mod tests;
