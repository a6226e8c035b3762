//! Answers to writes hold what somebody else put into the object.

use std::convert::Infallible;

use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::api::{Patch, PatchParams};
use kube::client::Body;
use parking_lot::Mutex;

use super::super::maps::{maps_of, store};
use super::super::status::statuses_of;
use super::*;
use crate::controller::kinds::SmiKind;

/// What was asked, with the body.
type Asked = Arc<Mutex<Vec<(Method, Value)>>>;

/// An API server that answers by the number of the request.
fn answering(answer: impl Fn(usize) -> (u16, String) + Send + Sync + 'static) -> (Client, Asked) {
    let asked = Asked::default();
    let seen = Arc::clone(&asked);
    let client = serving(move |head, body| {
        let number = {
            let mut seen = seen.lock();
            seen.push((head.method.clone(), body));
            seen.len()
        };
        answer(number)
    });
    (client, asked)
}

/// An API server that answers by the request.
pub(super) fn serving(answer: impl Fn(&Parts, Value) -> (u16, String) + Send + Sync + 'static) -> Client {
    let answer = Arc::new(answer);
    let server = tower::service_fn(move |request: Request<Body>| {
        let answer = Arc::clone(&answer);
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = serde_json::from_slice(&body).unwrap_or_default();
            let (status, text) = answer(&head, body);
            let response = Response::builder()
                .status(status)
                .body(Body::from(text.into_bytes()));
            Ok::<_, Infallible>(response.unwrap())
        }
    });
    Client::new(server, "default")
}

/// A ConfigMap with our policy and so many keys of somebody else.
fn crowded(keys: usize) -> String {
    let mut data: BTreeMap<String, &str> = (0..keys).map(|key| (format!("key{key}"), "")).collect();
    data.insert(POLICY.to_owned(), "{}");
    json!({"metadata": {"name": WEB, "namespace": "shop", "uid": "u", "resourceVersion": "8"}, "data": data})
        .to_string()
}

fn desired() -> Value {
    json!({"metadata": {"name": WEB}, "data": {POLICY: "{}"}})
}

fn methods(asked: &Asked) -> Vec<Method> {
    asked.lock().iter().map(|(method, _)| method.clone()).collect()
}

#[tokio::test]
async fn s45_keys_of_somebody_else_go_with_the_object_and_none_is_named() {
    let (client, asked) = answering(|number| match number {
        1 => (200, crowded(60_000)),
        _ => (200, crowded(0)),
    });
    let written = store(&maps_of(&client, "shop"), WEB, Some("7"), desired())
        .await
        .unwrap();
    assert!(!stored_map(&written).foreign);
    let all = [Method::PATCH, Method::PATCH, Method::DELETE, Method::PATCH];
    assert_eq!(methods(&asked), all);
    let asked = asked.lock();
    let exactly = json!({"uid": "u", "resourceVersion": "8"});
    assert_eq!(asked[2].1["preconditions"], exactly);
    assert_eq!(asked[0].1["metadata"]["resourceVersion"], "7");
    assert_eq!(asked[3].1["metadata"], json!({"name": WEB}));
    assert!(asked.iter().all(|(_, body)| !body.to_string().contains("key1")));
}

#[tokio::test]
async fn s45_a_configmap_without_room_for_ours_is_replaced() {
    let (client, asked) = answering(|number| match number {
        1 => {
            let status = json!({"kind": "Status", "status": "Failure", "code": 422, "reason": "Invalid", "message": "Too long"});
            (422, status.to_string())
        }
        2 => (200, crowded(60_000)),
        _ => (200, crowded(0)),
    });
    store(&maps_of(&client, "shop"), WEB, Some("7"), desired())
        .await
        .unwrap();
    let all = [
        Method::PATCH,
        Method::GET,
        Method::PATCH,
        Method::DELETE,
        Method::PATCH,
    ];
    assert_eq!(methods(&asked), all);
}

#[tokio::test]
async fn s45_what_is_read_of_an_answer_is_one_key_of_all_that_are_not_ours() {
    let (client, _) = answering(|_| (200, crowded(60_000)));
    let found = maps_of(&client, "shop").get(WEB).await.unwrap();
    assert_eq!(found.data.unwrap().len(), 2);
}

#[tokio::test]
async fn s46_a_status_is_written_however_deep_the_rest_of_the_object_is() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let (client, _) = answering(move |_| {
        let object = json!({
            "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
            "metadata": {"name": "web", "uid": "u"}, "spec": "DEEP", "status": {"observedGeneration": 3},
        });
        (200, object.to_string().replace("\"DEEP\"", &deep))
    });
    let api = statuses_of(&client, SmiKind::HttpRouteGroup, "shop");
    let status = Patch::Apply(json!({"status": {}}));
    let written = api
        .patch_status("web", &PatchParams::apply("test"), &status)
        .await
        .unwrap();
    assert_eq!(written.data, json!({"status": {"observedGeneration": 3}}));
}
