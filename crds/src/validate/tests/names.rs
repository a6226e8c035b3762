//! Names that Kubernetes takes and refuses, by kind (`pkg/apis/core/validation` of Kubernetes 1.34).

use super::*;

fn target(kind: &str, name: &str) -> Value {
    object(
        "access.smi-spec.io/v1alpha4",
        "TrafficTarget",
        &json!({"spec": {
            "destination": {"kind": "ServiceAccount", "name": name},
            "sources": [{"kind": kind, "name": name, "namespace": "shop"}],
            "rules": [{"kind": "HTTPRouteGroup", "name": name}],
        }}),
    )
}

fn binding(name: &str) -> Value {
    object(
        "access.smi-spec.io/v1alpha4",
        "IdentityBinding",
        &json!({"spec": {"schemes": {"serviceAccount": name}}}),
    )
}

fn split(route: &str) -> Value {
    object(
        "split.smi-spec.io/v1alpha4",
        "TrafficSplit",
        &json!({"spec": {
            "service": "web",
            "backends": [{"service": "web-v1", "weight": 1}],
            "matches": [{"kind": "HTTPRouteGroup", "name": route}],
        }}),
    )
}

#[test]
fn names_of_accounts_and_routes_have_up_to_253_characters_with_or_without_a_dot() {
    let longest = "a".repeat(253);
    let dotted = format!("{}.{}", "a".repeat(100), "b".repeat(152));
    for name in ["a", "0", &"a".repeat(64), &"a".repeat(100), &longest, &dotted] {
        for object in [
            target("ServiceAccount", name),
            target("IdentityBinding", name),
            binding(name),
            split(name),
        ] {
            let found = validate(&object);
            assert_eq!(found.message(), "", "{name}");
        }
    }
}

#[test]
fn names_that_kubernetes_refuses_are_refused() {
    let too_long = "a".repeat(254);
    for name in [
        &*too_long, "a..b", ".a", "a.", "-a", "a-", "a.-b", "A", "a_b", "a b",
    ] {
        assert_eq!(
            validate(&target("ServiceAccount", name)).errors.len(),
            3,
            "{name}"
        );
        assert_eq!(validate(&binding(name)).errors.len(), 1, "{name}");
        assert_eq!(validate(&split(name)).errors.len(), 1, "{name}");
    }
}

#[test]
fn a_trust_domain_is_what_spiffe_allows_and_a_cluster_domain_what_dns_allows() {
    let mesh = |field: &str, domain: &str| {
        let spec = json!({"metadata": {"name": crate::mesh::NAME}, "spec": {field: domain}});
        object("mesh.smilax.dev/v1alpha1", "MeshConfig", &spec)
    };
    let long = "a".repeat(255);
    for domain in ["corp_1.example", &long] {
        assert_eq!(validate(&mesh("trustDomain", domain)).message(), "", "{domain}");
        assert_eq!(
            validate(&mesh("clusterDomain", domain)).errors.len(),
            1,
            "{domain}"
        );
    }
    assert_eq!(validate(&mesh("trustDomain", "Corp")).errors.len(), 1);
}
