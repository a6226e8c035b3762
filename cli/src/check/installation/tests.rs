use serde_json::json;

use super::*;
use crate::check::tests::{complaints, healthy, mesh};
use crate::check::{Verdict, Versions};
use crate::operator::tests as running;

/// Two replicas that serve with an earlier image, and a new one that does not start.
fn stuck(status: Value) -> Snapshot {
    let mut snapshot = healthy();
    snapshot.deployments = vec![running::deployment("localhost/smilax-operator:0.9.9")];
    for pod in &mut snapshot.pods[..2] {
        pod["metadata"]["labels"]["pod-template-hash"] = json!("old");
    }
    let mut new = running::pod("c", "new", "localhost/smilax-operator:0.9.9");
    new["status"] = status;
    snapshot.pods.push(new);
    snapshot
}

#[test]
fn a_rollout_that_is_stuck_fails_with_the_reason_of_the_pod_that_does_not_start() {
    let snapshot = stuck(json!({"phase": "Pending", "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available",
    }]}));
    assert_eq!(
        complaints(&snapshot),
        [
            "operator: rollout stuck: 0 of 2 replicas run this configuration; replicas with an earlier one: 2, version 0.1.0; \
             pod c does not start: Unschedulable: 0/2 nodes are available; see kubectl --namespace smilax-system describe pod c"
        ]
    );
}

#[test]
fn an_image_that_cannot_be_pulled_is_not_the_version_that_runs() {
    let snapshot = stuck(json!({"phase": "Pending", "containerStatuses": [
        {"name": "operator", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}},
    ]}));
    let told = complaints(&snapshot);
    assert_eq!(told.len(), 1, "no proxy is outdated: {told:?}");
    assert!(
        told[0].contains("version 0.1.0; pod c does not start: container operator: ErrImagePull"),
        "{told:?}"
    );
    let versions = Versions::of(Some(&snapshot)).table();
    assert!(versions.contains("operator: 0.1.0\n"), "{versions}");
}

#[test]
fn a_rollout_under_way_is_not_finished_until_every_replica_runs_the_new_configuration() {
    let snapshot = stuck(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
    let told = complaints(&snapshot);
    assert!(
        told[0].starts_with("operator: rollout not finished: 1 of 2 replicas"),
        "{told:?}"
    );
    assert!(told[0].ends_with("versions 0.1.0 and 0.9.9"), "{told:?}");
}

#[test]
fn a_replica_that_is_missing_is_worth_a_look_and_none_is_a_failure() {
    let mut snapshot = healthy();
    snapshot.pods.remove(0);
    assert_eq!(
        complaints(&snapshot),
        ["operator: 1 of 2 replicas are ready, version 0.1.0"]
    );
    snapshot.pods.remove(0);
    assert!(complaints(&snapshot)[0].starts_with("operator: none of 2 replicas is ready"));
}

#[test]
fn a_namespace_without_an_operator_is_answered_with_the_one_that_has_it() {
    let mut snapshot = healthy();
    snapshot.namespace = "smilax-sytem".to_owned();
    snapshot.deployments.clear();
    assert_eq!(
        complaints(&snapshot),
        [
            "operator: there is no Deployment smilax-operator in namespace smilax-sytem; one runs in namespace smilax-system: add --smilax-namespace smilax-system"
        ]
    );
    snapshot.pods.clear();
    let told = complaints(&snapshot);
    assert!(
        told[0].ends_with("run helm upgrade --install smilax charts/smilax --namespace smilax-sytem"),
        "{told:?}"
    );
}

#[test]
fn a_mesh_config_that_is_missing_leaves_the_authority_unknown() {
    let mut snapshot = healthy();
    snapshot.meshes.clear();
    assert_eq!(
        complaints(&snapshot),
        [
            "authority: unknown: there is no MeshConfig default, on which the operator reports; run helm upgrade --install smilax charts/smilax --namespace smilax-system, with meshConfig.create as it is by default"
        ]
    );
}

#[test]
fn what_the_operator_tells_about_the_authority_is_shown() {
    let verdicts = |ready: &str, rotating: &str, signed: &str| {
        let mut mesh = mesh(&json!({}));
        mesh["status"]["conditions"] = json!([
            {"type": "AuthorityReady", "status": ready, "reason": "R", "message": "m"},
            {"type": "AuthorityRotating", "status": rotating, "reason": "R", "message": "m"},
            {"type": "ConfigurationsSigned", "status": signed, "reason": "R", "message": "m"},
        ]);
        let snapshot = Snapshot {
            meshes: vec![mesh],
            ..Snapshot::default()
        };
        let mut findings = Vec::new();
        authority(&snapshot, &mut findings);
        findings.iter().map(|finding| finding.verdict).collect::<Vec<_>>()
    };
    assert_eq!(verdicts("True", "False", "True"), [Verdict::Good]);
    assert_eq!(
        verdicts("False", "True", "True"),
        [Verdict::Failed, Verdict::Notice]
    );
    assert_eq!(
        verdicts("True", "False", "False"),
        [Verdict::Good, Verdict::Failed]
    );
}
