//! The router.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use serde::Serialize;

use super::{Peer, Shared};
use crate::answer::{Answer, CONNECTION_HEADER, NAME_HEADER, POD_HEADER};
use crate::fault::Fault;
use crate::grpc::{self, Who};
use crate::load::LoadOptions;

/// No body that is read or made is longer, in bytes.
const LARGEST_BODY: usize = 16 * 1024 * 1024;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Answers one request, and says in the headers who did.
pub(super) async fn answer(request: Request<Incoming>, peer: Peer, shared: &Shared) -> Response<Body> {
    let version = request.version();
    let mut response = if is_own(request.uri().path()) {
        route(request, peer, shared).await
    } else {
        let _held = shared.injection.begin();
        faulty(request, peer, shared).await
    };
    if shared.drains.load(Ordering::Relaxed) && version != Version::HTTP_2 {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    let headers = response.headers_mut();
    let mut say = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    };
    say(NAME_HEADER, &shared.identity.name);
    say(POD_HEADER, &shared.identity.pod);
    say(CONNECTION_HEADER, &peer.connection.to_string());
    response
}

/// Whether a path is of probes or of the verbs of this pod, which no fault concerns.
fn is_own(path: &str) -> bool {
    let first = path.trim_start_matches('/').split('/').next();
    path == grpc::HEALTH_CHECK || matches!(first, Some("healthz" | "loads" | "fault"))
}

