//! The mesh keeps what it wrote in order, and leaves alone what is in order.

use std::time::Duration;

use serde_json::json;
use smilax_core::config::Destination;
use smilax_e2e::namespace::must;
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::wait::stays;
use smilax_e2e::{
    Inject, Load, Match, Namespace, Object, Progress, RouteGroup, Service, Shared, TrafficSplit, Web,
    Workload, assert_share, wait_until,
};

static WEB: Shared = Shared::new("life");

fn policy_map() -> Object {
    Object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "smilax-client"}}))
}

/// What the policy says of a Service. Other tests change the rest of it.
fn policy_of(web: &Web, service: &str) -> Option<Destination> {
    let config = web.namespace.policy("client").ok()?;
    config
        .destinations
        .into_iter()
        .find(|one| &*one.name.name == service)
}

#[test]
fn a_configuration_that_was_edited_by_hand_is_put_right() {
    let web = WEB.hold();
    web.root("edited");
    web.enforce(TrafficSplit::of("edited").backend("web-v2", 1));
    let before = policy_of(&web, "edited");
    assert!(before.is_some());
    let revision = web.namespace.policy("client").unwrap().revision;
    let kubectl = web.namespace.kubectl();
    let patch = json!({"data": {"policy.json": "{\"garbage\":true}", "other": "mine"}}).to_string();
    must(kubectl.run(&[
        "patch",
        "configmap",
        "smilax-client",
        "--type=merge",
        "--patch",
        &patch,
    ]));
    wait_until(
        "the configuration is as it was, under a later revision",
        || match web.namespace.policy("client") {
            Ok(config) => Progress::when(
                config.revision > revision && policy_of(&web, "edited") == before,
                (),
                || format!("{config:?}"),
            ),
            Err(error) => Progress::Pending(error),
        },
    );
    wait_until("the foreign key is gone", || {
        let map = web.namespace.read(&policy_map());
        Progress::when(map["data"]["other"].is_null(), (), || map["data"].to_string())
    });
    let report = web.client.load(Load::http("edited").requests(100));
    assert_no_failures(&report);
    assert_share(&report, "web-v2", 1.0);
}

#[test]
fn f15_a_configuration_that_is_too_long_for_a_configmap_is_compressed_and_enforced() {
    let web = WEB.hold();
    let namespace = Namespace::fresh(&web.mesh, "large", Inject::Enabled);
    namespace.apply(Service::named("web-v1"));
    namespace.apply(Workload::deployment("web-v1"));
    // Nobody is behind the root, so an answer comes from the backend.
    namespace.apply(Service::named("large").selecting("nobody"));
    let client = namespace.client("client");
    namespace.ready(&["deployment/web-v1"]);
    client.reaches("http://web-v1/");
    let groups: Vec<String> = (0..22).map(|index| format!("group-{index}")).collect();
    for group in &groups {
        let matches = (0..128).map(|index| {
            let name = format!("{group}-{index}-{}", "n".repeat(200));
            Match::named(&name).methods(&["POST"])
        });
        namespace.apply(matches.fold(RouteGroup::named(group), RouteGroup::or));
    }
    let keys = || {
        let map = namespace.read(&Object(
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "smilax-client"}}),
        ));
        let keys = |field: &str| -> Vec<String> {
            map[field]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(key, _)| key.clone())
                .collect()
        };
        (keys("data"), keys("binaryData"))
    };
    let split = TrafficSplit::of("large").backend("web-v1", 1);
    let split = namespace.apply(groups.iter().fold(split, |split, group| split.matching(group)));
    client.enforces_split(&split);
    let [policy, packed, signature, bundle] = [
        "policy.json",
        "policy.json.gz",
        "signature.json",
        "trust-bundle.json",
    ]
    .map(str::to_owned);
    assert_eq!(keys(), (vec![signature.clone(), bundle.clone()], vec![packed]));
    let report = client.load(Load::http("large").method("POST").requests(100));
    assert_no_failures(&report);
    namespace.delete(&split);
    client.forgot_split("large");
    assert_eq!(keys(), (vec![policy, signature, bundle], vec![]));
}

