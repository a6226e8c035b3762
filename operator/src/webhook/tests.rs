mod hostile;
mod slow;
mod tiny;
mod warnings;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prometheus::Registry;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use smilax_compiler::model::Target;
use smilax_core::convention::key;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::route::Routes;
use super::{WebhookMetrics, WebhookState, serve};
use crate::certificate::{CertificateResolver, Material, service_names};
use crate::cluster_view::{ClusterView, NamespaceView};
use crate::inject::fixture::{Pod, bare, container, namespace, pod, settings, shop};

/// Knows `shop` from its watch, `new` only when asked for, and of `late` only when asked for that it joined the mesh.
struct View;

impl ClusterView for View {
    fn namespace(&self, name: &str) -> Option<NamespaceView> {
        match name {
            "shop" => Some(shop()),
            "late" => Some(namespace("late")),
            _ => None,
        }
    }

    fn target_warnings(&self, target: &Target) -> Vec<String> {
        let Target {
            meta, destination, ..
        } = target;
        vec![format!(
            "{} is closed by {}/{}",
            destination.name, meta.namespace, meta.name
        )]
    }

    fn fetch_namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<NamespaceView>> {
        let known = matches!(name, "new" | "late").then(|| NamespaceView {
            name: name.to_owned(),
            ..shop()
        });
        if name == "silent" {
            return futures::future::pending().boxed();
        }
        futures::future::ready(known).boxed()
    }
}

const API_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

fn state() -> (WebhookState, Registry) {
    let registry = Registry::new();
    let state = WebhookState {
        view: Arc::new(View),
        settings: Arc::new(ArcSwap::from_pointee(settings())),
        metrics: WebhookMetrics::new(&registry).unwrap(),
    };
    (state, registry)
}

fn review(kind: (&str, &str), operation: &str, object: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "42", "kind": {"group": kind.0, "version": "v1", "kind": kind.1}, "namespace": "shop",
            "operation": operation, "object": object, "dryRun": true,
        },
    })
}

fn creation(pod: &Pod) -> Value {
    review(("", "Pod"), "CREATE", &pod.0)
}

fn post(path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post(path)
        .header("content-type", "application/json")
        .body(Full::new(body.into()))
        .unwrap()
}

async fn ask(request: Request<Full<Bytes>>) -> (StatusCode, String) {
    read(Routes::new(state().0).answer(API_SERVER, request).await).await
}

async fn read<B: hyper::body::Body<Error: std::fmt::Debug>>(response: Response<B>) -> (StatusCode, String) {
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// The response inside a review that must be answered with 200.
async fn answer(path: &str, review: &Value) -> Value {
    let (status, body) = ask(post(path, review.to_string())).await;
    assert_eq!(status, StatusCode::OK, "{body}");
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["response"]["uid"], "42");
    answer["response"].clone()
}

fn patched(pod: &Pod, response: &Value) -> Value {
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut pod = pod.0.clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    pod
}

#[tokio::test]
async fn a_pod_is_answered_with_the_patch_that_injects_it() {
    let pod = pod();
    let response = answer("/inject", &creation(&pod)).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(patched(&pod, &response), pod.injected());
}

#[tokio::test]
async fn a_pod_that_is_refused_is_told_why() {
    let pod = pod().spec("securityContext", json!({"runAsUser": 2102}));
    let response = answer("/inject", &creation(&pod)).await;
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 403);
    assert!(response["status"]["message"].as_str().unwrap().contains("2102"));
}

#[tokio::test]
async fn warnings_name_us() {
    let pod = pod().annotation("smilax.dev/log-levle", "debug");
    let response = answer("/inject", &creation(&pod)).await;
    assert_eq!(
        response["warnings"],
        json!([
            "smilax: metadata.annotations[smilax.dev/log-levle]: unknown key without effect; did you mean smilax.dev/log-level?"
        ])
    );
}

