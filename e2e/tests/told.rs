//! Mistakes are told where they are made: at apply, and on the object, each on its own.

use serde_json::{Value, json};
use smilax_e2e::namespace::{Inject, must};
use smilax_e2e::objects::Object;
use smilax_e2e::{Mesh, Namespace, Progress, Service, TrafficSplit, TrafficTarget, wait_until};

/// What the API server warns of when an object is applied, without storing it.
#[track_caller]
fn warned(namespace: &Namespace, object: &Value) -> String {
    let apply = ["apply", "--filename=-", "--dry-run=server"];
    must(namespace.kubectl().warnings(&apply, object))
}

/// Waits until applying an object is warned of with these words.
#[track_caller]
fn await_warning(namespace: &Namespace, object: &Value, words: &str) {
    wait_until(&format!("a warning says {words:?}"), || {
        let warnings = warned(namespace, object);
        Progress::when(warnings.contains(words), (), || warnings.clone())
    });
}

fn keyed(kind: &str, name: &str, annotation: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": kind,
        "metadata": {"name": name, "annotations": {annotation: "deny"}},
    })
}

#[test]
fn a_second_mistake_on_the_same_object_is_told_beside_the_first() {
    let mesh = Mesh::connect();
    let namespace = Namespace::fresh(&mesh, "told", Inject::Enabled);
    namespace.apply(Service::named("web"));
    let apply = |backend: &str| {
        let split = namespace.apply(TrafficSplit::of("web").backend("web", 1).backend(backend, 1));
        wait_until(&format!("an Event says that {backend} does not exist"), || {
            let events = namespace.events(&split);
            let told = events.iter().any(|event| event.message.contains(backend));
            Progress::when(told, (), || format!("{events:?}"))
        });
        split
    };
    apply("web-v3");
    let split = apply("web-v4");
    let described = must(namespace.kubectl().run(&["describe", &split.reference()]));
    let events = described.split_once("Events:").map_or("", |(_, events)| events);
    assert!(
        events.contains("web-v3") && events.contains("web-v4"),
        "{described}"
    );
}

#[test]
fn what_is_told_of_a_service_account_is_shown_by_describe() {
    let mesh = Mesh::connect();
    let namespace = Namespace::fresh(&mesh, "told", Inject::Enabled);
    let account = json!({
        "apiVersion": "v1", "kind": "ServiceAccount",
        "metadata": {"name": "web", "annotations": {"smilax.dev/destinations": "nonsense"}},
    });
    must(namespace.kubectl().feed(&["apply", "--filename=-"], &account));
    wait_until("kubectl describe shows the Event", || {
        let described = must(namespace.kubectl().run(&["describe", "serviceaccount/web"]));
        Progress::when(described.contains("nonsense\" is not of the form"), (), || {
            described.clone()
        })
    });
}

#[test]
fn a_mistyped_key_is_warned_of_in_every_namespace_and_never_refused() {
    let mesh = Mesh::connect();
    for inject in [Inject::Enabled, Inject::NotAsked] {
        let namespace = Namespace::fresh(&mesh, "keys", inject);
        for object in [
            keyed("Service", "web", "smilax.dev/acces-mode"),
            keyed("ServiceAccount", "web", "smilax.dev/acces-mode"),
            keyed("Namespace", namespace.name(), "smilax.dev/acces-mode"),
        ] {
            let mut object = object;
            if object["kind"] == "Service" {
                object["spec"] = json!({"ports": [{"port": 80}]});
            }
            await_warning(&namespace, &object, "did you mean smilax.dev/access-mode?");
        }
    }
}

#[test]
fn a_key_of_another_mesh_is_warned_of_in_namespaces_of_this_one_only() {
    let mesh = Mesh::connect();
    let account = keyed("ServiceAccount", "web", "linkerd.io/inject");
    let ours = Namespace::fresh(&mesh, "keys", Inject::Enabled);
    await_warning(&ours, &account, "smilax.dev/inject does the same");
    let other = Namespace::fresh(&mesh, "keys", Inject::NotAsked);
    let warnings = warned(&other, &account);
    assert!(!warnings.contains("linkerd"), "{warnings}");
}

#[test]
fn the_first_target_about_an_account_is_warned_of_and_so_is_a_source_that_does_not_exist() {
    let mesh = Mesh::connect();
    let namespace = Namespace::fresh(&mesh, "closing", Inject::Enabled);
    namespace.account("web");
    let target = Object::from(TrafficTarget::of("web").from("fronted").http("web"));
    await_warning(
        &namespace,
        &target.0,
        "this is the first TrafficTarget about pods of ServiceAccount web",
    );
    await_warning(&namespace, &target.0, "ServiceAccount fronted does not exist");
    namespace.apply(target.clone());
    let second = Object::from(TrafficTarget::of("web").named("second").from("web").http("web"));
    wait_until("a second target closes nothing", || {
        let warnings = warned(&namespace, &second.0);
        Progress::when(!warnings.contains("this is the first"), (), || warnings.clone())
    });
}
