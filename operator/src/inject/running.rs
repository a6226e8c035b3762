//! Judging changes to pods that have their sidecar: containers that are added for debugging, and images that are exchanged.
//!
//! Everything else that matters here cannot be changed in a pod that runs, by Kubernetes' own rules.

use serde_json::Value;

use super::pod::{list, name, text};
use super::settings::InjectSettings;
use super::validate::Findings;
use super::{eligibility, evasion, powers, sidecar};

/// Judges a pod that is changed, and so each ephemeral container that is new in it. Pods without a sidecar have no findings.
pub fn validate_running(pod: &Value, before: &Value, settings: &InjectSettings) -> Findings {
    let mut findings = Findings::default();
    if !list(before, "/spec/initContainers").any(|container| name(container) == sidecar::PROXY) {
        return findings;
    }
    for container in list(pod, "/spec/initContainers") {
        findings.errors.extend(exchanged(container, before, settings));
    }
    let path = "/spec/ephemeralContainers";
    for container in list(pod, path).filter(|one| !list(before, path).any(|other| other == *one)) {
        let at = |message: String| format!("spec.ephemeralContainers: {message}");
        findings
            .errors
            .extend(trespasses(pod, container).into_iter().map(at));
        findings
            .warnings
            .extend(powers::over_the_network(container).map(at));
    }
    findings
}

/// Whether a container of ours gets an image that is not this installation's.
fn exchanged(container: &Value, before: &Value, settings: &InjectSettings) -> Option<String> {
    let name_of_it = name(container);
    let image = text(container, "/image").unwrap_or_default();
    let stays = || {
        list(before, "/spec/initContainers")
            .any(|earlier| name(earlier) == name_of_it && text(earlier, "/image") == Some(image))
    };
    let is_theirs = sidecar::CONTAINERS.contains(&name_of_it) && image != settings.proxy_image && !stays();
    is_theirs.then(|| {
        format!(
            "spec.initContainers: container {name_of_it:?} belongs to the mesh, and {image:?} is not the image of this \
             installation: delete the pod, and the one that follows has the sidecar of this version"
        )
    })
}

/// What a container would reach of the sidecar.
fn trespasses(pod: &Value, container: &Value) -> Vec<String> {
    let container_name = name(container);
    let mut found = evasion::of_container(container);
    found.extend(eligibility::claims(container));
    if let Some(target) =
        text(container, "/targetContainerName").filter(|target| sidecar::CONTAINERS.contains(target))
    {
        found.push(format!(
            "container {container_name:?} would share the processes of {target:?}, which holds the key of the pod: name \
             another targetContainerName, and ask the sidecar by `smilax proxy-config` and its log"
        ));
    }
    found.extend(powers::over_processes(pod, container));
    found
}

#[cfg(test)]
mod tests;
