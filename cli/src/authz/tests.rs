use clap::Parser;
use serde_json::{Value, json};

use super::*;
use crate::args::{Args, Command};
use crate::world::World;

fn objects() -> Vec<Value> {
    let yaml = r"
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: web, namespace: shop}}
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{port: 80, targetPort: http}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  template:
    metadata: {labels: {app: web}}
    spec: {serviceAccountName: web, containers: [{name: web, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: specs.smi-spec.io/v1alpha2
kind: HTTPRouteGroup
metadata: {name: api, namespace: shop}
matches: [{name: read, pathRegex: /read, methods: [GET]}]
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {name: readers, namespace: shop}
spec:
  destination: {kind: ServiceAccount, name: web, namespace: shop}
  sources: [{kind: ServiceAccount, name: client, namespace: bank}]
  rules: [{kind: HTTPRouteGroup, name: api, matches: [read]}]
";
    serde_saphyr::from_multiple(yaml).unwrap()
}

pub(crate) fn asked(arguments: &[&str], objects: Vec<Value>) -> Vec<String> {
    let arguments = ["smilax", "authz"].iter().chain(arguments);
    let Some(Command::Authz(asked)) = Args::try_parse_from(arguments).unwrap().command else {
        panic!("another command");
    };
    let mut world = World::written(objects).unwrap();
    let answers = answer(&mut world, &Question::from(&*asked)).unwrap();
    answers.iter().map(ToString::to_string).collect()
}

#[test]
fn a_request_that_a_target_allows_names_the_target() {
    let said = asked(
        &["--from", "bank/client", "--to", "shop/web", "--path", "/read/1"],
        objects(),
    );
    assert_eq!(
        said,
        ["allowed  bank/client -> shop/web port 8080: TrafficTarget/shop/readers allows it"]
    );
}

#[test]
fn a_denial_names_what_came_nearest() {
    let ask = |from: &str, more: &[&str]| {
        let arguments: Vec<&str> = ["--from", from, "--to", "shop/web:80"]
            .iter()
            .chain(more)
            .copied()
            .collect();
        asked(&arguments, objects()).remove(0)
    };
    assert_eq!(
        ask("bank/client", &["--path", "/write"]),
        "denied   bank/client -> shop/web port 8080: no TrafficTarget allows the caller this request; \
         TrafficTarget/shop/readers is the closest match"
    );
    assert!(ask("bank/other", &["--path", "/read"]).contains("names the caller"));
    assert!(ask("bank/client", &[]).contains("--method and --path"));
    assert!(ask("bank/client", &["--path", "/read/../write"]).contains("dot segment"));
}

#[test]
fn a_route_of_the_services_port_opens_the_port_that_kubernetes_resolves_its_target_name_to() {
    let yaml = r"
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop, labels: {app: web}}
spec:
  serviceAccountName: web
  containers:
  - {name: app, ports: [{name: http, containerPort: 8080}]}
  - {name: exporter, ports: [{name: http, containerPort: 9090}]}
---
apiVersion: specs.smi-spec.io/v1alpha4
kind: TCPRoute
metadata: {name: api, namespace: shop}
spec: {matches: {ports: [80]}}
---
apiVersion: access.smi-spec.io/v1alpha3
kind: TrafficTarget
metadata: {name: readers, namespace: shop}
spec:
  destination: {kind: ServiceAccount, name: web, namespace: shop}
  sources: [{kind: ServiceAccount, name: client, namespace: bank}]
  rules: [{kind: TCPRoute, name: api}]
";
    let replaced = |object: &Value| matches!(object["kind"].as_str(), Some("Deployment" | "TrafficTarget"));
    let mut all = objects();
    all.retain(|object| !replaced(object));
    all.extend(serde_saphyr::from_multiple::<Value>(yaml).unwrap());
    let ask = |to: &str| asked(&["--from", "bank/client", "--to", to], all.clone()).remove(0);
    assert_eq!(
        ask("shop/web:80"),
        "allowed  bank/client -> shop/web port 8080: TrafficTarget/shop/readers allows it"
    );
    let exporter = ask("shop/web-0:9090");
    assert!(exporter.starts_with("denied "), "{exporter}");
}

#[test]
fn somebody_outside_the_mesh_is_refused_where_a_target_decides() {
    let said = asked(
        &[
            "--from-address",
            "10.1.1.1",
            "--to",
            "shop/web",
            "--path",
            "/read",
        ],
        objects(),
    );
    assert!(said[0].starts_with("denied"), "{said:?}");
}

#[test]
fn pods_of_one_account_are_told_apart_only_where_they_differ() {
    let mut all = objects();
    for (name, tier) in [("front", "front"), ("back", "back")] {
        all.push(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "bank", "labels": {"tier": tier}},
            "spec": {"serviceAccountName": "other", "containers": []},
        }));
    }
    let ask = |objects| {
        asked(
            &["--from", "bank/other", "--to", "shop/web", "--path", "/read"],
            objects,
        )
    };
    assert_eq!(ask(all.clone()).len(), 1);
    all.push(json!({
        "apiVersion": "access.smi-spec.io/v1alpha4", "kind": "IdentityBinding",
        "metadata": {"name": "front", "namespace": "bank"},
        "spec": {"schemes": {"podLabelSelector": {"matchLabels": {"tier": "front"}}}},
    }));
    all.push(json!({
        "apiVersion": "access.smi-spec.io/v1alpha4", "kind": "TrafficTarget",
        "metadata": {"name": "by-labels", "namespace": "shop"},
        "spec": {
            "destination": {"kind": "ServiceAccount", "name": "web"},
            "sources": [{"kind": "IdentityBinding", "name": "front", "namespace": "bank"}],
            "rules": [{"kind": "HTTPRouteGroup", "name": "api"}],
        },
    }));
    let said = ask(all);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said[0].starts_with("allowed") && said[0].ends_with("front -> web"),
        "{said:?}"
    );
    assert!(
        said[1].starts_with("denied") && said[1].ends_with("back -> web"),
        "{said:?}"
    );
}

#[test]
fn what_cannot_be_answered_says_what_is_missing() {
    let arguments = ["smilax", "authz", "--from", "bank/client", "--to", "shop/web:81"];
    let Some(Command::Authz(asked)) = Args::try_parse_from(arguments).unwrap().command else {
        panic!("another command");
    };
    let mut world = World::written(objects()).unwrap();
    let error = answer(&mut world, &Question::from(&*asked)).unwrap_err();
    assert!(error.to_string().contains("no TCP port 81"), "{error}");
}

#[test]
fn an_account_that_does_not_exist_is_no_caller_that_is_denied() {
    let asked = |from: &str, mut world: World| {
        let arguments = ["smilax", "authz", "--from", from, "--to", "shop/web"];
        let Some(Command::Authz(asked)) = Args::try_parse_from(arguments).unwrap().command else {
            panic!("another command");
        };
        answer(&mut world, &Question::from(&*asked)).map_err(|error| error.to_string())
    };
    let written = || World::written(objects()).unwrap();
    assert_eq!(
        asked("shop/wbe", written()).unwrap_err(),
        "there is no ServiceAccount wbe in namespace shop; did you mean web?"
    );
    assert!(asked("bank/client", written()).is_ok(), "files may hold a part");
}
