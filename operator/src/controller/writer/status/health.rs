//! Objects with the statuses that the operator writes, for `hack/check-health`: it asks the health assessments of Flux and
//! Argo CD what they make of them. `UPDATE_HEALTH=1` writes them anew.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use smilax_compiler::Diagnostic;
use smilax_compiler::index::{Index, Settings};
use smilax_compiler::ingest;
use smilax_compiler::status::{Enforcement, Knowledge, Rejection, merge, statuses};

use super::*;

/// The kinds, each with a specification that is right.
fn kinds() -> [(&'static str, &'static str, Value); 6] {
    let account = |name: &str| json!({"kind": "ServiceAccount", "name": name, "namespace": "shop"});
    [
        ("split.smi-spec.io", "TrafficSplit", split("web")),
        (
            "access.smi-spec.io",
            "TrafficTarget",
            json!({
                "destination": account("web"), "sources": [account("web")],
                "rules": [{"kind": "HTTPRouteGroup", "name": "one"}],
            }),
        ),
        (
            "access.smi-spec.io",
            "IdentityBinding",
            json!({"schemes": {"serviceAccount": "web"}}),
        ),
        (
            "specs.smi-spec.io",
            "HTTPRouteGroup",
            json!({"matches": [{"name": "all", "pathRegex": "/.*"}]}),
        ),
        (
            "specs.smi-spec.io",
            "TCPRoute",
            json!({"matches": {"ports": [80]}}),
        ),
        (
            "specs.smi-spec.io",
            "UDPRoute",
            json!({"matches": {"ports": [53]}}),
        ),
    ]
}

fn split(root: &str) -> Value {
    json!({"service": root, "backends": [{"service": "web", "weight": 1}]})
}

fn object(group: &str, kind: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("{group}/v1alpha4"), "kind": kind,
        "metadata": {"name": "one", "namespace": "shop", "uid": "1", "generation": 1}, "spec": spec,
    })
}

/// What else is there.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pods {
    None,
    Uninjected,
    Injected,
}

fn world(objects: &[Value], pods: Pods) -> Index {
    let mut index = Index::new(Settings::default());
    let named = |name: &str| json!({"metadata": {"name": name, "namespace": "shop"}});
    let mut namespace = named("shop");
    namespace["metadata"]["labels"] = json!({"smilax.dev/inject": "enabled"});
    let namespace = ingest::namespace(&serde_json::from_value(namespace).unwrap());
    index.set_namespace("shop", Some(namespace));
    let account = ingest::account(&serde_json::from_value(named("web")).unwrap());
    index.set_account("shop", "web".into(), Some(account));
    let mut service = named("web");
    service["spec"] = json!({"clusterIP": "10.0.0.1", "selector": {"app": "web"}, "ports": [{"port": 80}]});
    let service = ingest::service(&serde_json::from_value(service).unwrap());
    index.set_service("shop", "web".into(), Some(service));
    if pods != Pods::None {
        let mut pod = named("web-0");
        pod["metadata"]["labels"] = json!({"app": "web"});
        pod["spec"] = json!({"serviceAccountName": "web", "containers": []});
        if pods == Pods::Injected {
            let proxy = json!({"name": "smilax-proxy", "restartPolicy": "Always", "args": ["run"]});
            pod["spec"]["initContainers"] = json!([proxy]);
        }
        let pod = ingest::pod(&serde_json::from_value(pod).unwrap());
        index.set_pod("shop", "web-0".into(), Some(pod));
    }
    let name = || "one".into();
    for object in objects {
        match object["kind"].as_str().unwrap() {
            "TrafficSplit" => index.set_split("shop", name(), Some(ingest::split(object))),
            "TrafficTarget" => index.set_target("shop", name(), Some(ingest::traffic_target(object))),
            "IdentityBinding" => index.set_binding("shop", name(), Some(ingest::identity_binding(object))),
            "HTTPRouteGroup" => index.set_group("shop", name(), Some(ingest::route_group(object))),
            "TCPRoute" => index.set_tcp_route("shop", name(), Some(ingest::port_route(object))),
            _ => index.set_udp_route("shop", name(), Some(ingest::port_route(object))),
        }
    }
    index
}

