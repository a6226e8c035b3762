//! Who calls the operator's ports, over a new connection for each call: the worst that a caller can be in.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use smilax_core::workload_connection::CERTIFICATE_PATH;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::Port;
use crate::figures::Service;
use crate::tls;

/// Calls a second, begun on schedule.
const RATE: u32 = 20;
/// After which a call counts as lost.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes of a response at most.
const LONGEST: usize = 1024 * 1024;

type Call = Request<Full<Bytes>>;

/// Calls for so long.
pub(super) async fn run(port: Port, address: SocketAddr, lasts: Duration) -> anyhow::Result<Service> {
    let mut calls = JoinSet::new();
    let mut due = tokio::time::interval(Duration::from_secs(1) / RATE);
    let from = Instant::now();
    while from.elapsed() < lasts {
        due.tick().await;
        calls.spawn(async move {
            let from = Instant::now();
            let done = tokio::time::timeout(TIMEOUT, call(port, address)).await;
            let took = from.elapsed().as_secs_f64() * 1000.0;
            match done {
                Ok(Ok(())) => Ok(took),
                Ok(Err(error)) => Err(format!("{error:#}")),
                Err(_) => Err("no answer in time".to_owned()),
            }
        });
    }
    let all = calls.join_all().await;
    let durations: Vec<_> = all.iter().map(|one| one.as_ref().ok().copied()).collect();
    Ok(Service {
        failure: all.into_iter().find_map(Result::err),
        ..Service::of_durations(&durations)
    })
}

/// Makes one call, and fails when it is not answered as it must be.
async fn call(port: Port, address: SocketAddr) -> anyhow::Result<()> {
    let stream = TcpStream::connect(address).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let response = match port {
        Port::Health => send_http1(stream, request("GET", "/healthz", &Value::Null)?).await?,
        Port::Webhooks => {
            let stream = tls::client(None, b"http/1.1")?
                .connect(tls::any_name(), stream)
                .await?;
            send_http1(stream, request("POST", "/inject", &review())?).await?
        }
        Port::Workloads => {
            let stream = tls::client(None, b"h2")?.connect(tls::any_name(), stream).await?;
            send_http2(stream, request("POST", CERTIFICATE_PATH, &json!({}))?).await?
        }
    };
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST).collect().await;
    let body = body.map_err(anyhow::Error::from_boxed)?.to_bytes();
    match port {
        Port::Health => ensure!(status == StatusCode::OK, "status {status}"),
        Port::Webhooks => {
            let review: Value = serde_json::from_slice(&body).context("not a review")?;
            let patch = review.pointer("/response/patch");
            ensure!(patch.is_some(), "the pod is not injected: {review}");
        }
        // Nothing was asked for, so a refusal that names it is the answer.
        Port::Workloads => ensure!(status.is_client_error(), "status {status}"),
    }
    Ok(())
}

async fn send_http1<S>(stream: S, call: Call) -> anyhow::Result<Response<Incoming>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(call).await?)
}

async fn send_http2<S>(stream: S, call: Call) -> anyhow::Result<Response<Incoming>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(call).await?)
}

fn request(method: &str, path: &str, content: &Value) -> anyhow::Result<Call> {
    let body = if content.is_null() {
        Bytes::new()
    } else {
        Bytes::from(serde_json::to_vec(content)?)
    };
    // HTTP/2 takes the authority out of the URI, HTTP/1 the header.
    let request = Request::builder()
        .method(method)
        .uri(format!("https://operator{path}"))
        .header(http::header::HOST, "operator")
        .header(http::header::CONTENT_TYPE, "application/json");
    Ok(request.body(Full::new(body))?)
}

/// What the API server asks when a pod is made in the victim's namespace.
fn review() -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "operation": "CREATE", "namespace": "shop", "name": "web-9", "dryRun": true,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "userInfo": {"username": "deployer"},
            "object": super::objects::pod("web-9"),
        },
    })
}
