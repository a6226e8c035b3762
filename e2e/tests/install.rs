//! What an installation consists of, as its users see it.

use serde_json::Value;
use smilax_e2e::Mesh;
use smilax_e2e::namespace::must;

const KINDS: [(&str, &str, &[&str]); 6] = [
    (
        "trafficsplits.split.smi-spec.io",
        "ts",
        &["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"],
    ),
    (
        "traffictargets.access.smi-spec.io",
        "tt",
        &["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"],
    ),
    ("identitybindings.access.smi-spec.io", "ib", &["v1alpha4"]),
    (
        "httproutegroups.specs.smi-spec.io",
        "htr",
        &["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"],
    ),
    (
        "tcproutes.specs.smi-spec.io",
        "tr",
        &["v1alpha1", "v1alpha2", "v1alpha3", "v1alpha4"],
    ),
    ("udproutes.specs.smi-spec.io", "ur", &["v1alpha4"]),
];

#[test]
fn every_kind_of_smi_is_served_in_every_version_and_stored_in_the_newest() {
    let mesh = Mesh::connect();
    for (name, short, versions) in KINDS {
        let definition = must(mesh.kubectl().get(&["customresourcedefinition", name]));
        assert_eq!(
            definition["status"]["acceptedNames"]["shortNames"],
            serde_json::json!([short]),
            "{name}"
        );
        let served: Vec<&Value> = definition["spec"]["versions"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|version| version["served"] == true)
            .collect();
        let names: Vec<&str> = served
            .iter()
            .map(|version| version["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, versions, "{name}");
        for version in served {
            assert_eq!(version["storage"], version["name"] == "v1alpha4", "{name}");
            assert!(version["subresources"]["status"].is_object(), "{name}");
        }
    }
}

#[test]
fn one_word_lists_all_of_smi() {
    let mesh = Mesh::connect();
    let kinds = must(
        mesh.kubectl()
            .run(&["api-resources", "--categories=smi", "--output=name"]),
    );
    for (name, _, _) in KINDS {
        assert!(kinds.lines().any(|line| line == name), "{name} is not in {kinds}");
    }
}

#[test]
fn the_webhooks_are_trusted_by_the_api_server() {
    let mesh = Mesh::connect();
    for reference in [
        "mutatingwebhookconfiguration/smilax-inject",
        "validatingwebhookconfiguration/smilax-validate",
    ] {
        let configuration = must(mesh.kubectl().get(&[reference]));
        for webhook in configuration["webhooks"].as_array().unwrap() {
            let bundle = webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default();
            assert!(!bundle.is_empty(), "{reference} {}", webhook["name"]);
        }
    }
    let definition = must(mesh.kubectl().get(&["customresourcedefinition", KINDS[0].0]));
    let conversion = &definition["spec"]["conversion"];
    assert_eq!(conversion["strategy"], "Webhook");
    assert!(conversion["webhook"]["clientConfig"]["caBundle"].is_string());
}

#[test]
fn the_operator_runs_twice_under_the_restricted_standard() {
    let mesh = Mesh::connect();
    let operator = mesh.deployment().unwrap();
    assert_eq!(operator["spec"]["replicas"], 2);
    let pod = &operator["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    for container in pod["containers"].as_array().unwrap() {
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
        assert!(container["resources"]["requests"]["memory"].is_string());
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
}

#[test]
fn exactly_one_replica_leads() {
    let mesh = Mesh::connect();
    let leader = mesh.leader();
    let pods = must(
        mesh.operator()
            .list(&["pods", "--selector=app.kubernetes.io/name=smilax-operator"]),
    );
    let named = pods
        .iter()
        .filter(|pod| leader.contains(pod["metadata"]["name"].as_str().unwrap()))
        .count();
    assert_eq!(named, 1, "the lease is held by {leader}");
}

#[test]
fn the_operators_rights_are_its_own_and_few() {
    let mesh = Mesh::connect();
    let account = format!("system:serviceaccount:{}:smilax-operator", mesh.namespace());
    let may = |verb: &str, resource: &str| {
        mesh.kubectl()
            .run(&[
                "auth",
                "can-i",
                verb,
                resource,
                "--all-namespaces",
                &format!("--as={account}"),
            ])
            .is_ok()
    };
    assert!(may("list", "services"));
    for (verb, resource) in [
        ("list", "secrets"),
        ("create", "pods"),
        ("delete", "namespaces"),
        ("create", "clusterrolebindings"),
        ("delete", "trafficsplits.split.smi-spec.io"),
        ("*", "*"),
    ] {
        assert!(!may(verb, resource), "the operator may {verb} {resource}");
    }
}