#[tokio::test]
async fn what_is_no_pod_creation_is_allowed_as_it_is() {
    let update = review(("", "Pod"), "UPDATE", &pod().0);
    let mut binding = creation(&pod());
    binding["request"]["subResource"] = json!("binding");
    for request in [update, binding, review(("", "Service"), "CREATE", &json!({}))] {
        let response = answer("/inject", &request).await;
        assert_eq!(response, json!({"uid": "42", "allowed": true}));
    }
}

#[tokio::test]
async fn a_namespace_that_is_not_watched_yet_is_asked_for() {
    let mut request = creation(&pod());
    request["request"]["namespace"] = json!("new");
    let response = answer("/inject", &request).await;
    assert!(response.get("patch").is_some());
}

#[tokio::test]
async fn a_namespace_that_joined_a_moment_ago_is_asked_for_again() {
    let mut request = creation(&pod());
    request["request"]["namespace"] = json!("late");
    let response = answer("/inject", &request).await;
    assert!(response.get("patch").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_that_cannot_be_known_leaves_the_decision_to_the_failure_policy() {
    for name in ["unknown", "silent"] {
        let mut request = creation(&pod());
        request["request"]["namespace"] = json!(name);
        let (status, body) = ask(post("/inject", request.to_string())).await;
        assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(body.contains(name), "{body}");
    }
}

#[tokio::test]
async fn a_workload_with_a_bad_annotation_is_denied() {
    let pod = pod().annotation(key::DRAIN_SECONDS, "soon");
    let workload = json!({
        "kind": "Deployment",
        "spec": {"template": {"metadata": pod.0["metadata"], "spec": pod.0["spec"]}},
    });
    let request = review(("apps", "Deployment"), "CREATE", &workload);
    let response = answer("/validate", &request).await;
    assert_eq!(response["allowed"], false);
    assert_eq!(response["status"]["code"], 422);
    assert!(
        response["status"]["message"]
            .as_str()
            .unwrap()
            .starts_with("spec.template: ")
    );
}

fn split(weight: i64) -> Value {
    json!({
        "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"service": "web", "backends": [{"service": "web-v1", "weight": weight}]},
    })
}

const SPLIT: (&str, &str) = ("split.smi-spec.io", "TrafficSplit");

#[tokio::test]
async fn a_wrong_policy_is_denied_with_one_line_for_each_field() {
    let response = answer("/validate", &review(SPLIT, "CREATE", &split(1))).await;
    assert_eq!(response["allowed"], true, "{response}");
    let response = answer("/validate", &review(SPLIT, "CREATE", &split(-1))).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("spec.backends[0].weight: "), "{message}");
}

#[tokio::test]
async fn what_an_earlier_mesh_let_in_can_still_be_labelled_and_deleted() {
    let mut labelled = split(-1);
    labelled["metadata"]["labels"] = json!({"a": "b"});
    let mut update = review(SPLIT, "UPDATE", &labelled);
    update["request"]["oldObject"] = split(-1);
    let response = answer("/validate", &update).await;
    assert_eq!(response["allowed"], true);
    assert!(response["warnings"][0].as_str().unwrap().contains("weight"));

    update["request"]["oldObject"] = split(-2);
    assert_eq!(answer("/validate", &update).await["allowed"], false);
}

#[tokio::test]
async fn s46_of_what_is_being_deleted_only_changed_content_is_judged() {
    let mut going = split(-1);
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    let mut update = review(SPLIT, "UPDATE", &going);
    update["request"]["oldObject"] = going;
    update["request"]["oldObject"]["metadata"]["finalizers"] = json!(["a"]);
    let response = answer("/validate", &update).await;
    assert_eq!(
        (&response["allowed"], &response["warnings"]),
        (&json!(true), &Value::Null)
    );

    update["request"]["oldObject"]["spec"] = split(1)["spec"].clone();
    assert_eq!(answer("/validate", &update).await["allowed"], false);
}

#[tokio::test]
async fn objects_are_converted() {
    let review = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": "7", "desiredAPIVersion": "split.smi-spec.io/v1alpha2", "objects": [split(1)]},
    });
    let (status, body) = ask(post("/convert", review.to_string())).await;
    assert_eq!(status, StatusCode::OK);
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(answer["response"]["uid"], "7");
    assert_eq!(answer["response"]["result"]["status"], "Success");
    assert_eq!(
        answer["response"]["convertedObjects"][0]["apiVersion"],
        "split.smi-spec.io/v1alpha2"
    );
}

