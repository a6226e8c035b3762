use std::collections::BTreeMap;

use serde_json::{Value, json};
use smilax_operator::app::inject_settings;
use smilax_operator::args::Args;

use super::gather::{place, templates, webhook};
use super::why::{Mesh, Place, Sidecar, Webhook, all};
use super::*;
use crate::output::View;

const LABELLED: &str = "2026-05-01T12:00:00Z";

fn mesh() -> Mesh {
    use clap::Parser as _;
    let args = Args::parse_from(["smilax-operator", "--namespace", "smilax-system"]);
    Mesh {
        settings: inject_settings(&args.run).unwrap(),
        access: smilax_compiler::index::Settings::default(),
        webhook: Webhook::Registered(Some("2026-04-01T12:00:00Z".to_owned())),
        unseen: Vec::new(),
    }
}

/// A pod of Deployment web.
struct Pod(Value);

fn pod() -> Pod {
    Pod(json!({
        "metadata": {
            "name": "web-5d-a", "namespace": "shop", "labels": {"pod-template-hash": "5d"}, "annotations": {},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d", "controller": true}],
            "creationTimestamp": "2026-06-01T12:00:00Z",
        },
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
        "status": {"phase": "Running"},
    }))
}

impl Pod {
    fn injected(mut self, version: &str) -> Self {
        self.0["spec"]["initContainers"] =
            json!([{"name": "smilax-proxy", "restartPolicy": "Always", "args": ["run"]}]);
        self.label("smilax.dev/proxy-version", version)
    }

    fn label(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["labels"][key] = json!(value);
        self
    }

    fn annotation(mut self, key: &str, value: &str) -> Self {
        self.0["metadata"]["annotations"][key] = json!(value);
        self
    }

    fn created(mut self, at: &str) -> Self {
        self.0["metadata"]["creationTimestamp"] = json!(at);
        self
    }

    fn spec(mut self, field: &str, value: Value) -> Self {
        self.0["spec"][field] = value;
        self
    }
}

fn namespace(labels: &Value, annotations: &Value) -> Place {
    let object = json!({"metadata": {
        "name": "shop", "labels": labels, "annotations": annotations,
        "managedFields": [
            {"manager": "kubectl-label", "time": LABELLED, "fieldsV1": {"f:metadata": {"f:labels": {"f:smilax.dev/inject": {}}}}},
            {"manager": "kubectl-annotate", "time": "2026-09-01T12:00:00Z", "fieldsV1": {"f:metadata": {"f:annotations": {}}}},
        ],
    }});
    place(&object, Vec::new(), &mesh())
}

fn enabled() -> Place {
    namespace(&json!({"smilax.dev/inject": "enabled"}), &json!({}))
}

fn shown_in(pod: Pod, place: Place, mesh: &Mesh) -> String {
    let places = BTreeMap::from([("shop".to_owned(), place)]);
    let explained = Explained {
        workloads: all(&[pod.0], &places, mesh),
        unseen: Vec::new(),
    };
    table(&explained, View::usual(0))
}

fn shown(pod: Pod, place: Place) -> String {
    shown_in(pod, place, &mesh())
}

