use serde_json::json;
use smilax_core::convention::key;

use super::super::fixture::{Pod, container, pod, settings, shop};
use super::*;

fn deployment(pod: &Pod) -> Value {
    json!({
        "kind": "Deployment",
        "spec": {"template": {"metadata": pod.0["metadata"], "spec": pod.0["spec"]}},
    })
}

fn findings(raw: &Value) -> Findings {
    validate_workload(raw, None, &shop(), &settings())
}

#[test]
fn a_sound_workload_has_no_findings() {
    assert_eq!(findings(&deployment(&pod())), Findings::default());
}

#[test]
fn a_bad_value_is_refused_with_the_place_of_the_template() {
    let found = findings(&deployment(&pod().annotation(key::SKIP_INBOUND_PORTS, "web")));
    assert_eq!(
        found.errors,
        [
            r#"spec.template: smilax.dev/skip-inbound-ports: "web" is neither a port from 1 to 65535 nor a range such as 9000-9010"#
        ]
    );
}

#[test]
fn a_word_that_is_neither_yes_nor_no_is_refused() {
    let found = findings(&deployment(&pod().label(key::INJECT, "yes")));
    assert_eq!(
        found.errors,
        [r#"spec.template: label smilax.dev/inject: "yes" has no effect: write enabled or disabled"#]
    );
}

#[test]
fn the_template_of_every_kind_is_found() {
    let bad = pod().annotation(key::DRAIN_SECONDS, "x");
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"] {
        let mut workload = deployment(&bad);
        workload["kind"] = json!(kind);
        assert_eq!(findings(&workload).errors.len(), 1, "{kind}");
    }
    let job = deployment(&bad)["spec"].clone();
    let cron_job = json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": job}}});
    assert!(findings(&cron_job).errors[0].starts_with("spec.jobTemplate.spec.template: "));
    let other = json!({"kind": "PodTemplate", "spec": deployment(&bad)["spec"]});
    assert_eq!(findings(&other), Findings::default());
}

#[test]
fn what_will_keep_the_pods_from_being_created_is_warned_of() {
    let found = findings(&deployment(&pod().container(container("smilax-proxy"))));
    assert!(found.errors.is_empty());
    assert!(found.warnings[0].contains("pods will be refused"), "{found:?}");
    let out = pod()
        .container(container("smilax-proxy"))
        .label(key::INJECT, "disabled");
    assert_eq!(findings(&deployment(&out)), Findings::default());
}

#[test]
fn an_error_that_was_there_before_does_not_block_other_changes() {
    let bad = deployment(&pod().annotation(key::DRAIN_SECONDS, "x"));
    let found = validate_workload(&bad, Some(&bad), &shop(), &settings());
    assert!(found.errors.is_empty() && found.warnings.len() == 1, "{found:?}");
    let good = deployment(&pod());
    let found = validate_workload(&bad, Some(&good), &shop(), &settings());
    assert_eq!(found.errors.len(), 1);
}

#[test]
fn a_bad_value_of_the_namespace_does_not_refuse_its_workloads() {
    let namespace = shop().annotation(key::DRAIN_SECONDS, "x");
    let found = validate_workload(&deployment(&pod()), None, &namespace, &settings());
    assert!(found.errors.is_empty() && found.warnings.len() == 1, "{found:?}");
}

#[test]
fn e7_what_would_get_around_an_enforced_namespace_is_refused_on_the_workload() {
    let strict = shop().annotation(key::TLS_MODE, "strict");
    for pod in [
        pod().annotation(key::SKIP_INBOUND_PORTS, "8080"),
        pod().label(key::INJECT, "disabled"),
        pod().annotation(key::TLS_MODE, "permissive"),
    ] {
        let found =
            |namespace: &NamespaceView| validate_workload(&deployment(&pod), None, namespace, &settings());
        assert_eq!(found(&strict).errors.len(), 1, "{:?}", found(&strict));
        let relaxed = strict.clone().annotation(key::ALLOW_RELAX, "true");
        assert_eq!(found(&relaxed).errors, Vec::<String>::new());
    }
}
