use serde_json::{Value, json};

use super::*;

/// What is wrong with an object with these annotations.
fn annotated(kind: &str, annotations: &[(&str, &str)]) -> Vec<String> {
    told(kind, &json!({"metadata": {"annotations": map(annotations)}}))
}

fn labelled(kind: &str, labels: &[(&str, &str)]) -> Vec<String> {
    told(kind, &json!({"metadata": {"labels": map(labels)}}))
}

fn told(kind: &str, object: &Value) -> Vec<String> {
    told_in(Membership::Apart, kind, object)
}

fn told_in(namespace: Membership, kind: &str, object: &Value) -> Vec<String> {
    let findings = judge(kind, object, namespace);
    findings.iter().map(ToString::to_string).collect()
}

fn map(pairs: &[(&str, &str)]) -> Value {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

#[test]
fn a_mistyped_key_is_answered_with_the_nearest() {
    assert_eq!(
        annotated("Namespace", &[("smilax.dev/acces-mode", "deny")]),
        [
            "metadata.annotations[smilax.dev/acces-mode]: unknown key without effect; did you mean smilax.dev/access-mode?"
        ]
    );
    assert_eq!(
        annotated("Service", &[("smilax.dev/colour", "red")]),
        ["metadata.annotations[smilax.dev/colour]: unknown key without effect; remove it"]
    );
    assert_eq!(
        labelled("Namespace", &[("smilax.io/inject", "enabled")]),
        ["metadata.labels[smilax.io/inject]: unknown key without effect; did you mean smilax.dev/inject?"]
    );
}

#[test]
fn keys_of_others_are_none_of_our_business() {
    let others = [("example.com/inject", "x"), ("smilax-team", "x"), ("app", "web")];
    assert_eq!(annotated("Namespace", &others), [""; 0]);
    assert_eq!(labelled("Pod", &others), [""; 0]);
}

#[test]
fn a_wrong_value_is_answered_with_the_right_ones() {
    for (kind, key, value, expected) in [
        ("Namespace", key::ACCESS_MODE, "Deny", "deny, allow or audit"),
        ("Namespace", key::TLS_MODE, "mutual", "strict or permissive"),
        ("Namespace", key::ALLOW_RELAX, "yes", "neither true nor false"),
        ("ServiceAccount", key::DESTINATIONS, "web", "namespace/service"),
        ("Service", key::OPAQUE_PORTS, "mysql", "neither a port"),
        ("Pod", key::DRAIN_SECONDS, "1m", "0 to 3600"),
        ("Pod", key::TLS_PORT_MODES, "8080", "port=mode"),
        ("Pod", key::CPU_LIMIT, "lots", "not a quantity"),
        ("Pod", key::MEMORY_LIMIT, "256", "write a unit, such as 64Mi"),
        (
            "Namespace",
            key::MEMORY_REQUEST,
            "256m",
            "write a unit, such as 64Mi",
        ),
        ("Pod", key::LOG_LEVEL, "lots", "lots"),
    ] {
        let told = annotated(kind, &[(key, value)]);
        assert!(
            told.len() == 1 && told[0].contains(expected),
            "{key}: {value}: {told:?}"
        );
    }
    assert_eq!(
        labelled("Namespace", &[(key::INJECT, "true")]),
        [r#"metadata.labels[smilax.dev/inject]: "true" has no effect: write enabled or disabled"#]
    );
    assert_eq!(labelled("Pod", &[(key::INJECT, "true")]).len(), 1);
}

#[test]
fn an_annotation_where_a_label_belongs_has_no_effect_and_neither_has_the_reverse() {
    assert_eq!(
        annotated("Namespace", &[(key::INJECT, "enabled")]),
        ["metadata.annotations[smilax.dev/inject]: no effect here; write it as a label"]
    );
    assert_eq!(
        labelled("Namespace", &[(key::ACCESS_MODE, "deny")]),
        ["metadata.labels[smilax.dev/access-mode]: no effect here; write it as an annotation"]
    );
}

#[test]
fn a_key_on_the_wrong_kind_of_object_says_where_it_belongs() {
    assert_eq!(
        annotated("Service", &[(key::DESTINATIONS, "billing/*")]),
        [
            "metadata.annotations[smilax.dev/destinations]: no effect on a Service; write it as an annotation of the \
             ServiceAccount or the Namespace"
        ]
    );
    assert_eq!(
        labelled("Deployment", &[(key::INJECT, "enabled")]),
        [
            "metadata.labels[smilax.dev/inject]: no effect on a Deployment; write it as spec.template.metadata.labels"
        ]
    );
}

#[test]
fn the_pod_template_of_every_workload_is_judged() {
    let template = json!({"metadata": {"annotations": {"smilax.dev/log-levle": "debug"}}});
    for kind in ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"] {
        let told = told(kind, &json!({"spec": {"template": template}}));
        assert!(
            told[0].starts_with("spec.template.metadata.annotations["),
            "{told:?}"
        );
    }
    let job = json!({"spec": {"jobTemplate": {"spec": {"template": template}}}});
    assert!(told("CronJob", &job)[0].starts_with("spec.jobTemplate.spec.template."));
}

#[test]
fn an_annotation_asks_for_a_sidecar_only_where_the_namespace_has_joined() {
    let pod = json!({"metadata": {"annotations": {key::INJECT: "enabled"}}});
    assert_eq!(told_in(Membership::Joined, "Pod", &pod), [""; 0]);
    assert!(told_in(Membership::Apart, "Pod", &pod)[0].ends_with("write it as a label"));
    let out = json!({"metadata": {"annotations": {key::INJECT: "disabled"}}});
    assert_eq!(told_in(Membership::Apart, "Pod", &out), [""; 0]);
}

#[test]
fn keys_of_other_meshes_are_answered_where_they_have_no_effect() {
    let inject = "the label smilax.dev/inject does the same";
    let port = "the name or the appProtocol of a Service port says what it speaks";
    for (foreign, advice) in [
        ("linkerd.io/inject", inject),
        (
            "config.linkerd.io/opaque-ports",
            "the annotation smilax.dev/opaque-ports does the same",
        ),
        (
            "config.linkerd.io/default-inbound-policy",
            "the annotations smilax.dev/access-mode and smilax.dev/tls-mode decide who may call",
        ),
        ("openservicemesh.io/sidecar-injection", inject),
        ("sidecar.istio.io/inject", inject),
        ("mesh.traefik.io/traffic-type", port),
        ("maesh.containo.us/traffic-type", port),
        ("appmesh.k8s.aws/mesh", inject),
    ] {
        let pod = json!({"metadata": {"annotations": {foreign: "x"}}});
        assert_eq!(told_in(Membership::Apart, "Pod", &pod), [""; 0], "{foreign}");
        let told = told_in(Membership::Joined, "Pod", &pod);
        assert!(told.len() == 1 && told[0].ends_with(advice), "{told:?}");
        // Beside one of ours it is a mistake wherever it stands.
        let both = json!({"metadata": {"annotations": {foreign: "x", key::LOG_LEVEL: "info"}}});
        assert_eq!(told_in(Membership::Apart, "Pod", &both).len(), 1, "{foreign}");
    }
    let other = json!({"metadata": {"annotations": {"config.linkerd.io/proxy-version": "x"}}});
    assert!(told_in(Membership::Joined, "Pod", &other)[0].ends_with("remove it"));
}

#[test]
fn a_namespace_joins_by_its_label() {
    assert_eq!(Membership::labelled(Some("enabled")), Membership::Joined);
    assert_eq!(Membership::labelled(Some("true")), Membership::Apart);
    assert_eq!(Membership::labelled(None), Membership::Apart);
}

#[test]
fn what_injection_writes_is_no_mistake_on_a_pod() {
    let pod = json!({"metadata": {
        "labels": {key::INJECT: "enabled", key::PROXY_VERSION: "0.1.0"},
        "annotations": {key::INJECT_STATUS: "injected", key::INBOUND_UDP: "open"},
    }});
    assert_eq!(told("Pod", &pod), [""; 0]);
}

#[test]
fn every_key_is_documented_in_full() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/injection.md")).unwrap();
    for key in KEYS.iter().filter(|key| key.name != key::ROTATE) {
        assert!(
            page.contains(&format!("`{}", key.name)),
            "{} is missing",
            key.name
        );
    }
}

#[test]
fn what_is_proposed_instead_of_a_foreign_key_is_right_where_it_is_written() {
    for one in foreign::all_of_them() {
        let (name, form) = match one {
            Instead::Label(name) => (name, Form::Label),
            Instead::Annotation(name) => (name, Form::Annotation),
            Instead::Otherwise(_) | Instead::Nothing => continue,
        };
        let places = Key::named(name).unwrap().places(form);
        assert!(
            places.contains(&Place::Pod) && places.contains(&Place::Namespace),
            "{name}"
        );
    }
}