#[tokio::test]
async fn s26_a_split_that_an_old_version_cannot_hold_is_denied_unless_it_was_so() {
    let mut full = split(1);
    full["spec"]["matches"] = json!([{"kind": "HTTPRouteGroup", "name": "group"}]);
    full["metadata"]["annotations"] = json!({"filler": "x".repeat(256 * 1024 - 10)});
    let response = answer("/validate", &review(SPLIT, "CREATE", &full)).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("metadata.annotations: have no room"),
        "{message}"
    );

    let mut update = review(SPLIT, "UPDATE", &full);
    update["request"]["oldObject"] = split(1);
    assert_eq!(answer("/validate", &update).await["allowed"], false);
    update["request"]["oldObject"] = full;
    assert_eq!(answer("/validate", &update).await["allowed"], true);
}

#[tokio::test]
async fn deletion_is_always_allowed() {
    for kind in [("split.smi-spec.io", "TrafficSplit"), ("apps", "Deployment")] {
        let request = review(kind, "DELETE", &Value::Null);
        let response = answer("/validate", &request).await;
        assert_eq!(response, json!({"uid": "42", "allowed": true}));
    }
}

#[tokio::test]
async fn f1_what_is_no_review_is_answered_with_400() {
    let mut nameless = creation(&pod());
    nameless["request"]["uid"] = json!("");
    let mut old = creation(&pod());
    old["apiVersion"] = json!("admission.k8s.io/v1beta1");
    let deep = "[".repeat(100_000);
    for body in [
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        deep,
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}).to_string(),
        nameless.to_string(),
        old.to_string(),
    ] {
        for path in ["/inject", "/validate"] {
            let (status, text) = ask(post(path, body.clone())).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
        }
    }
    let (status, _) = ask(post("/convert", "{")).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn other_paths_methods_and_content_types_are_refused() {
    let statuses = [
        (post("/", ""), StatusCode::NOT_FOUND),
        (post("/inject/x", ""), StatusCode::NOT_FOUND),
        (
            Request::get("/inject").body(Full::default()).unwrap(),
            StatusCode::METHOD_NOT_ALLOWED,
        ),
        (
            Request::post("/inject").body(Full::default()).unwrap(),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ),
    ];
    for (request, expected) in statuses {
        assert_eq!(ask(request).await.0, expected);
    }
}