/// Answers as the fault of this server has it.
async fn faulty(request: Request<Incoming>, peer: Peer, shared: &Shared) -> Response<Body> {
    let fault = shared.injection.fault();
    match fault {
        Fault::Abort if is_grpc(request.headers()) => unavailable(),
        Fault::Abort => text(StatusCode::INTERNAL_SERVER_ERROR, "a fault was injected"),
        Fault::Hang => std::future::pending().await,
        Fault::None | Fault::Delay(_) => {
            let time = shared.latency + fault.delay();
            // Even a sleep of nothing lasts until the timer's next millisecond.
            if !time.is_zero() {
                tokio::time::sleep(time).await;
            }
            route(request, peer, shared).await
        }
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Only trailers, as gRPC calls it: the status is in the head.
fn unavailable() -> Response<Body> {
    let mut response = full(StatusCode::OK, Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("14"));
    headers.insert("grpc-message", HeaderValue::from_static("a fault was injected"));
    response
}

async fn inject(request: Request<Incoming>, shared: &Shared) -> Response<Body> {
    if *request.method() != Method::PUT {
        return text(StatusCode::METHOD_NOT_ALLOWED, "PUT /fault");
    }
    let body = match Limited::new(request.into_body(), LARGEST_BODY).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => return text(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    match serde_json::from_slice::<Fault>(&body) {
        Ok(fault) => json(StatusCode::OK, &shared.injection.set(fault)),
        Err(error) => text(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn route(request: Request<Incoming>, peer: Peer, shared: &Shared) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let mut segments = path.trim_start_matches('/').split('/');
    let first = segments.next().unwrap_or_default();
    let number = segments.next().and_then(|segment| segment.parse::<u64>().ok());
    let second = segments.next().and_then(|segment| segment.parse::<u64>().ok());
    match (first, number) {
        _ if path == grpc::HEALTH_CHECK => unary(&grpc::health(shared.healthy())),
        _ if path == grpc::WHO => unary(&who(shared)),
        ("healthz", _) if shared.healthy() => text(StatusCode::OK, "ok"),
        ("healthz", _) => text(StatusCode::SERVICE_UNAVAILABLE, "not yet"),
        ("metrics", _) => metrics(),
        ("status", Some(code)) => status(code),
        ("redirect", _) => redirect(&request),
        ("delay", Some(millis)) => {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            describe(request, peer, shared).await
        }
        ("bytes", Some(count)) => bytes(count),
        ("stream", _) => chunks(number.unwrap_or(10), second.unwrap_or(10)),
        ("echo", _) => echo(request).await,
        ("upgrade", _) => upgrade(request),
        ("fault", _) => inject(request, shared).await,
        ("loads", id) => loads(request, id, shared).await,
        _ => describe(request, peer, shared).await,
    }
}

async fn describe(request: Request<Incoming>, peer: Peer, shared: &Shared) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body_bytes = Limited::new(body, LARGEST_BODY)
        .collect()
        .await
        .map_or(0, |body| body.to_bytes().len());
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in &head.headers {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.to_string()).or_default().push(value);
    }
    let host = head
        .uri
        .authority()
        .map(ToString::to_string)
        .or_else(|| headers.get("host").map(|values| values.join(",")));
    json(
        StatusCode::OK,
        &Answer {
            name: shared.identity.name.clone(),
            pod: shared.identity.pod.clone(),
            method: head.method.to_string(),
            path: head
                .uri
                .path_and_query()
                .map(ToString::to_string)
                .unwrap_or_default(),
            host: host.unwrap_or_default(),
            headers,
            protocol: format!("{:?}", head.version),
            tls: peer.tls,
            connection: peer.connection,
            remote: peer.address.to_string(),
            body_bytes,
        },
    )
}

fn status(code: u64) -> Response<Body> {
    let code = u16::try_from(code)
        .ok()
        .and_then(|code| StatusCode::from_u16(code).ok());
    // 1xx is no final answer.
    match code.filter(|code| code.as_u16() >= 200) {
        Some(code) => text(code, ""),
        None => text(StatusCode::BAD_REQUEST, "expected /status/200 to /status/999"),
    }
}

/// Redirects to what follows `?to=`, and to itself without it.
fn redirect(request: &Request<Incoming>) -> Response<Body> {
    let to = request.uri().query().and_then(|query| query.strip_prefix("to="));
    let location = HeaderValue::from_str(to.unwrap_or("/redirect"));
    let mut response = text(StatusCode::FOUND, "elsewhere");
    response
        .headers_mut()
        .extend(location.ok().map(|location| (header::LOCATION, location)));
    response
}

fn bytes(count: u64) -> Response<Body> {
    match usize::try_from(count) {
        Ok(count) if count <= LARGEST_BODY => full(StatusCode::OK, Bytes::from(vec![b'x'; count])),
        _ => text(StatusCode::BAD_REQUEST, "too many bytes"),
    }
}

fn chunks(count: u64, every_ms: u64) -> Response<Body> {
    let chunks = stream::iter(0..count).then(move |number| async move {
        tokio::time::sleep(Duration::from_millis(every_ms)).await;
        Ok(Frame::data(Bytes::from(format!("{number}\n"))))
    });
    Response::new(StreamBody::new(chunks).boxed_unsync())
}

async fn echo(request: Request<Incoming>) -> Response<Body> {
    let content_type = request.headers().get(header::CONTENT_TYPE).cloned();
    match Limited::new(request.into_body(), LARGEST_BODY).collect().await {
        Ok(body) => {
            let mut response = full(StatusCode::OK, body.to_bytes());
            response
                .headers_mut()
                .extend(content_type.map(|value| (header::CONTENT_TYPE, value)));
            response
        }
        Err(error) => text(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

fn upgrade(mut request: Request<Incoming>) -> Response<Body> {
    let Some(protocol) = request.headers().get(header::UPGRADE).cloned() else {
        return text(StatusCode::UPGRADE_REQUIRED, "expected a header Upgrade");
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(stream) = upgrade.await {
            let (mut read, mut write) = tokio::io::split(TokioIo::new(stream));
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    });
    let mut response = text(StatusCode::SWITCHING_PROTOCOLS, "");
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
    response
}

async fn loads(request: Request<Incoming>, id: Option<u64>, shared: &Shared) -> Response<Body> {
    let unknown = || text(StatusCode::NOT_FOUND, "no such load");
    match (request.method().clone(), id) {
        (Method::POST, None) => {
            let body = match Limited::new(request.into_body(), LARGEST_BODY).collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => return text(StatusCode::BAD_REQUEST, &error.to_string()),
            };
            match serde_json::from_slice::<LoadOptions>(&body) {
                Ok(options) => json(StatusCode::OK, &shared.loads.start(options)),
                Err(error) => text(StatusCode::BAD_REQUEST, &error.to_string()),
            }
        }
        (Method::GET, Some(id)) => match shared.loads.look(id) {
            Some(report) => json(StatusCode::OK, &report),
            None => unknown(),
        },
        (Method::DELETE, Some(id)) => match shared.loads.stop(id).await {
            Some(Ok(report)) => json(StatusCode::OK, &report),
            Some(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, &format!("{error:#}")),
            None => unknown(),
        },
        _ => text(
            StatusCode::METHOD_NOT_ALLOWED,
            "POST /loads, GET or DELETE /loads/ID",
        ),
    }
}

fn who(shared: &Shared) -> Vec<u8> {
    Who {
        name: shared.identity.name.clone(),
        pod: shared.identity.pod.clone(),
    }
    .encode()
}

fn unary(message: &[u8]) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(grpc::frame(message)), Frame::trailers(trailers)];
    let body = StreamBody::new(stream::iter(frames.into_iter().map(Ok)));
    let mut response = Response::new(body.boxed_unsync());
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<Body> {
    match serde_json::to_vec(value) {
        Ok(body) => {
            let mut response = full(status, Bytes::from(body));
            let content_type = HeaderValue::from_static("application/json");
            response.headers_mut().insert(header::CONTENT_TYPE, content_type);
            response
        }
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// Metrics of an application, as client libraries of Prometheus write them.
fn metrics() -> Response<Body> {
    let mut page = text(StatusCode::OK, "# TYPE testapp_up gauge\ntestapp_up 1\n");
    let form = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    page.headers_mut().insert(header::CONTENT_TYPE, form);
    page
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    full(status, Bytes::from(text.to_owned()))
}

fn full(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response
}
