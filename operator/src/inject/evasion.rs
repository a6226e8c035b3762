//! What would let a pod get around its sidecar: the user and group of the proxy, and, in a Namespace that keeps its pods in,
//! running where there is no sidecar.

use serde_json::Value;
use smilax_core::convention::PROXY_UID;

use super::eligibility::LeftAlone;
use super::modes;
use super::pod::{all_containers, list, name};
use crate::cluster_view::NamespaceView;

/// Fields of a pod's securityContext that name a user or a group. Those of a container are among them.
const OF_POD: [&str; 3] = ["runAsUser", "runAsGroup", "fsGroup"];
const OF_CONTAINER: [&str; 2] = ["runAsUser", "runAsGroup"];

/// Why this pod must not be created, for what it would get around; nothing where pods may stay out by themselves.
pub(super) fn evasions(pod: &Value, namespace: &NamespaceView, left_alone: Option<LeftAlone>) -> Vec<String> {
    if !modes::keeps_pods_in(namespace) {
        return Vec::new();
    }
    let stays_out = match left_alone {
        None => return identities(pod),
        Some(LeftAlone::HostNetwork) => {
            "the pod uses the network of its node (spec.hostNetwork), where it would run without a sidecar"
        }
        Some(LeftAlone::NotLinux) => {
            "the pod does not run on Linux (spec.os, spec.nodeSelector), so it would run without a sidecar"
        }
        // The first two are no choice of the pod in such a Namespace. Kubernetes and the mesh itself are not members. A kubelet runs
        // no mirror pod that did not come from its own files, and nobody can take that annotation away again.
        Some(
            LeftAlone::NotEnabled | LeftAlone::OptedOut | LeftAlone::SystemNamespace | LeftAlone::MirrorPod,
        ) => return Vec::new(),
    };
    vec![format!("{stays_out}: {}", modes::reserved(namespace))]
}

/// Every place where a pod takes the proxy's user or group. The user of an image is not known here.
pub(super) fn identities(pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(context) = pod.pointer("/spec/securityContext") {
        found.extend(taken(context, &OF_POD, "the pod"));
        if list(context, "/supplementalGroups").any(is_ours) {
            found.push(told("the pod", "supplementalGroups"));
        }
    }
    for container in all_containers(pod) {
        found.extend(of_container(container));
    }
    found
}

/// The same of one container.
pub(super) fn of_container(container: &Value) -> Vec<String> {
    let who = format!("container {:?}", name(container));
    container
        .get("securityContext")
        .map(|context| taken(context, &OF_CONTAINER, &who))
        .unwrap_or_default()
}

fn taken(context: &Value, fields: &[&str], who: &str) -> Vec<String> {
    fields
        .iter()
        .filter(|field| context.get(field).is_some_and(is_ours))
        .map(|field| told(who, field))
        .collect()
}

fn told(who: &str, field: &str) -> String {
    format!(
        "{who} has {field} {PROXY_UID}, which is the proxy's user and group and is not redirected: choose another {field}"
    )
}

fn is_ours(value: &Value) -> bool {
    value.as_u64() == Some(u64::from(PROXY_UID))
}

#[cfg(test)]
mod tests;