#[test]
fn a_pod_that_is_older_than_the_label_of_its_namespace_is_to_be_restarted() {
    insta::assert_snapshot!(shown(pod().created("2026-04-15T00:00:00Z"), enabled()), @r#"
    Deployment shop/web: SIDECAR MISSING
      pods:  1 pod: web-5d-a
      rule:  label smilax.dev/inject=enabled of namespace shop
      why:   the pod, of 2026-04-15T00:00:00Z, is older than the label of its namespace, of 2026-05-01T12:00:00Z
      next:  kubectl --namespace shop rollout restart deployment/web
    "#);
}

#[test]
fn a_pod_that_is_older_than_the_webhook_is_to_be_restarted() {
    let text = shown(pod().created("2026-01-01T00:00:00Z"), enabled());
    assert!(text.contains("older than the webhook smilax-inject"), "{text}");
}

#[test]
fn a_webhook_that_is_not_there_or_not_published_is_the_reason() {
    let missing = Mesh {
        webhook: Webhook::Missing,
        ..mesh()
    };
    let text = shown_in(pod(), enabled(), &missing);
    assert!(
        text.contains("the webhook smilax-inject is not registered"),
        "{text}"
    );
    assert!(text.contains("next:  helm upgrade --install smilax"), "{text}");
    let hooks = [json!({"metadata": {"name": "smilax-inject"}, "webhooks": [{"clientConfig": {}}]})];
    assert_eq!(webhook(&hooks), Webhook::Unpublished);
    assert_eq!(webhook(&[]), Webhook::Missing);
}

#[test]
fn a_namespace_without_the_label_is_to_be_labelled() {
    insta::assert_snapshot!(shown(pod(), namespace(&json!({}), &json!({}))), @r#"
    Deployment shop/web: no sidecar, as configured
      pods:  1 pod: web-5d-a
      rule:  neither the pod nor namespace shop sets smilax.dev/inject
      why:   nothing asks for a sidecar
      next:  kubectl label namespace shop smilax.dev/inject=enabled --overwrite, then kubectl --namespace shop rollout restart deployment/web
    "#);
}

#[test]
fn a_pod_that_opted_out_is_left_alone_by_its_label_or_its_annotation() {
    let text = shown(pod().label("smilax.dev/inject", "disabled"), enabled());
    assert!(
        text.contains("rule:  label smilax.dev/inject of the pod"),
        "{text}"
    );
    assert!(text.contains("next:  remove the label"), "{text}");
    let text = shown(pod().annotation("smilax.dev/inject", "disabled"), enabled());
    assert!(text.contains("next:  remove the annotation"), "{text}");
}

#[test]
fn an_opt_out_does_not_count_where_the_namespace_refuses_calls() {
    let closed = namespace(
        &json!({"smilax.dev/inject": "enabled"}),
        &json!({"smilax.dev/access-mode": "deny"}),
    );
    let text = shown(pod().label("smilax.dev/inject", "disabled"), closed);
    assert!(text.contains("SIDECAR MISSING"), "{text}");
    assert!(text.contains("so pods may not opt out"), "{text}");
}

#[test]
fn a_pod_on_the_network_of_its_node_has_none() {
    let text = shown(pod().spec("hostNetwork", json!(true)), enabled());
    assert!(text.contains("no sidecar, as configured"), "{text}");
    assert!(text.contains("uses the network of its node"), "{text}");
}

#[test]
fn what_the_webhook_would_refuse_is_told_with_its_message() {
    let restricted =
        json!({"smilax.dev/inject": "enabled", "pod-security.kubernetes.io/enforce": "restricted"});
    let text = shown(pod(), namespace(&restricted, &json!({})));
    assert!(text.contains("PODS REFUSED"), "{text}");
    assert!(text.contains("enforces Pod Security"), "{text}");
}

#[test]
fn a_template_without_pods_is_judged_as_a_pod_would_be() {
    let template = json!({
        "kind": "PodTemplate",
        "metadata": {"namespace": "shop", "ownerReferences": [{"kind": "deployment", "name": "web", "controller": true}]},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
    });
    let text = shown(Pod(template), enabled());
    assert!(
        text.starts_with("Deployment shop/web: new pods get a sidecar\n"),
        "{text}"
    );
}

#[test]
fn pods_that_are_alike_stand_together_and_lacking_ones_are_a_finding() {
    let with = |name: &str, pod: Pod| {
        let mut pod = pod.0;
        pod["metadata"]["name"] = json!(name);
        pod
    };
    let pods = [
        with("a", pod().injected("0.1.0")),
        with("b", pod().injected("0.1.0")),
        with("c", pod()),
    ];
    let places = BTreeMap::from([("shop".to_owned(), enabled())]);
    let found = all(&pods, &places, &mesh());
    let of: Vec<_> = found
        .iter()
        .map(|one| (one.sidecar, one.pods.join(",")))
        .collect();
    assert_eq!(
        of,
        [
            (Sidecar::Present, "a,b".to_owned()),
            (Sidecar::Lacking, "c".to_owned())
        ]
    );
    let found = Explained {
        workloads: found,
        unseen: Vec::new(),
    };
    assert!(found.is_lacking());
    assert_eq!(json(&found)["workloads"][1]["sidecar"], "lacking");
}

#[test]
fn an_annotation_that_asks_for_a_sidecar_is_not_heard_without_a_label() {
    let outside = || namespace(&json!({}), &json!({}));
    let asking = || pod().annotation("smilax.dev/inject", "enabled");
    let text = shown(asking(), outside());
    assert!(text.contains("SIDECAR MISSING"), "{text}");
    assert!(text.contains("asks the webhook by labels"), "{text}");
    assert!(
        text.contains(
            r#"next:  kubectl --namespace shop patch deployment web --type merge --patch '{"spec""#
        ),
        "{text}"
    );
    let injected = asking().injected("0.1.0");
    assert!(shown(injected, outside()).contains("a new pod gets none"));
    let text = shown(asking().created("2026-04-15T00:00:00Z"), enabled());
    assert!(text.contains("older than the label"), "{text}");
}

#[test]
fn a_sidecar_whose_image_cannot_be_pulled_is_not_running() {
    let mut pod = pod().injected("0.1.0");
    pod.0["status"]["initContainerStatuses"] = json!([
        {"name": "smilax-proxy", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "no such tag"}}},
    ]);
    let text = shown(pod, enabled());
    assert!(text.contains("SIDECAR NOT RUNNING"), "{text}");
    assert!(text.contains("ImagePullBackOff: no such tag"), "{text}");
}

