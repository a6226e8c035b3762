//! Endpoints that fail, and shares of those that do not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use smilax_core::config::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{connected, endpoint, operator, tell};
use crate::support::client::{Http1, Http2, request};
use crate::support::operator::Operator;
use crate::support::server::{Body, Server, empty, frames, text};
use crate::support::{Net, TestProxy};

/// How long an answer of a healthy server takes.
const WORK: Duration = Duration::from_millis(20);
/// The share of a failing endpoint is small after this time at the latest.
const SETTLED: Duration = Duration::from_secs(5);
/// A healthy endpoint has its share again after this time at the latest.
const RECOVERED: Duration = Duration::from_secs(10);

/// A client of a proxy that knows of endpoints at 20, 21 and so on.
struct Caller {
    client: Http1,
    proxy: TestProxy,
    _operator: Operator,
    _virtual_address: Server,
}

impl Caller {
    async fn of(net: Net, endpoints: u8) -> Self {
        let operator = operator().await;
        let virtual_address = Server::named(net.at(2), "virtual").await;
        let proxy = connected(net, &operator, Protocol::Http).await;
        let mut client = Http1::connect(proxy.outbound_address()).await;
        client.get("/").await;
        let endpoints = (20..20 + endpoints).map(|last| endpoint(net, last)).collect();
        tell(&proxy, &operator, endpoints).await;
        Self {
            client,
            proxy,
            _operator: operator,
            _virtual_address: virtual_address,
        }
    }

    async fn get(&mut self, count: usize) {
        for _ in 0..count {
            self.client.get("/").await;
        }
    }

    async fn get_for(&mut self, duration: Duration) {
        let from = Instant::now();
        while from.elapsed() < duration {
            self.client.get("/").await;
        }
    }
}

fn flag(value: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(value))
}

/// A server that takes a while as long as it is healthy, and otherwise answers `failure` at once.
async fn server(net: Net, last: u8, healthy: &Arc<AtomicBool>, failure: fn() -> Response<Body>) -> Server {
    let healthy = Arc::clone(healthy);
    Server::http(net.at(last), move |request| {
        let healthy = Arc::clone(&healthy);
        async move {
            let _ = request.into_body().collect().await;
            if healthy.load(Ordering::SeqCst) {
                tokio::time::sleep(WORK).await;
                text("ok")
            } else {
                failure()
            }
        }
    })
    .await
}

fn status(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = status;
    response
}

/// A response of gRPC that ends with these trailers.
fn grpc(trailers: &[(&'static str, &'static str)]) -> Response<Body> {
    let mut ending = HeaderMap::new();
    for (name, value) in trailers {
        ending.insert(*name, value.parse().unwrap());
    }
    let mut response = Response::new(frames(vec![Frame::data("x".into()), Frame::trailers(ending)]));
    response
        .headers_mut()
        .insert("content-type", "application/grpc".parse().unwrap());
    response
}