#[test]
fn a_configuration_that_was_deleted_is_written_again() {
    let web = WEB.hold();
    let kubectl = web.namespace.kubectl();
    must(kubectl.run(&["delete", "configmap", "smilax-web-account", "--ignore-not-found"]));
    web.namespace.account("web-account");
    let map =
        Object(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "smilax-web-account"}}));
    let uid = |known: Option<&str>| {
        wait_until("the account has a configuration of its own", || {
            match kubectl.get(&[&map.reference()]) {
                Ok(stored) => {
                    let uid = stored["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                    Progress::when(Some(uid.as_str()) != known, uid.clone(), || uid.clone())
                }
                Err(error) => Progress::Pending(error.to_string()),
            }
        })
    };
    let first = uid(None);
    web.namespace.delete(&map);
    assert_ne!(uid(Some(&first)), first);
}

#[test]
fn objects_that_say_the_same_again_cause_no_write() {
    let web = WEB.hold();
    // Of web-v2, whose pods no other test takes away: a backend that loses its last ready pod is a change of status.
    web.root("calm");
    let split = web.enforce(TrafficSplit::of("calm").named("calm-split").backend("web-v2", 1));
    web.namespace
        .await_condition(&split, "Programmed", "True", "Programmed");
    // Other tests' pods come and go, and how many there are is no news of this split.
    let without_count = || {
        let mut split = web.namespace.read(&split);
        split["metadata"] = split["metadata"]["generation"].clone();
        for condition in split["status"]["conditions"].as_array_mut().into_iter().flatten() {
            if condition["type"] == "Programmed" {
                condition["message"] = serde_json::Value::Null;
            }
        }
        split
    };
    let stored = without_count();
    let before = policy_of(&web, "calm");
    web.namespace
        .apply(TrafficSplit::of("calm").named("calm-split").backend("web-v2", 1));
    stays(Duration::from_secs(3), "the split is not written", || {
        let now = without_count();
        let same = now == stored && policy_of(&web, "calm") == before;
        Progress::when(same, (), || now.to_string())
    });
}

#[test]
fn pods_that_come_and_go_do_not_change_the_configuration() {
    let web = WEB.hold();
    web.root("churn");
    web.enforce(TrafficSplit::of("churn").backend("web-v1", 1));
    let before = policy_of(&web, "churn");
    let kubectl = web.namespace.kubectl();
    let pod = web.namespace.pod("web-v1");
    let name = pod["metadata"]["name"].as_str().unwrap();
    must(kubectl.run(&["delete", "pod", name, "--timeout=60s"]));
    web.namespace.ready(&["deployment/web-v1"]);
    assert_eq!(policy_of(&web, "churn"), before);
    web.client.reaches("http://web-v1/");
}

#[test]
fn a_namespace_in_the_mesh_is_deleted_without_remains() {
    let web = WEB.hold();
    let namespace = Namespace::fresh(&web.mesh, "leaving", Inject::Enabled);
    namespace.apply(Service::named("web"));
    namespace.apply(TrafficSplit::of("web").backend("web-v1", 1));
    namespace.client("client");
    let kubectl = web.mesh.kubectl();
    must(kubectl.run(&["delete", "namespace", namespace.name(), "--timeout=90s"]));
    let gone = kubectl.get(&["namespace", namespace.name()]);
    assert!(gone.is_err_and(|error| error.is_not_found()));
}

#[test]
fn a_namespace_that_joins_later_gets_its_configuration_at_once() {
    let web = WEB.hold();
    let namespace = Namespace::fresh(&web.mesh, "joining", Inject::NotAsked);
    assert!(namespace.policy("default").is_err());
    let label = [
        "label",
        "namespace",
        namespace.name(),
        "smilax.dev/inject=enabled",
    ];
    must(web.mesh.kubectl().run(&label));
    wait_until("the default account has a configuration", || {
        match namespace.policy("default") {
            Ok(_) => Progress::Done(()),
            Err(error) => Progress::Pending(error),
        }
    });
}