/// These objects with their statuses, once proxies have told so much.
fn written(objects: &[Value], pods: Pods, enforcement: &Enforcement) -> BTreeMap<String, Value> {
    let mut index = world(objects, pods);
    statuses(&mut index, "shop")
        .into_iter()
        .map(|mut status| {
            status.settle(enforcement, &[], Knowledge::Complete);
            let conditions = merge(&[], &status.conditions, "2026-01-01T00:00:00Z").unwrap();
            let kind = status.object.kind.to_string();
            let mut object = objects.iter().find(|one| one["kind"] == kind).unwrap().clone();
            let told = status.untold().iter().map(Diagnostic::id).collect();
            status.recall(&BTreeMap::new(), &told);
            object["status"] = content(&status, &conditions);
            (kind, object)
        })
        .collect()
}

fn enforced(enforced: usize) -> Enforcement {
    Enforcement {
        enforced,
        of: 1,
        ..Enforcement::default()
    }
}

/// Every object that is judged, by the health that it must have.
fn cases() -> BTreeMap<String, Value> {
    let right: Vec<Value> = kinds()
        .map(|(group, kind, spec)| object(group, kind, &spec))
        .into();
    let only = |spec: Value| vec![object("split.smi-spec.io", "TrafficSplit", &spec)];
    let rejected = Enforcement {
        rejections: vec![Rejection {
            pod: "shop/web-0".to_owned(),
            reason: "it is too new".to_owned(),
        }],
        ..enforced(0)
    };
    let mut cases = BTreeMap::new();
    let mut add = |health: &str, case: &str, objects: BTreeMap<String, Value>| {
        for (kind, object) in objects {
            cases.insert(format!("{health}/{case}-{}.json", kind.to_lowercase()), object);
        }
    };
    let mut programmed = written(&right, Pods::Injected, &enforced(1));
    let mut waiting = written(&right, Pods::None, &Enforcement::default());
    // Nothing carries UDP.
    programmed.remove("UDPRoute");
    let unsupported = waiting.remove("UDPRoute").unwrap();
    let mut stale = programmed.clone();
    for object in stale.values_mut() {
        object["metadata"]["generation"] = json!(2);
    }
    add("healthy", "programmed", programmed);
    add("healthy", "no-proxies", waiting);
    add("progressing", "stale", stale);
    add(
        "progressing",
        "unsupported",
        [("UDPRoute".to_owned(), unsupported)].into(),
    );
    let target_and_group = [right[1].clone(), right[3].clone()];
    add(
        "progressing",
        "not-injected",
        written(&target_and_group, Pods::Uninjected, &Enforcement::default()),
    );
    let not_injected = written(&only(split("web")), Pods::Uninjected, &Enforcement::default());
    add("progressing", "not-injected", not_injected);
    add(
        "progressing",
        "rejected",
        written(&only(split("web")), Pods::Injected, &rejected),
    );
    add(
        "progressing",
        "refused",
        written(&only(split("web.bank")), Pods::None, &Enforcement::default()),
    );
    add(
        "progressing",
        "no-root",
        written(&only(split("gone")), Pods::Injected, &enforced(1)),
    );
    let mut no_weight = split("web");
    no_weight["backends"][0]["weight"] = json!(0);
    add(
        "progressing",
        "no-weight",
        written(&only(no_weight), Pods::Injected, &Enforcement::default()),
    );
    add(
        "progressing",
        "allows-nobody",
        written(&right[1..2], Pods::Injected, &enforced(1)),
    );
    cases
}

#[test]
fn the_objects_that_are_judged_have_the_statuses_that_are_written() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../hack/health/objects");
    for (name, object) in cases() {
        let path = directory.join(&name);
        let text = format!("{object:#}\n");
        if std::env::var_os("UPDATE_HEALTH").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(stored, text, "{name}: run the test with UPDATE_HEALTH=1");
    }
}
