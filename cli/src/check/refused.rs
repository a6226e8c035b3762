//! Workloads of the mesh that want pods and get none: there is no pod to tell it.

use serde_json::Value;
use smilax_core::convention::key;

use super::{Finding, Snapshot, failed};
use crate::controller::Controller;
use crate::remedies;
use crate::world::text;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let is_meshed = |object: &Value| {
        let label = |one: &Value| {
            one["metadata"]["labels"][key::INJECT]
                .as_str()
                .map(ToOwned::to_owned)
        };
        let namespace = snapshot
            .namespaces
            .iter()
            .find(|one| one["metadata"]["name"] == object["metadata"]["namespace"]);
        label(&object["spec"]["template"])
            .or_else(|| namespace.and_then(label))
            .is_some_and(|label| label == "enabled")
    };
    for object in snapshot.keyed.iter().filter(|one| is_meshed(one)) {
        let Some((controller, why)) = Controller::of_object(object).zip(why(object)) else {
            continue;
        };
        let Controller {
            namespace,
            kind,
            name,
        } = &controller;
        findings.push(failed(
            &controller.subject(),
            format!("{why}; see {}", remedies::why_inject(namespace, kind, name)),
        ));
    }
}

/// Why a workload gets no pods, as far as its status tells.
pub(crate) fn why(object: &Value) -> Option<String> {
    if !object["metadata"]["ownerReferences"].is_null() {
        return None;
    }
    let conditions = object["status"]["conditions"].as_array();
    let failure = conditions
        .into_iter()
        .flatten()
        .find(|one| one["type"] == "ReplicaFailure" && one["status"] == "True");
    if let Some(failure) = failure {
        return Some(format!(
            "pods are refused: {}: {}",
            text(failure, "/reason"),
            text(failure, "/message")
        ));
    }
    // These have no such condition; only Events of them say why.
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_u64);
    let (wanted, exist) = match text(object, "/kind") {
        "StatefulSet" => (number("/spec/replicas"), number("/status/replicas")),
        "DaemonSet" => (
            number("/status/desiredNumberScheduled"),
            number("/status/currentNumberScheduled"),
        ),
        _ => return None,
    };
    match (wanted, exist) {
        (Some(wanted @ 1..), Some(0)) => Some(format!("none of {wanted} pods exists")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(object: Value, label: &str) -> Vec<String> {
        let snapshot = Snapshot {
            namespaces: vec![json!({"metadata": {"name": "psa", "labels": {"smilax.dev/inject": label}}})],
            keyed: vec![object],
            ..Snapshot::default()
        };
        let mut findings = Vec::new();
        check(&snapshot, &mut findings);
        let findings = findings.into_iter();
        findings
            .map(|one| format!("{}: {}", one.subject, one.message))
            .collect()
    }

    fn refused() -> Value {
        json!({
            "kind": "Deployment", "metadata": {"name": "web", "namespace": "psa"}, "spec": {"template": {}},
            "status": {"conditions": [{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "violates PodSecurity",
            }]},
        })
    }

    #[test]
    fn a_workload_of_the_mesh_whose_pods_are_refused_is_a_failure() {
        assert_eq!(
            told(refused(), "enabled"),
            [
                "Deployment psa/web: pods are refused: FailedCreate: violates PodSecurity; see smilax why-inject deployment/web -n psa"
            ]
        );
        assert_eq!(told(refused(), "disabled"), [""; 0]);
    }

    #[test]
    fn a_stateful_set_that_has_none_of_its_pods_is_a_failure() {
        let of = |wanted: u64, exist: u64| {
            told(
                json!({
                    "kind": "StatefulSet", "metadata": {"name": "db", "namespace": "psa"},
                    "spec": {"replicas": wanted, "template": {}}, "status": {"replicas": exist},
                }),
                "enabled",
            )
        };
        assert!(of(2, 0)[0].contains("StatefulSet psa/db: none of 2 pods exists;"));
        assert_eq!(of(2, 1), [""; 0]);
        assert_eq!(of(0, 0), [""; 0]);
    }
}
