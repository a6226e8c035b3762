//! What an operator takes at its start in a cluster where somebody stored the worst that the API server accepts.
//!
//! A process of its own, since the memory of a process is what is measured.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on fails, and what tests share is test code too"
)]

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::Client;
use kube::client::Body;
use serde_json::json;
use smilax_compiler::index::Settings;
use smilax_operator::controller::{State, watch};
use smilax_operator::metrics::Metrics;
use tokio::task::JoinSet;

const MIB: usize = 1024 * 1024;
const NAMESPACES: usize = 50;
/// What it may take beyond an operator that has nothing to watch: half of the chart's limit.
const MOST: usize = 128 * MIB;

/// A kind of objects: where they are listed, how many there are, and what each has beside its name.
struct Stored {
    path: &'static str,
    count: usize,
    rest: Bytes,
}

impl Stored {
    fn new(path: &'static str, count: usize, rest: impl Into<Bytes>) -> Self {
        let rest = rest.into();
        Self { path, count, rest }
    }
}

/// An API server in which `limit` objects of a kind come in one answer.
fn api_server(stored: Vec<Stored>) -> Client {
    let server = tower::service_fn(move |request: Request<Body>| {
        let query = request.uri().query().unwrap_or_default();
        let found = stored.iter().find(|one| one.path == request.uri().path());
        let response = match found {
            None => Response::builder().status(404),
            Some(_) => Response::builder(),
        };
        let parts: Vec<Bytes> = match found {
            None => vec![
                json!({"kind": "Status", "status": "Failure", "code": 404})
                    .to_string()
                    .into(),
            ],
            Some(_) if query.contains("watch=true") => Vec::new(),
            Some(one) => page(one, number(query, "continue="), number(query, "limit=").max(1)),
        };
        let goes_on = query.contains("watch=true");
        let parts = stream::iter(parts).chain(if goes_on {
            stream::pending().left_stream()
        } else {
            stream::empty().right_stream()
        });
        let body = StreamBody::new(parts.map(|part| Ok::<_, Infallible>(Frame::data(part))));
        std::future::ready(Ok::<_, Infallible>(response.body(body).unwrap()))
    });
    Client::new(server, "default")
}

fn number(query: &str, name: &str) -> usize {
    let value = query.split('&').find_map(|part| part.strip_prefix(name));
    value.map_or(0, |value| value.parse().unwrap())
}

/// So many of the objects, from this one on. What they have in common is held once.
fn page(stored: &Stored, from: usize, limit: usize) -> Vec<Bytes> {
    let end = stored.count.min(from + limit);
    let next = if end < stored.count {
        end.to_string()
    } else {
        String::new()
    };
    let metadata = json!({"resourceVersion": "9", "continue": next});
    let mut parts = vec![Bytes::from(format!("{{\"metadata\":{metadata},\"items\":["))];
    for object in from..end {
        let comma = if object == from { "" } else { "," };
        let metadata = json!({"name": format!("smilax-{object}"), "namespace": format!("smilax-{}", object % NAMESPACES), "uid": object.to_string()});
        parts.push(format!("{comma}{{\"metadata\":{metadata},").into());
        parts.push(stored.rest.clone());
        parts.push("}".into());
    }
    parts.push("]}".into());
    parts
}

/// `count` times the same element.
fn list(element: &str, count: usize) -> String {
    format!("[{}]", vec![element; count].join(","))
}

/// The most memory that this process had at once, and what it has, in bytes.
fn resident() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() * 1024
    };
    (of("VmHWM:"), of("VmRSS:"))
}

/// What listing these takes, and how many pods are known then.
async fn peak(stored: Vec<Stored>) -> (usize, usize) {
    let settings = Settings::default();
    let state = State::new(settings.clone());
    let metrics = Metrics::new(prometheus::Registry::new()).unwrap();
    let client = api_server(stored);
    // The highest from here on.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let (_, before) = resident();
    let mut tasks = JoinSet::new();
    watch::start(&client, &state, &settings, &metrics, &mut tasks);
    let begin = Instant::now();
    while !state.unlisted().is_empty() {
        assert!(begin.elapsed() < Duration::from_mins(5), "{:?}", state.unlisted());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (most, _) = resident();
    (
        most.saturating_sub(before),
        state.read(|inner| inner.pod_uids().len()),
    )
}

/// Some namespaces, and nothing in them.
fn nothing() -> Vec<Stored> {
    let paths = [
        "/api/v1/serviceaccounts",
        "/api/v1/services",
        "/api/v1/pods",
        "/apis/discovery.k8s.io/v1/endpointslices",
        "/api/v1/configmaps",
        "/apis/split.smi-spec.io/v1alpha4/trafficsplits",
    ];
    let namespaces = Stored::new("/api/v1/namespaces", NAMESPACES, "\"status\":{}");
    let empty = paths.map(|path| Stored::new(path, 0, ""));
    [namespaces].into_iter().chain(empty).collect()
}

fn with(worst: Vec<Stored>) -> Vec<Stored> {
    worst.into_iter().chain(nothing()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s27_s28_the_worst_objects_of_a_tenant_leave_an_operator_most_of_its_memory() {
    // The allocator and the runtime take their own once.
    peak(nothing()).await;
    let environment = format!(
        "\"spec\":{{\"containers\":[{{\"env\":{}}}]}}",
        list("{\"name\":\"a\"}", 100_000)
    );
    // As much as is kept of a pod, of what takes most memory when it is decoded.
    let source = "{\"name\":\"a\",\"projected\":{\"sources\":[{\"serviceAccountToken\":{}}]}}";
    let volumes = format!("\"spec\":{{\"volumes\":{}}}", list(source, 27));
    let container = "{\"name\":\"a\",\"image\":\"a\"}";
    let containers = format!("\"spec\":{{\"containers\":{}}}", list(container, 95));
    let large = "x".repeat(MIB - 4096);
    let text = format!("\"data\":{{\"policy.json\":\"{large}\"}}");
    let backends = list("{\"service\":\"a\",\"weight\":1}", 7_500);
    let split = format!("\"spec\":{{\"service\":\"a\",\"backends\":{backends}}}");
    for (what, stored) in [
        (
            "60 pods of 1.3 MB of environment",
            Stored::new("/api/v1/pods", 60, environment),
        ),
        (
            "200 pods of as many volumes as are kept",
            Stored::new("/api/v1/pods", 200, volumes),
        ),
        (
            "200 pods of as many containers as are kept",
            Stored::new("/api/v1/pods", 200, containers),
        ),
        (
            "20 splits of as many backends as are kept",
            Stored::new("/apis/split.smi-spec.io/v1alpha4/trafficsplits", 20, split),
        ),
        (
            "100 ConfigMaps of 1 MiB",
            Stored::new("/api/v1/configmaps", 100, text),
        ),
    ] {
        let (path, count) = (stored.path, stored.count);
        let (peak, known) = peak(with(vec![stored])).await;
        assert!(
            known == count || path != "/api/v1/pods",
            "{what}: {known} are taken in"
        );
        println!("{what}: {} KiB", peak / 1024);
        assert!(peak < MOST, "{what}: {peak}");
    }
}