#[test]
fn a_workload_without_pods_stands_beside_those_with_pods_and_says_why_it_has_none() {
    let workload = |name: &str| {
        json!({
            "kind": "Deployment", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:1"}]}}},
            "status": {"conditions": [{
                "type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota",
            }]},
        })
    };
    let objects = [workload("web"), workload("refused")];
    let found = templates(&objects, &[pod().0]);
    assert_eq!(found.len(), 1, "web has a pod: {found:?}");
    let text = shown(Pod(found[0].clone()), enabled());
    assert!(
        text.starts_with("Deployment shop/refused: PODS REFUSED\n"),
        "{text}"
    );
    assert!(text.contains("FailedCreate: exceeded quota"), "{text}");
}

#[test]
fn what_may_not_be_seen_is_said_with_what_is_assumed_of_it() {
    let explained = Explained {
        workloads: Vec::new(),
        unseen: vec!["The MeshConfig is taken to set nothing: you may not list meshconfigs".to_owned()],
    };
    assert!(table(&explained, View::usual(0)).ends_with("you may not list meshconfigs\n"));
    assert_eq!(json(&explained)["unseen"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_namespace_is_named_by_its_kind() {
    assert_eq!("ns/shop".parse(), Ok(Subject::Namespace("shop".to_owned())));
    assert!(matches!(
        "shop/web-1".parse(),
        Ok(Subject::Target(Target::Pod { .. }))
    ));
    assert!("a/b/c".parse::<Subject>().is_err());
}

#[test]
fn json_names_kinds_as_kubernetes_does() {
    let places = BTreeMap::from([("shop".to_owned(), enabled())]);
    let alone = || {
        let mut pod = pod().0;
        pod["metadata"]["ownerReferences"] = json!([]);
        pod
    };
    let found = all(&[pod().0, alone()], &places, &mesh());
    let all = Explained {
        workloads: found,
        unseen: Vec::new(),
    };
    let kinds: Vec<Value> = json(&all)["workloads"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["kind"].clone())
        .collect();
    assert_eq!(kinds, ["Deployment", "Pod"]);
}
