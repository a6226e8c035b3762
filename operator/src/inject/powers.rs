//! What containers may do that their sidecar, or the packets of others, do not survive: told, not refused.

use serde_json::Value;

use super::pod::{all_containers, list, name};
use super::sidecar;

/// With these, a container changes the network of its pod.
const OVER_THE_NETWORK: [&str; 3] = ["NET_ADMIN", "NET_RAW", "ALL"];
/// With these, a container reads the memory of processes that it sees.
const OVER_PROCESSES: [&str; 3] = ["SYS_PTRACE", "SYS_ADMIN", "ALL"];

/// Warnings about the containers of a pod.
pub(super) fn powers(pod: &Value) -> Vec<String> {
    let theirs = || all_containers(pod).filter(|container| !sidecar::CONTAINERS.contains(&name(container)));
    let network = theirs().filter_map(over_the_network);
    let processes = theirs().filter_map(|container| over_processes(pod, container));
    network.chain(processes).collect()
}

/// Whether a container can take the redirect of its pod away.
pub(super) fn over_the_network(container: &Value) -> Option<String> {
    let power = power(container, &OVER_THE_NETWORK)?;
    Some(format!(
        "container {:?} has {power}: it can take the redirect of its own pod away; other pods stay protected",
        name(container)
    ))
}

/// Whether a container of a pod sees the processes of the sidecar and can read their memory. Seeing them alone is not enough: the
/// proxy is not dumpable.
pub(super) fn over_processes(pod: &Value, container: &Value) -> Option<String> {
    let is_set = |field: &str| pod.pointer(field).and_then(Value::as_bool) == Some(true);
    if !is_set("/spec/shareProcessNamespace") && !is_set("/spec/hostPID") {
        return None;
    }
    let power = power(container, &OVER_PROCESSES)?;
    Some(format!(
        "container {:?} has {power} and sees the processes of the sidecar (spec.shareProcessNamespace, spec.hostPID): it can \
         read its key",
        name(container)
    ))
}

fn power(container: &Value, powers: &[&'static str]) -> Option<&'static str> {
    // Runtimes take them in any case, and Kubernetes does not look.
    let added = list(container, "/securityContext/capabilities/add")
        .filter_map(Value::as_str)
        .find_map(|power| {
            let upper = power.to_ascii_uppercase();
            let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
            powers.iter().find(|known| **known == bare).copied()
        });
    let privileged = container
        .pointer("/securityContext/privileged")
        .and_then(Value::as_bool)
        == Some(true);
    added.or(privileged.then_some("every capability, being privileged"))
}