#[tokio::test]
async fn f1_a_body_that_is_too_large_is_refused_whether_it_says_so_or_not() {
    let mut announced = post("/inject", "");
    let length = (7 * 1024 * 1024 + 1).to_string();
    announced
        .headers_mut()
        .insert("content-length", length.parse().unwrap());
    assert_eq!(ask(announced).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    let silent = post("/inject", vec![b' '; 7 * 1024 * 1024 + 1]);
    assert_eq!(ask(silent).await.0, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn requests_are_counted_by_what_was_decided() {
    let (state, registry) = state();
    let routes = Routes::new(state);
    routes
        .answer(API_SERVER, post("/inject", creation(&pod()).to_string()))
        .await;
    routes.answer(API_SERVER, post("/inject", "{")).await;
    let text = prometheus::TextEncoder::new()
        .encode_to_string(&registry.gather())
        .unwrap();
    for line in [
        r#"smilax_webhook_requests_total{outcome="injected",webhook="inject"} 1"#,
        r#"smilax_webhook_requests_total{outcome="error",webhook="inject"} 1"#,
        r#"smilax_webhook_request_seconds_count{webhook="inject"} 2"#,
    ] {
        assert!(text.contains(line), "{text}");
    }
}

fn trust(bundle: &str, protocol: &[u8]) -> tokio_rustls::TlsConnector {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(bundle.as_bytes()) {
        roots.add(authority.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config).into()
}

#[tokio::test]
async fn a_certificate_is_served_under_the_services_name_and_replaced_while_serving() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let resolver = CertificateResolver::new();
    let shutdown = CancellationToken::new();
    let server = tokio::spawn(serve(
        listener,
        Arc::clone(&resolver),
        state().0,
        shutdown.clone(),
    ));
    let connect = |bundle: String, protocol: &'static [u8]| async move {
        let stream = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from("smilax-webhook.smilax-system.svc").unwrap();
        trust(&bundle, protocol).connect(name, stream).await
    };
    let material = Material::for_tests(&service_names("smilax-system", "cluster.local"));
    assert!(
        connect(material.bundle(), b"h2").await.is_err(),
        "without a certificate"
    );

    resolver.load(material.certified_key().unwrap());
    let stream = connect(material.bundle(), b"h2").await.unwrap();
    let (mut http2, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    let uri = "https://smilax-webhook.smilax-system.svc/inject";
    let request = || post(uri, creation(&pod()).to_string());
    assert_eq!(
        http2.send_request(request()).await.unwrap().status(),
        StatusCode::OK
    );

    let next = Material::for_tests(&service_names("smilax-system", "cluster.local"));
    resolver.load(next.certified_key().unwrap());
    assert!(
        connect(material.bundle(), b"h2").await.is_err(),
        "the old one is not served"
    );
    let stream = connect(next.bundle(), b"http/1.1").await.unwrap();
    let (mut http1, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let response = http1.send_request(request()).await.unwrap();
    assert_eq!(read(response).await.0, StatusCode::OK);
    // The open connection goes on.
    assert_eq!(
        http2.send_request(request()).await.unwrap().status(),
        StatusCode::OK
    );

    drop((http1, http2));
    shutdown.cancel();
    server.await.unwrap();
}

#[tokio::test]
async fn s11_every_pod_has_a_key_of_its_own_in_the_paths_of_its_probes() {
    let hook = json!({"preStop": {"httpGet": {"path": "/bye", "port": 8080}}});
    let pod = bare().container(container("web").with("lifecycle", hook));
    let mut paths = std::collections::BTreeSet::new();
    for _ in 0..4 {
        let injected = patched(&pod, &answer("/inject", &creation(&pod)).await);
        let path = &injected["spec"]["containers"][0]["lifecycle"]["preStop"]["httpGet"]["path"];
        let path = path.as_str().unwrap().to_owned();
        assert!(
            path.len() == 33 + "/web/preStop".len() && path.ends_with("/web/preStop"),
            "{path}"
        );
        paths.insert(path);
    }
    assert_eq!(paths.len(), 4, "{paths:?}");
}

/// A review of a change of an injected pod.
fn change(sub_resource: &str, edit: impl Fn(&mut Value)) -> Value {
    let running = pod().injected();
    let mut changed = running.clone();
    edit(&mut changed);
    let mut request = review(("", "Pod"), "UPDATE", &changed);
    request["request"]["subResource"] = json!(sub_resource);
    request["request"]["oldObject"] = running;
    request
}

#[tokio::test]
async fn s8_a_debug_container_that_reaches_for_the_sidecar_is_denied() {
    let with = |debugger: Value| {
        change("ephemeralcontainers", move |pod| {
            pod["spec"]["ephemeralContainers"] = json!([debugger]);
        })
    };
    let spy = json!({"name": "spy", "volumeMounts": [{"name": "smilax-state", "mountPath": "/x"}]});
    let response = answer("/validate", &with(spy)).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("smilax-state"), "{message}");
    let plain = answer("/validate", &with(json!({"name": "shell"}))).await;
    assert_eq!(plain["allowed"], true);
}

#[tokio::test]
async fn s8_another_image_of_the_sidecar_is_denied() {
    let exchanged = |sub_resource: &str| {
        change(sub_resource, |pod| {
            pod["spec"]["initContainers"][1]["image"] = json!("evil");
        })
    };
    assert_eq!(answer("/validate", &exchanged("")).await["allowed"], false);
    // Nothing but what is stored can be changed by these.
    assert_eq!(answer("/validate", &exchanged("status")).await["allowed"], true);
}
