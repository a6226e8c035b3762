//! What reviews take, measured by an allocator that counts: `cargo test -p smilax-operator --test review_memory --
//! --nocapture` prints it. One test, since all tests of a process share the count.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails"
)]

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use http::{Request, StatusCode};
use http_body_util::Full;
use peak_alloc::PeakAlloc;
use prometheus::Registry;
use serde_json::json;
use smilax_compiler::model::Target;
use smilax_operator::cluster_view::{ClusterView, NamespaceView};
use smilax_operator::inject::{InjectSettings, ProxyLogFormat, PullPolicy, Resources};
use smilax_operator::webhook::{Routes, WebhookMetrics, WebhookState};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MIB: usize = 1024 * 1024;
/// What the budget of the webhooks is in all.
const BUDGET: usize = (40 + 16 + 96) * MIB;

struct Shop;

impl ClusterView for Shop {
    fn namespace(&self, name: &str) -> Option<NamespaceView> {
        Some(NamespaceView {
            name: name.to_owned(),
            labels: [("smilax.dev/inject".to_owned(), "enabled".to_owned())].into(),
            ..NamespaceView::default()
        })
    }

    fn fetch_namespace<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<NamespaceView>> {
        futures::future::ready(self.namespace(name)).boxed()
    }

    fn target_warnings(&self, _: &Target) -> Vec<String> {
        Vec::new()
    }
}

fn routes() -> Routes {
    let settings = InjectSettings {
        proxy_image: "registry.example/smilax-proxy:0.1.0".to_owned(),
        pull_policy: PullPolicy::IfNotPresent,
        resources: Resources::parse("50m", "1", "32Mi", "128Mi").unwrap(),
        log_level: smilax_core::LogFilter::default(),
        log_format: ProxyLogFormat::Json,
        metrics_sources: smilax_core::SourceRanges::default(),
        drain_seconds: 30,
        cluster_domain: "cluster.local".to_owned(),
        version: "0.1.0".to_owned(),
        installation_namespace: "smilax-system".to_owned(),
    };
    Routes::new(WebhookState {
        view: Arc::new(Shop),
        settings: Arc::new(ArcSwap::from_pointee(settings)),
        metrics: WebhookMetrics::new(&Registry::new()).unwrap(),
    })
}

/// A list of as many items as fit into so many bytes.
fn list(item: &str, bytes: usize) -> String {
    format!("[{}]", vec![item; bytes / (item.len() + 1)].join(","))
}

fn pod(list: &str) -> String {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "app", "image": "app", "env": "here"}]},
    });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "kind": {"group": "", "version": "v1", "kind": "Pod"}, "namespace": "shop",
            "operation": "CREATE", "object": pod,
        },
    });
    review.to_string().replace(r#""here""#, list)
}

fn splits(number: usize) -> String {
    let split = json!({
        "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "service": "web",
            "backends": [{"service": "web-v1", "weight": 90}, {"service": "web-v2", "weight": 10}],
            "matches": [{"kind": "HTTPRouteGroup", "name": "group"}],
        },
    });
    let objects = vec![split; number];
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "request": {"uid": "7", "desiredAPIVersion": "split.smi-spec.io/v1alpha2", "objects": objects},
    })
    .to_string()
}

struct Measured {
    status: StatusCode,
    peak: usize,
}

/// Asks all at once.
async fn measure(path: &str, body: &str, at_once: usize) -> Vec<Measured> {
    let routes = routes();
    let bytes = Bytes::copy_from_slice(body.as_bytes());
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let asked = (0..at_once).map(|_| {
        let request = Request::post(path)
            .header("content-type", "application/json")
            .header("content-length", bytes.len())
            .body(Full::new(bytes.clone()))
            .unwrap();
        routes.answer(std::net::Ipv4Addr::LOCALHOST.into(), request)
    });
    let answers = join_all(asked).await;
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    answers
        .iter()
        .map(|answer| Measured {
            status: answer.status(),
            peak,
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s25_what_reviews_hold_is_bounded_whatever_they_are_made_of() {
    let env =
        r#"{"name":"FEATURE_FLAG_NUMBER_12345","value":"https://service.shop.svc.cluster.local:8080/path"}"#;
    let inject = |item: &str, bytes| ("/inject", pod(&list(item, bytes)));
    let inputs = [
        ("a pod of 1.4 MB of env", inject(env, 1_400_000)),
        ("maps with one member", inject(r#"{"":0}"#, 1_400_000)),
        ("empty maps", inject("{}", 1_400_000)),
        ("lists of one", inject("[0]", 1_400_000)),
        ("the dearest that is read", inject(r#"{"":0}"#, 50_000)),
        (
            "the dearest of 1.4 MB",
            inject(r#"{"":"0123456789012345678901234567890123456789"}"#, 1_400_000),
        ),
        ("a list of 4,000 splits", ("/convert", splits(4_000))),
    ];
    for (name, (path, body)) in &inputs {
        for at_once in [1, 16] {
            let measured = measure(path, body, at_once).await;
            let taken = measured.iter().filter(|one| one.status == StatusCode::OK).count();
            let peak = measured[0].peak;
            println!(
                "{name:28} {:6} KiB, {at_once:2} at once: {taken:2} answered, {:6} KiB held, {:3} for each byte",
                body.len() / 1024,
                peak / 1024,
                peak / (at_once * body.len()),
            );
            assert!(peak < BUDGET, "{name}: {} KiB", peak / 1024);
            assert!(taken > 0, "{name}");
        }
    }
}
