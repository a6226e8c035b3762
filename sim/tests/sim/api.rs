//! The API server, as far as the workload server asks it: tokens, pods, and who leads.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use smilax_sim::plan::Host;

use crate::cluster::pod;
use crate::network::address;
use crate::policy::{INSTALLATION, NAMESPACE};
use crate::world::World;

/// A client of it.
pub(crate) fn client(world: &Arc<World>) -> Client {
    let world = Arc::clone(world);
    let service = tower::service_fn(move |request: Request<Body>| {
        let world = Arc::clone(&world);
        async move { Ok::<_, Infallible>(answer(&world, request).await) }
    });
    Client::new(service, "default")
}

async fn answer(world: &World, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let found = if head.method == Method::POST {
        Some(review(world, &serde_json::from_slice(&body).unwrap()))
    } else {
        let path = head.uri.path();
        match head.uri.query().and_then(name_selected) {
            Some(name) => {
                let items: Vec<Value> = object(world, &format!("{path}/{name}")).into_iter().collect();
                Some(json!({"metadata": {}, "items": items}))
            }
            None => object(world, path),
        }
    };
    let (status, answer) = match found {
        Some(found) => (StatusCode::OK, found),
        None => (
            StatusCode::NOT_FOUND,
            json!({"kind": "Status", "status": "Failure", "code": 404, "reason": "NotFound", "message": ""}),
        ),
    };
    let body = Body::from(serde_json::to_vec(&answer).unwrap());
    Response::builder().status(status).body(body).unwrap()
}

/// A token is the UID of its pod.
fn review(world: &World, question: &Value) -> Value {
    let token = question["spec"]["token"].as_str().unwrap();
    let status = match world.pod_of(token) {
        Some((name, workload)) => json!({
            "authenticated": true,
            "audiences": question["spec"]["audiences"],
            "user": {
                "username": format!("system:serviceaccount:{}:{}", workload.namespace, workload.account),
                "extra": {
                    "authentication.kubernetes.io/pod-name": [name],
                    "authentication.kubernetes.io/pod-uid": [token],
                },
            },
        }),
        None => json!({"authenticated": false}),
    };
    json!({"spec": {}, "status": status})
}

/// The only object that a list asks for.
fn name_selected(query: &str) -> Option<&str> {
    let mut parts = query.split('&');
    parts.find_map(|part| part.strip_prefix("fieldSelector=metadata.name%3D"))
}

fn object(world: &World, path: &str) -> Option<Value> {
    let name = path.rsplit('/').next()?;
    if path.contains("/leases/") {
        return Some(json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
            "spec": {"holderIdentity": format!("operator-{}_1", world.leader())},
        }));
    }
    if path.contains(&format!("/namespaces/{INSTALLATION}/pods/")) {
        let number = name.strip_prefix("operator-")?.parse().ok()?;
        return Some(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
            "status": {"podIP": address(Host::Replica(number)).to_string()},
        }));
    }
    if path.contains(&format!("/namespaces/{NAMESPACE}/pods/")) {
        let (uid, workload) = world.pod_named(name)?;
        return Some(pod(name, &uid, &workload));
    }
    None
}
