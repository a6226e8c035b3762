use std::convert::Infallible;

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, WatchParams};
use serde_json::json;

use super::Shape::{Members, Name};
use super::*;

const EXCERPT: Excerpt = Excerpt {
    kind: "Pod",
    shape: Members(&[("metadata", Members(&[("name", Name), ("resourceVersion", Name)]))]),
    bytes: 1024,
};

/// An API server that answers everything with this, in these parts.
fn answering(status: u16, parts: Vec<Result<Bytes, BoxError>>) -> Api<Pod> {
    let parts = Arc::new(Mutex::new(parts));
    let server = service_fn(move |_: Request<Body>| {
        let parts = std::mem::take(&mut *parts.lock());
        let body = StreamBody::new(stream::iter(parts).map(|part| part.map(Frame::data)));
        let response = Response::builder().status(status).body(body).unwrap();
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let whole = Client::new(server, "default");
    Api::all(client(&whole, Arc::new(EXCERPT)))
}

fn parts(text: &str) -> Vec<Result<Bytes, BoxError>> {
    let parts = text.as_bytes().chunks(1000);
    parts.map(|part| Ok(Bytes::copy_from_slice(part))).collect()
}

fn pod(name: &str) -> serde_json::Value {
    json!({"metadata": {"name": name, "resourceVersion": "7", "labels": {"app": "web"}}, "spec": {"nodeName": "x".repeat(5000)}})
}

#[tokio::test]
async fn s28_whoever_lists_sees_excerpts() {
    let list = json!({"metadata": {"resourceVersion": "9"}, "items": [pod("a"), pod("b")]});
    let api = answering(200, parts(&list.to_string()));
    let found = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(found.metadata.resource_version.as_deref(), Some("9"));
    let pod = |name: &str| {
        serde_json::from_value::<Pod>(json!({"metadata": {"name": name, "resourceVersion": "7"}}))
    };
    assert_eq!(found.items[0].metadata, pod("a").unwrap().metadata);
    assert_eq!(found.items.len(), 2);
}

#[tokio::test]
async fn s28_whoever_watches_sees_excerpts() {
    let events = ["a", "b"].map(|name| format!("{}\n", json!({"type": "ADDED", "object": pod(name)})));
    // In the order of the API server, in which the kind comes first.
    let events = events.map(|event| {
        let event: serde_json::Value = serde_json::from_str(&event).unwrap();
        format!("{{\"type\":{},\"object\":{}}}\n", event["type"], event["object"])
    });
    let api = answering(200, parts(&events.concat()));
    let seen = api.watch(&WatchParams::default(), "0").await.unwrap();
    let seen: Vec<_> = seen.boxed().try_collect().await.unwrap();
    assert_eq!(seen.len(), 2);
}

#[tokio::test]
async fn a_refusal_is_told_as_it_is() {
    let status = json!({"kind": "Status", "status": "Failure", "code": 410, "reason": "Expired", "message": "too old"});
    let api = answering(410, parts(&status.to_string()));
    match api.list(&ListParams::default()).await {
        Err(kube::Error::Api(status)) => assert_eq!((status.code, status.message.as_str()), (410, "too old")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_list_that_breaks_off_is_an_error_and_says_why() {
    let list = json!({"items": [pod("a"), pod("b")]}).to_string();
    let mut broken = parts(&list[..6000]);
    assert!(
        answering(200, parts(&list[..6000]))
            .list(&ListParams::default())
            .await
            .is_err()
    );
    broken.push(Err("the connection was reset".into()));
    let error = answering(200, broken)
        .list(&ListParams::default())
        .await
        .unwrap_err();
    let mut texts = Vec::new();
    let mut source: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = source {
        texts.push(error.to_string());
        source = error.source();
    }
    assert!(
        texts.iter().any(|text| text.contains("the connection was reset")),
        "{texts:?}"
    );
}
