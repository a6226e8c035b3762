use serde_json::{Value, json};
use smilax_core::convention::key;

use super::super::fixture::{Pod, bare, container, pod, settings, shop};
use super::super::{Outcome, validate_workload};
use crate::cluster_view::NamespaceView;

/// Namespaces whose pods may not stay out by themselves.
fn closed() -> [NamespaceView; 2] {
    [
        shop().annotation(key::TLS_MODE, "strict"),
        shop().annotation(key::ACCESS_MODE, "deny"),
    ]
}

#[track_caller]
fn refused(pod: &Pod, namespace: &NamespaceView) -> String {
    match pod.inject_into(namespace) {
        Outcome::Refused { message } => message,
        other => panic!("{other:?}"),
    }
}

fn deployment(pod: &Pod) -> Value {
    json!({
        "kind": "Deployment",
        "spec": {"template": {"metadata": pod.0["metadata"], "spec": pod.0["spec"]}},
    })
}

/// Pods that would run where there is no sidecar.
fn outside() -> [(&'static str, Pod); 4] {
    let windows = json!({"kubernetes.io/os": "windows"});
    [
        ("hostNetwork", pod().spec("hostNetwork", json!(true))),
        (
            "hostNetwork",
            pod()
                .spec("hostNetwork", json!(true))
                .label(key::INJECT, "disabled"),
        ),
        ("spec.os", pod().spec("os", json!({"name": "windows"}))),
        ("spec.nodeSelector", pod().spec("nodeSelector", windows)),
    ]
}

/// Pods that take the user or the group of the proxy.
fn imitating() -> Vec<(&'static str, Pod)> {
    let of_pod = |field: &str, value: Value| pod().spec("securityContext", json!({field: value}));
    let of_container = |field: &str| {
        let context = json!({field: 2102});
        bare().container(container("web").with("securityContext", context))
    };
    let of_init = bare()
        .container(container("web"))
        .init_container(container("setup").with("securityContext", json!({"runAsGroup": 2102})));
    vec![
        ("runAsUser", of_pod("runAsUser", json!(2102))),
        ("runAsGroup", of_pod("runAsGroup", json!(2102))),
        ("fsGroup", of_pod("fsGroup", json!(2102))),
        (
            "supplementalGroups",
            of_pod("supplementalGroups", json!([10, 2102])),
        ),
        ("runAsUser", of_container("runAsUser")),
        ("runAsGroup", of_container("runAsGroup")),
        ("runAsGroup", of_init),
    ]
}

#[test]
fn s7_a_pod_of_a_closed_namespace_cannot_run_where_there_is_no_sidecar() {
    for namespace in closed() {
        for (field, pod) in outside() {
            let message = refused(&pod, &namespace);
            assert!(
                message.contains(field) && message.contains(key::ALLOW_RELAX),
                "{message}"
            );
            let relaxed = namespace.clone().annotation(key::ALLOW_RELAX, "true");
            assert!(matches!(pod.inject_into(&relaxed), Outcome::LeftAlone { .. }));
        }
    }
}

#[test]
fn s7_nobody_but_the_proxy_has_its_user_or_its_group() {
    for (field, pod) in imitating() {
        for namespace in closed().into_iter().chain([shop()]) {
            let message = refused(&pod, &namespace);
            assert!(message.contains(&format!("choose another {field}")), "{message}");
        }
    }
    let others = json!({"runAsUser": 0, "runAsGroup": 2101, "fsGroup": 21020, "supplementalGroups": [2103]});
    pod().spec("securityContext", others).injected();
}

#[test]
fn s7_what_would_get_around_a_closed_namespace_is_refused_on_the_workload() {
    for namespace in closed() {
        for (field, pod) in outside().into_iter().chain(imitating()) {
            let workload = deployment(&pod);
            let judged = |before: Option<&Value>, namespace: &NamespaceView| {
                validate_workload(&workload, before, namespace, &settings())
            };
            let found = judged(None, &namespace);
            assert!(
                found
                    .errors
                    .iter()
                    .any(|error| error.starts_with("spec.template: ") && error.contains(field)),
                "{found:?}"
            );
            // What was there before the Namespace was closed does not keep anybody from changing something else.
            assert!(judged(Some(&workload), &namespace).errors.is_empty());
            let relaxed = namespace.clone().annotation(key::ALLOW_RELAX, "true");
            assert!(judged(None, &relaxed).errors.is_empty());
        }
    }
}

#[test]
fn s7_a_pod_that_looks_injected_gets_its_sidecar_in_a_closed_namespace() {
    let fake = |name: &str| {
        container(name)
            .with("restartPolicy", json!("Always"))
            .with("command", json!(["sleep", "1d"]))
            .with("env", json!([{"name": "SMILAX_PROBES", "value": "[]"}]))
            .with("securityContext", json!({"runAsUser": 2102}))
    };
    let forged = pod()
        .label(key::PROXY_VERSION, "0.1.0")
        .annotation(key::INJECT_STATUS, "injected")
        .annotation(key::INBOUND_UDP, "open")
        .init_container(fake("smilax-init"))
        .init_container(fake("smilax-proxy"));
    for namespace in closed() {
        let Outcome::Injected { pod: injected, .. } = forged.inject_into(&namespace) else {
            panic!("not injected");
        };
        let Outcome::Injected { pod: plain, .. } = pod().inject_into(&namespace) else {
            panic!("not injected");
        };
        assert_eq!(injected, plain);
    }
}

#[test]
fn s7_a_shared_process_namespace_is_allowed_and_who_could_read_memory_there_is_warned_of() {
    let traced = || {
        container("web").with(
            "securityContext",
            json!({"capabilities": {"add": ["SYS_PTRACE"]}}),
        )
    };
    for field in ["shareProcessNamespace", "hostPID"] {
        pod().spec(field, json!(true)).injected();
        let pod = bare().spec(field, json!(true)).container(traced());
        let Outcome::Injected { warnings, .. } = pod.inject_into(&shop()) else {
            panic!("not injected");
        };
        assert!(
            warnings.len() == 1 && warnings[0].contains("SYS_PTRACE"),
            "{warnings:?}"
        );
    }
    bare().container(traced()).injected();
    pod().spec("hostIPC", json!(true)).injected();
}
