use std::collections::BTreeMap;

use serde_json::json;

use super::super::Outcome;
use super::super::fixture::{Pod, bare, container, pod, settings, shop};
use super::super::validate::validate_workload;
use super::*;

fn amounts(list: &[(&str, &str)]) -> BTreeMap<String, String> {
    let entry = |&(resource, amount): &(&str, &str)| (resource.to_owned(), amount.to_owned());
    list.iter().map(entry).collect()
}

fn limited(scope: LimitScope, violation: Violation, list: &[(&str, &str)]) -> NamespaceView {
    let mut limit = LimitView {
        scope,
        min: BTreeMap::new(),
        max: BTreeMap::new(),
        max_limit_request_ratio: BTreeMap::new(),
    };
    match violation {
        Violation::Min => limit.min = amounts(list),
        Violation::Max => limit.max = amounts(list),
        Violation::Ratio => limit.max_limit_request_ratio = amounts(list),
    }
    let mut namespace = shop();
    namespace.limit_ranges = vec![LimitRangeView {
        name: "small".to_owned(),
        limits: vec![limit],
    }];
    namespace
}

#[track_caller]
fn refused(pod: &Pod, namespace: &NamespaceView) -> String {
    match pod.inject_into(namespace) {
        Outcome::Refused { message } => message,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn injected(pod: &Pod, namespace: &NamespaceView) {
    let outcome = pod.inject_into(namespace);
    assert!(matches!(outcome, Outcome::Injected { .. }), "{outcome:?}");
}

// The sidecar of the fixture requests 50m and 32Mi, with limits of 1 and 128Mi.

#[test]
fn a_limit_range_that_the_sidecar_does_not_fit_into_is_named_with_container_and_annotation() {
    let cases = [
        (
            Violation::Max,
            [("cpu", "500m")],
            "has a limit of 1",
            "lower smilax.dev/proxy-cpu-limit",
        ),
        (
            Violation::Max,
            [("memory", "64Mi")],
            "has a limit of 128Mi",
            "lower smilax.dev/proxy-memory-limit",
        ),
        (
            Violation::Min,
            [("cpu", "0.1")],
            "requests 50m",
            "raise smilax.dev/proxy-cpu-request",
        ),
        (
            Violation::Min,
            [("memory", "64Mi")],
            "requests 32Mi",
            "raise smilax.dev/proxy-memory-request",
        ),
        (
            Violation::Ratio,
            [("cpu", "10")],
            "requests 50m with a limit of 1",
            "raise smilax.dev/proxy-cpu-request or lower smilax.dev/proxy-cpu-limit",
        ),
    ];
    for (violation, bound, has, change) in cases {
        let message = refused(&pod(), &limited(LimitScope::Container, violation, &bound));
        for part in [
            "LimitRange \"small\"",
            "namespace shop",
            "container \"smilax-proxy\"",
            bound[0].1,
            has,
            change,
        ] {
            assert!(message.contains(part), "{part}: {message}");
        }
    }
}

#[test]
fn a_limit_range_that_the_sidecar_fits_into_refuses_nothing() {
    for (violation, bounds) in [
        (Violation::Max, [("cpu", "1000m"), ("memory", "128Mi")]),
        (Violation::Min, [("cpu", "0.05"), ("memory", "32Mi")]),
        (Violation::Ratio, [("cpu", "20"), ("memory", "4")]),
        (Violation::Min, [("ephemeral-storage", "1Gi"), ("cpu", "0")]),
    ] {
        injected(&pod(), &limited(LimitScope::Container, violation, &bounds));
    }
}

#[test]
fn the_annotation_that_the_message_names_lets_the_pod_in() {
    let limited = limited(LimitScope::Container, Violation::Max, &[("cpu", "500m")]);
    injected(&pod().annotation(key::CPU_LIMIT, "500m"), &limited);
    injected(&pod(), &limited.annotation(key::CPU_LIMIT, "500m"));
}

#[test]
fn in_a_guaranteed_pod_both_annotations_are_named() {
    let guaranteed = bare().container(container("web").resources("1", "1Gi"));
    let limited = limited(LimitScope::Container, Violation::Min, &[("memory", "256Mi")]);
    let message = refused(&guaranteed, &limited);
    let change = "raise smilax.dev/proxy-memory-request and smilax.dev/proxy-memory-limit";
    assert!(message.contains(change), "{message}");
    injected(&guaranteed.annotation(key::MEMORY_LIMIT, "256Mi"), &limited);
}

#[test]
fn a_pod_that_is_too_large_only_with_its_sidecar_is_refused() {
    let web = bare().container(container("web").resources("1", "100Mi"));
    let limited = limited(LimitScope::Pod, Violation::Max, &[("memory", "200Mi")]);
    let message = refused(&web, &limited);
    assert!(message.contains("all containers of a pod together"), "{message}");
    injected(&web.annotation(key::MEMORY_LIMIT, "100Mi"), &limited);
    let by_itself = bare().container(container("web").resources("1", "300Mi"));
    injected(&by_itself, &limited);
}

#[test]
fn a_pod_with_resources_of_its_own_is_left_to_the_api_server() {
    let limited = limited(LimitScope::Container, Violation::Max, &[("cpu", "1m")]);
    injected(
        &pod().spec("resources", json!({"limits": {"cpu": "1"}})),
        &limited,
    );
}

#[test]
fn a_workload_is_warned_of_when_it_is_applied() {
    let limited = limited(LimitScope::Container, Violation::Max, &[("cpu", "500m")]);
    let pod = pod().0;
    let deployment = json!({
        "kind": "Deployment",
        "spec": {"template": {"metadata": pod["metadata"], "spec": pod["spec"]}},
    });
    let found = validate_workload(&deployment, None, &limited, &settings());
    assert_eq!(found.errors, Vec::<String>::new());
    assert!(
        found.warnings[0].contains("pods will be refused: LimitRange \"small\""),
        "{found:?}"
    );
}
