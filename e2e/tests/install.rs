//! What an installation consists of, as its users see it.

use serde_json::Value;
use smilax_e2e::Mesh;
use smilax_e2e::namespace::{Inject, Namespace, must};
use smilax_e2e::wait::{Progress, wait_until};

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

/// Whether a user may do this in the namespace, as the API server decides.
fn may(namespace: &Namespace, user: &str, verb: &str, resource: &str) -> bool {
    let user = format!("--as={user}");
    namespace
        .kubectl()
        .run(&["auth", "can-i", verb, resource, &user])
        .is_ok()
}

/// A namespace in which the users `viewer`, `editor` and `administrator` have the role that every cluster has for them.
fn with_users(mesh: &Mesh) -> Namespace {
    let namespace = Namespace::fresh(mesh, "roles", Inject::NotAsked);
    for (user, role) in [("viewer", "view"), ("editor", "edit"), ("administrator", "admin")] {
        let (role, of) = (format!("--clusterrole={role}"), format!("--user={user}"));
        must(
            namespace
                .kubectl()
                .run(&["create", "rolebinding", user, &role, &of]),
        );
        // The API server learns of a RoleBinding a moment later.
        wait_until(&format!("{user} may list pods"), || {
            if may(&namespace, user, "list", "pods") {
                Progress::Done(())
            } else {
                Progress::Pending("not yet".to_owned())
            }
        });
    }
    namespace
}

#[test]
fn whoever_may_view_a_namespace_reads_its_smi_objects_and_does_not_write_them() {
    let namespace = with_users(&Mesh::connect());
    for (kind, _, _) in KINDS {
        for verb in ["get", "list", "watch"] {
            assert!(may(&namespace, "viewer", verb, kind), "{verb} {kind}");
        }
        for verb in ["create", "update", "patch", "delete"] {
            assert!(!may(&namespace, "viewer", verb, kind), "{verb} {kind}");
        }
    }
}

#[test]
fn whoever_may_edit_a_namespace_writes_its_smi_objects_but_not_their_status() {
    let namespace = with_users(&Mesh::connect());
    for user in ["editor", "administrator"] {
        for (kind, _, _) in KINDS {
            for verb in ["get", "list", "watch", "create", "update", "patch", "delete"] {
                assert!(may(&namespace, user, verb, kind), "{user}: {verb} {kind}");
            }
            let of_user = format!("--as={user}");
            let status = ["auth", "can-i", "update", kind, "--subresource=status", &of_user];
            assert!(
                namespace.kubectl().run(&status).is_err(),
                "{user}: status of {kind}"
            );
        }
    }
}

#[test]
fn the_default_mesh_config_shows_that_it_is_accepted_and_who_signs() {
    let mesh = Mesh::connect();
    wait_until("the MeshConfig default is accepted", || {
        let table = must(
            mesh.kubectl()
                .run(&["get", "meshconfigs.mesh.smilax.dev", "default"]),
        );
        let mut lines = table.lines();
        let (header, row) = (lines.next().unwrap(), lines.next().unwrap());
        // Other columns may be empty, so that only the place of the column says which one a word is in.
        let at = header.find("ACCEPTED").unwrap();
        if row.get(at..).is_some_and(|rest| rest.starts_with("True")) {
            Progress::Done(())
        } else {
            Progress::Pending(table)
        }
    });
    let object = must(mesh.kubectl().get(&["meshconfigs.mesh.smilax.dev", "default"]));
    let conditions = object["status"]["conditions"].as_array().unwrap();
    let authority = conditions.iter().find(|one| one["type"] == "AuthorityReady");
    assert_eq!(authority.unwrap()["status"], "True", "{object}");
}