fn internal_error() -> Response<Body> {
    status(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Requests to a failing endpoint, and to a healthy one beside it, of 200 requests one after the other.
async fn shares_of(failure: fn() -> Response<Body>) -> (usize, usize) {
    let net = Net::new();
    let failing = server(net, 20, &flag(false), failure).await;
    let healthy = server(net, 21, &flag(true), failure).await;
    let caller = Caller::of(net, 2).await;
    let mut client = Http2::connect(caller.proxy.outbound_address()).await;
    for _ in 0..200 {
        let request = Request::post("http://web/shop.Cart/Add")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(empty())
            .unwrap();
        client.send(request).await;
    }
    (failing.requests(), healthy.requests())
}

#[tokio::test]
async fn an_endpoint_that_fails_at_once_gets_little() {
    for failure in [
        internal_error,
        || status(StatusCode::SERVICE_UNAVAILABLE),
        || grpc(&[("grpc-status", "14")]),
        || grpc(&[("grpc-status", "13")]),
        || grpc(&[("no-status", "x")]),
    ] {
        let (failing, healthy) = shares_of(failure).await;
        assert!(
            failing * 9 < healthy,
            "{failing} to the failing one, {healthy} to the other"
        );
    }
}

#[tokio::test]
async fn an_overloaded_endpoint_gets_less_but_is_not_ejected() {
    for failure in [
        || status(StatusCode::TOO_MANY_REQUESTS),
        || grpc(&[("grpc-status", "8")]),
    ] {
        let (overloaded, healthy) = shares_of(failure).await;
        assert!(overloaded * 2 < healthy, "{overloaded} and {healthy}");
        assert!(overloaded > 0);
    }
}

#[tokio::test]
async fn an_endpoint_that_breaks_its_responses_off_gets_little() {
    let net = Net::new();
    let broken = Server::tcp(net.at(20), |mut stream| async move {
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nx")
            .await;
    })
    .await;
    let healthy = server(net, 21, &flag(true), internal_error).await;
    let caller = Caller::of(net, 2).await;
    for _ in 0..200 {
        let mut client = Http1::connect(caller.proxy.outbound_address()).await;
        let response = client.start(request("GET", "/")).await;
        if let Ok(response) = response {
            let _ = response.into_body().collect().await;
        }
    }
    let (broken, healthy) = (broken.connections(), healthy.requests());
    assert!(
        broken * 9 < healthy,
        "{broken} to the broken one, {healthy} to the other"
    );
}

#[tokio::test]
async fn a_failing_endpoint_gets_its_share_back_when_it_is_well() {
    let net = Net::new();
    let well = flag(false);
    let sick = server(net, 20, &well, internal_error).await;
    let healthy = server(net, 21, &flag(true), internal_error).await;
    let mut caller = Caller::of(net, 2).await;
    caller.get_for(SETTLED).await;
    let first = (sick.requests(), healthy.requests());
    assert!(first.0 < first.1, "{first:?}");
    caller.get(200).await;
    let settled = (sick.requests() - first.0, healthy.requests() - first.1);
    assert!(settled.0 * 19 < settled.1, "less than 5 %: {settled:?}");
    well.store(true, Ordering::SeqCst);
    caller.get_for(RECOVERED).await;
    let before = (sick.requests(), healthy.requests());
    caller.get(100).await;
    let recovered = (sick.requests() - before.0, healthy.requests() - before.1);
    assert!((35..=65).contains(&recovered.0), "{recovered:?}");
}

#[tokio::test]
async fn an_endpoint_whose_callers_give_up_gets_little() {
    let net = Net::new();
    let hanging = Arc::new(AtomicUsize::new(0));
    let hangs = Arc::clone(&hanging);
    let _hanging = Server::http(net.at(20), move |_| {
        hangs.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<Response<Body>>()
    })
    .await;
    let healthy = server(net, 21, &flag(true), internal_error).await;
    let caller = Caller::of(net, 2).await;
    for _ in 0..100 {
        let mut client = Http1::connect(caller.proxy.outbound_address()).await;
        let _ = tokio::time::timeout(WORK * 20, client.start(request("GET", "/"))).await;
    }
    let (hanging, healthy) = (hanging.load(Ordering::SeqCst), healthy.requests());
    assert!(
        hanging * 5 < healthy,
        "{hanging} to the hanging one, {healthy} to the other"
    );
}

#[tokio::test]
async fn equal_endpoints_get_even_shares_of_few_sequential_requests() {
    let net = Net::new();
    let servers = [
        server(net, 20, &flag(true), internal_error).await,
        server(net, 21, &flag(true), internal_error).await,
    ];
    let mut caller = Caller::of(net, 2).await;
    let mut before = [0; 2];
    for round in 0..20 {
        caller.get(200 / 4).await;
        let now = servers.each_ref().map(Server::requests);
        let share = (now[0] - before[0]) * 100 / 50;
        assert!((35..=65).contains(&share), "round {round}: {share} %");
        before = now;
    }
}
