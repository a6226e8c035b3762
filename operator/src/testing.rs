//! An API server that keeps objects in memory and remembers what was asked of it.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};

#[derive(Clone, Default)]
pub(crate) struct Api(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    writes: Vec<String>,
    version: u64,
    /// Created by somebody else just before our next POST.
    overtaking: Option<(String, Value)>,
    /// How many of the next writes fail.
    refused: u32,
}

impl Api {
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "default")
    }

    pub(crate) fn put(&self, path: &str, object: Value) {
        self.0.lock().objects.insert(path.to_owned(), object);
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        self.0.lock().objects.get(path).cloned()
    }

    /// What lies below this path.
    pub(crate) fn created(&self, path: &str) -> Vec<Value> {
        let state = self.0.lock();
        let below = state
            .objects
            .iter()
            .filter(|(at, _)| at.starts_with(&format!("{path}/")));
        below.map(|(_, object)| object.clone()).collect()
    }

    pub(crate) fn remove(&self, path: &str) {
        self.0.lock().objects.remove(path);
    }

    pub(crate) fn overtake(&self, path: &str, object: Value) {
        self.0.lock().overtaking = Some((path.to_owned(), object));
    }

    /// The next writes fail.
    pub(crate) fn refuse(&self, count: u32) {
        self.0.lock().refused = count;
    }

    /// What was written since this was asked last.
    pub(crate) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().writes)
    }

    async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let mut state = self.0.lock();
        let path = head.uri.path().to_owned();
        if head.method != Method::GET {
            state.writes.push(format!("{} {path}", head.method));
            if state.refused > 0 {
                state.refused -= 1;
                let (status, answer) = failure(StatusCode::INTERNAL_SERVER_ERROR);
                let body = Body::from(serde_json::to_vec(&answer).unwrap());
                return Response::builder().status(status).body(body).unwrap();
            }
        }
        let (status, answer) = state.handle(&head.method, &path, body);
        Response::builder()
            .status(status)
            .body(Body::from(serde_json::to_vec(&answer).unwrap()))
            .unwrap()
    }
}

impl State {
    fn handle(&mut self, method: &Method, path: &str, body: Value) -> (StatusCode, Value) {
        self.version += 1;
        let version = json!(self.version.to_string());
        match *method {
            Method::GET => match self.objects.get(path) {
                Some(object) => (StatusCode::OK, object.clone()),
                None => failure(StatusCode::NOT_FOUND),
            },
            Method::POST => {
                let path = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
                if let Some((path, object)) = self.overtaking.take() {
                    self.objects.insert(path, object);
                }
                if self.objects.contains_key(&path) {
                    return failure_with(StatusCode::CONFLICT, "AlreadyExists");
                }
                self.store(path, body, version)
            }
            Method::PUT => match self.objects.get(path) {
                None => failure(StatusCode::NOT_FOUND),
                Some(old) if old["metadata"]["resourceVersion"] != body["metadata"]["resourceVersion"] => {
                    failure(StatusCode::CONFLICT)
                }
                Some(_) => self.store(path.to_owned(), body, version),
            },
            Method::PATCH => {
                let Some(mut object) = self.objects.get(path).cloned() else {
                    return failure(StatusCode::NOT_FOUND);
                };
                if body.is_object() {
                    json_patch::merge(&mut object, &body);
                    return self.store(path.to_owned(), object, version);
                }
                let change: json_patch::Patch = serde_json::from_value(body).unwrap();
                match json_patch::patch(&mut object, &change) {
                    Ok(()) => self.store(path.to_owned(), object, version),
                    Err(_) => failure(StatusCode::UNPROCESSABLE_ENTITY),
                }
            }
            _ => failure(StatusCode::METHOD_NOT_ALLOWED),
        }
    }

    fn store(&mut self, path: String, mut object: Value, version: Value) -> (StatusCode, Value) {
        object["metadata"]["resourceVersion"] = version;
        self.objects.insert(path, object.clone());
        (StatusCode::OK, object)
    }
}

fn failure(status: StatusCode) -> (StatusCode, Value) {
    failure_with(status, status.canonical_reason().unwrap_or_default())
}

fn failure_with(status: StatusCode, reason: &str) -> (StatusCode, Value) {
    let answer = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": status.as_u16(), "reason": reason, "message": "",
    });
    (status, answer)
}
