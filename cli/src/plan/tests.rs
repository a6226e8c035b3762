use serde_json::{Value, json};

use super::*;

fn there() -> Vec<Value> {
    let yaml = r"
- {apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {smilax.dev/inject: enabled}}}
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: shop}
  spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{port: 80}]}
- apiVersion: v1
  kind: Service
  metadata: {name: web-v1, namespace: shop}
  spec: {clusterIP: 10.0.0.2, selector: {app: web, version: v1}, ports: [{port: 80}]}
- apiVersion: v1
  kind: Service
  metadata: {name: web-v2, namespace: shop}
  spec: {clusterIP: 10.0.0.3, selector: {app: web, version: v2}, ports: [{port: 80}]}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: client, namespace: shop}
  spec: {template: {metadata: {labels: {app: client}}, spec: {serviceAccountName: client, containers: []}}}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: web-v1, namespace: shop}
  spec: {template: {metadata: {labels: {app: web, version: v1}}, spec: {serviceAccountName: web, containers: []}}}
- apiVersion: apps/v1
  kind: Deployment
  metadata: {name: other, namespace: bank}
  spec: {template: {metadata: {labels: {app: other}}, spec: {serviceAccountName: other, containers: []}}}
- apiVersion: split.smi-spec.io/v1alpha4
  kind: TrafficSplit
  metadata: {name: web, namespace: shop, generation: 3}
  spec: {service: web, backends: [{service: web-v1, weight: 90}, {service: web-v2, weight: 10}]}
";
    serde_saphyr::from_str(yaml).unwrap()
}

fn split(name: &str, backends: &Value) -> Value {
    json!({
        "apiVersion": "split.smi-spec.io/v1alpha2",
        "kind": "TrafficSplit",
        "metadata": {"name": name},
        "spec": {"service": "web", "backends": backends},
    })
}

fn planned(files: Vec<Value>) -> Plan {
    written(there(), files, "shop").unwrap()
}

#[test]
fn what_is_there_already_changes_nothing() {
    assert!(planned(there()).is_empty());
    let same = split(
        "web",
        &json!([{"service": "web-v1", "weight": 90}, {"service": "web-v2", "weight": 10}]),
    );
    let plan = planned(vec![same]);
    assert!(plan.is_empty(), "another version, and no generation: {plan:?}");
    insta::assert_snapshot!(table(&plan), @"Nothing changes for any of 3 accounts.");
}

#[test]
fn new_weights_are_shown_beside_the_old_for_the_accounts_that_hold_them() {
    let plan = planned(vec![split(
        "web",
        &json!([{"service": "web-v1", "weight": 50}, {"service": "web-v2", "weight": 50}]),
    )]);
    insta::assert_snapshot!(table(&plan), @r#"
    shop/client, shop/web (2 pods)
        destination shop/web port 80
          ~ TrafficSplit/shop/web
              before: shop/web-v1 90, shop/web-v2 10
              after:  shop/web-v1 50, shop/web-v2 50

    2 of 3 accounts would change, with 2 pods. Findings: 0 new, 0 resolved.
    "#);
    insta::assert_json_snapshot!(json(&plan), @r#"
    {
      "accounts": [
        {
          "account": "shop/client",
          "change": "changed",
          "differences": [
            {
              "after": "shop/web-v1 50, shop/web-v2 50",
              "aspect": "TrafficSplit/shop/web",
              "before": "shop/web-v1 90, shop/web-v2 10",
              "subject": "destination shop/web port 80"
            }
          ],
          "pods": 1
        },
        {
          "account": "shop/web",
          "change": "changed",
          "differences": [
            {
              "after": "shop/web-v1 50, shop/web-v2 50",
              "aspect": "TrafficSplit/shop/web",
              "before": "shop/web-v1 90, shop/web-v2 10",
              "subject": "destination shop/web port 80"
            }
          ],
          "pods": 1
        }
      ],
      "findings": {
        "appear": [],
        "disappear": []
      }
    }
    "#);
}

#[test]
fn a_split_that_would_not_be_in_force_is_found_before_it_is_applied() {
    let plan = planned(vec![split("again", &json!([{"service": "web-v3", "weight": 1}]))]);
    insta::assert_snapshot!(table(&plan), @r#"
    + rejected TrafficSplit/shop/again: Service web is already split by the older TrafficSplit web, which decides; delete one of the two (Conflicted)

    0 of 3 accounts would change, with 0 pods. Findings: 1 new, 0 resolved.
    "#);
}

#[test]
fn closing_a_workload_shows_what_becomes_of_calls_to_it() {
    let yaml = r"
- apiVersion: specs.smi-spec.io/v1alpha4
  kind: HTTPRouteGroup
  metadata: {name: api}
  spec: {matches: [{name: read, pathRegex: /read, methods: [GET]}]}
- apiVersion: access.smi-spec.io/v1alpha3
  kind: TrafficTarget
  metadata: {name: readers}
  spec:
    destination: {kind: ServiceAccount, name: web, namespace: shop}
    sources: [{kind: ServiceAccount, name: other, namespace: bank}]
    rules: [{kind: HTTPRouteGroup, name: api, matches: [read]}]
- {apiVersion: v1, kind: ServiceAccount, metadata: {name: web}}
";
    let plan = planned(serde_saphyr::from_str(yaml).unwrap());
    insta::assert_snapshot!(table(&plan), @r#"
    shop/web (1 pod)
        calls to its pods
          + TLS mode: permissive
          + TrafficTarget/shop/readers: bank/other may send GET ^(?:/read)
          + access mode: allow
    access to shop/web
        lose: shop/client, shop/web, callers without an identity
        limited to a part: bank/other
    + unresolved TrafficTarget/shop/readers: spec.sources[0]: ServiceAccount other does not exist in namespace bank; it counts as soon as it does (AccountNotFound)

    1 of 3 accounts would change, with 1 pod. Findings: 1 new, 0 resolved.
    "#);
}

#[test]
fn a_new_service_has_no_address_yet_and_an_old_one_keeps_its_own() {
    let service = |name: &str, port: u16| {
        json!({
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": port}]},
        })
    };
    let plan = planned(vec![service("web", 80), service("new", 81)]);
    insta::assert_snapshot!(table(&plan), @r#"
    shop/client, shop/web (2 pods)
        destination shop/new port 81
          + addresses: assigned when it is applied
          + protocol: detected
          + security: mutual TLS with shop/web

    2 of 3 accounts would change, with 2 pods. Findings: 0 new, 0 resolved.
    "#);
}

#[test]
fn a_label_that_somebody_else_set_stays_and_one_that_was_applied_goes() {
    let last = r#"{"metadata":{"labels":{"smilax.dev/inject":"enabled"}}}"#;
    let there = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {
            "name": "shop",
            "labels": {"smilax.dev/inject": "enabled", "by": "somebody"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": last},
        },
    });
    let file = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let after = applied(vec![there], vec![file], "default").unwrap();
    assert_eq!(after[0]["metadata"]["labels"], json!({"by": "somebody"}));
}

#[test]
fn an_object_that_cannot_be_planned_is_named() {
    let error = |object: Value| written(Vec::new(), vec![object], "shop").unwrap_err().to_string();
    let nameless = error(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-"}}));
    assert!(nameless.starts_with("a Pod has no metadata.name"), "{nameless}");
    let kustomization =
        error(json!({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}));
    assert!(kustomization.contains("kubectl kustomize"), "{kustomization}");
    let unknown = error(json!({"metadata": {"name": "a"}}));
    assert!(unknown.starts_with("an object has no kind"), "{unknown}");
}
