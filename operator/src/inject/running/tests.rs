use serde_json::{Value, json};

use super::super::fixture::{Container, container, pod, settings};
use super::*;

/// What is said when this container is added to a pod that runs.
fn debugging_in(running: &Value, debugger: &Container) -> Findings {
    let mut pod = running.clone();
    pod["spec"]["ephemeralContainers"] = json!([debugger.0]);
    validate_running(&pod, running, &settings())
}

fn debugging(debugger: &Container) -> Findings {
    debugging_in(&pod().injected(), debugger)
}

fn secured(context: Value) -> Container {
    container("debugger").with("securityContext", context)
}

#[track_caller]
fn refused(findings: &Findings, said: &str) {
    assert!(
        findings.errors.len() == 1 && findings.errors[0].contains(said),
        "{said}: {findings:?}"
    );
}

#[test]
fn s8_a_debug_container_cannot_mount_a_volume_of_the_sidecar() {
    for volume in sidecar::VOLUMES {
        let mounts = json!([{"name": volume, "mountPath": "/x", "readOnly": true}]);
        refused(
            &debugging(&container("debugger").with("volumeMounts", mounts)),
            volume,
        );
    }
}

#[test]
fn s8_a_debug_container_cannot_take_the_proxys_user_group_or_name() {
    refused(&debugging(&secured(json!({"runAsUser": 2102}))), "runAsUser 2102");
    refused(
        &debugging(&secured(json!({"runAsGroup": 2102}))),
        "runAsGroup 2102",
    );
    refused(&debugging(&container("smilax-proxy")), "rename it");
}

#[test]
fn s8_a_debug_container_cannot_join_the_processes_of_the_sidecar() {
    for target in sidecar::CONTAINERS {
        let debugger = container("debugger").with("targetContainerName", json!(target));
        refused(&debugging(&debugger), target);
    }
}

#[test]
fn s8_where_processes_are_shared_a_debug_container_cannot_trace_them() {
    let tracing = |power: &str| secured(json!({"capabilities": {"add": [power]}}));
    for field in ["shareProcessNamespace", "hostPID"] {
        let sharing = pod().spec(field, json!(true)).injected();
        for power in ["SYS_PTRACE", "CAP_SYS_PTRACE", "cap_sys_ptrace"] {
            refused(&debugging_in(&sharing, &tracing(power)), "SYS_PTRACE");
        }
        refused(
            &debugging_in(&sharing, &secured(json!({"privileged": true}))),
            "privileged",
        );
        assert_eq!(
            debugging_in(&sharing, &container("debugger")),
            Findings::default()
        );
    }
}

#[test]
fn s8_ordinary_debugging_goes_on() {
    // As `kubectl debug --target=web --profile=general` sends it.
    let general = secured(json!({"capabilities": {"add": ["SYS_PTRACE"]}}))
        .with("targetContainerName", json!("web"))
        .with("volumeMounts", json!([{"name": "data", "mountPath": "/data"}]));
    assert_eq!(debugging(&general), Findings::default());
    let netadmin = debugging(&secured(
        json!({"capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}}),
    ));
    assert!(
        netadmin.errors.is_empty() && netadmin.warnings[0].contains("NET_ADMIN"),
        "{netadmin:?}"
    );
}

#[test]
fn s8_a_debug_container_that_was_there_before_keeps_nobody_from_adding_another() {
    let mut running = pod().injected();
    running["spec"]["ephemeralContainers"] = json!([secured(json!({"runAsUser": 2102})).0]);
    let mut changed = running.clone();
    let list = changed["spec"]["ephemeralContainers"].as_array_mut().unwrap();
    list.push(container("another").0);
    assert_eq!(
        validate_running(&changed, &running, &settings()),
        Findings::default()
    );
}

#[test]
fn s8_the_image_of_the_sidecar_of_a_running_pod_is_this_installations() {
    let running = pod().injected();
    for index in [0, 1] {
        let mut changed = running.clone();
        changed["spec"]["initContainers"][index]["image"] = json!("registry.example/evil:1");
        refused(
            &validate_running(&changed, &running, &settings()),
            "registry.example/evil:1",
        );
        // One of an earlier installation may become this one, and may stay as it is.
        assert_eq!(
            validate_running(&running, &changed, &settings()),
            Findings::default()
        );
        assert_eq!(
            validate_running(&changed, &changed, &settings()),
            Findings::default()
        );
    }
    let mut own = running.clone();
    own["spec"]["containers"][0]["image"] = json!("registry.example/web:2");
    assert_eq!(validate_running(&own, &running, &settings()), Findings::default());
}

#[test]
fn s8_a_pod_without_a_sidecar_is_none_of_ours() {
    let debugger = secured(json!({"runAsUser": 2102}));
    assert_eq!(debugging_in(&pod().0, &debugger), Findings::default());
}
