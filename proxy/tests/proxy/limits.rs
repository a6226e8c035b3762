//! How much of headers and trailers is taken, and what becomes of the rest.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use smilax_core::config::Protocol;
use tokio::net::TcpStream;

use crate::support::client::read;
use crate::support::mesh::Mesh;
use crate::support::server::{Body, Server, empty, frames, full};
use crate::support::{Net, TestProxy, soon};

/// Headers of a message at most, as the documentation says.
const MAX: usize = 1000;
/// Headers that messages of these tests have besides.
const OTHERS: usize = 2;

fn numbered(count: usize) -> HeaderMap {
    (0..count)
        .map(|number| {
            let name = HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
            (name, HeaderValue::from(number))
        })
        .collect()
}

fn large(length: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-large", "y".repeat(length).parse().unwrap());
    headers
}

/// A server that takes more than the proxy does.
async fn generous<H, F>(address: SocketAddr, handler: H) -> Server
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    Server::tcp(address, move |stream| {
        let handler = handler.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().max_headers(2 * MAX);
            builder.http2().max_header_list_size(1 << 24);
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await
}

/// Answers how many headers a request has, with as many as its path says.
async fn counting(address: SocketAddr) -> Server {
    generous(address, |request| async move {
        let asked = request.uri().path().trim_start_matches('/').parse().unwrap_or(0);
        let mut response = Response::new(full(request.headers().len().to_string()));
        response.headers_mut().extend(numbered(asked));
        response
    })
    .await
}

fn asking(path: usize, headers: HeaderMap) -> Request<Body> {
    let mut request = Request::get(format!("http://web/{path}"))
        .header("host", "web")
        .body(empty())
        .unwrap();
    request.headers_mut().extend(headers);
    request
}

/// A request over HTTP/1, by a client that takes more than the proxy does.
async fn over_http1(address: SocketAddr, mut request: Request<Body>) -> hyper::Result<Response<Incoming>> {
    *request.uri_mut() = request.uri().path().parse().unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = http1::Builder::new();
    builder.max_headers(2 * MAX).max_header_size(1 << 20);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    soon("the response begins", sender.send_request(request)).await
}

/// The same over HTTP/2.
async fn over_http2(address: SocketAddr, mut request: Request<Body>) -> hyper::Result<Response<Incoming>> {
    request.headers_mut().remove("host");
    request.headers_mut().remove("connection");
    let stream = TcpStream::connect(address).await.unwrap();
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_header_list_size(1 << 24);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    soon("the response begins", sender.send_request(request)).await
}

async fn http1(address: SocketAddr, request: Request<Body>) -> (StatusCode, String) {
    let answer = read(over_http1(address, request).await.unwrap()).await;
    (answer.status, answer.text)
}

async fn http2(address: SocketAddr, request: Request<Body>) -> (StatusCode, String) {
    let answer = read(over_http2(address, request).await.unwrap()).await;
    (answer.status, answer.text)
}

/// Holds that as many headers go both ways as may, and no more.
async fn bounds(address: SocketAddr) {
    for _ in 0..2 {
        let many = MAX - OTHERS;
        let (status, seen) = http1(address, asking(many, numbered(many))).await;
        assert_eq!(status, StatusCode::OK, "{seen}");
        assert!(seen.parse::<usize>().unwrap() > many, "{seen}");
        let (status, seen) = http2(address, asking(many, numbered(many))).await;
        assert_eq!(status, StatusCode::OK, "{seen}");
        assert!(seen.parse::<usize>().unwrap() >= many, "{seen}");
    }
    let more = || numbered(MAX + 1);
    let too_large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    assert_eq!(http1(address, asking(0, more())).await.0, too_large);
    assert_eq!(http2(address, asking(0, more())).await.0, too_large);
    assert_eq!(http2(address, asking(0, large(100_000))).await.0, too_large);
    let response = MAX + 100;
    let answer = http1(address, asking(response, HeaderMap::new())).await;
    assert_eq!(answer.0, StatusCode::BAD_GATEWAY, "{}", answer.1);
    let answer = http2(address, asking(response, HeaderMap::new())).await;
    assert_eq!(answer.0, StatusCode::BAD_GATEWAY, "{}", answer.1);
}

#[tokio::test]
async fn d16_a_thousand_headers_go_both_ways_and_no_more() {
    let net = Net::new();
    let _web = counting(net.at(1)).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    bounds(proxy.outbound_address()).await;
}

#[tokio::test]
async fn d16_a_thousand_headers_go_both_ways_between_proxies_and_no_more() {
    let mesh = Mesh::new();
    let _app = counting(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    bounds(client.outbound_address()).await;
}

/// Answers with trailers as large as the path says, and with how large those of the request are.
async fn trailing(address: SocketAddr) -> Server {
    generous(address, |request| async move {
        let asked = request.uri().path().trim_start_matches('/').parse().unwrap();
        let sent = match request.into_body().collect().await {
            Ok(body) => body.trailers().map_or(0, size),
            Err(_) => usize::MAX,
        };
        let mut response = Response::new(frames(vec![
            Frame::data(Bytes::from(format!("{sent:>20}"))),
            Frame::trailers(large(asked)),
        ]));
        let headers = response.headers_mut();
        headers.insert("trailer", HeaderValue::from_static("x-large"));
        response
    })
    .await
}

fn size(trailers: &HeaderMap) -> usize {
    trailers.get("x-large").map_or(0, HeaderValue::len)
}

fn with_trailers(sent: usize, asked: usize) -> Request<Body> {
    Request::post(format!("http://web/{asked}"))
        .header("host", "web")
        .header("connection", "te")
        .header("te", "trailers")
        .header("trailer", "x-large")
        .body(frames(vec![
            Frame::data(Bytes::from_static(b"x")),
            Frame::trailers(large(sent)),
        ]))
        .unwrap()
}

/// What came of trailers of this size each way: a response, if it was whole, has them whole.
async fn arrive_or_fail(address: SocketAddr, sizes: &[(usize, usize)]) {
    for &(sent, asked) in sizes {
        let answers = [
            over_http1(address, with_trailers(sent, asked)).await,
            over_http2(address, with_trailers(sent, asked)).await,
        ];
        for answer in answers {
            let Ok(answer) = answer else { continue };
            if answer.status() != StatusCode::OK {
                continue;
            }
            let Ok(body) = answer.into_body().collect().await else {
                continue;
            };
            let trailers = body.trailers().map_or(0, size);
            assert_eq!(trailers, asked, "of the response");
            let seen = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
            if seen != usize::MAX.to_string() {
                assert_eq!(seen, sent.to_string(), "of the request");
            }
        }
    }
}

/// Around every limit: ours, those of hyper and h2, and those of frames.
const SIZES: [usize; 7] = [40_000, 70_000, 100_000, 140_000, 200_000, 400_000, 2_000_000];

#[tokio::test]
async fn trailers_arrive_whole_or_the_message_fails() {
    let net = Net::new();
    let _web = trailing(net.at(1)).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    for size in SIZES {
        arrive_or_fail(proxy.outbound_address(), &[(size, 10), (10, size)]).await;
    }
}

#[tokio::test]
async fn trailers_arrive_whole_between_proxies_or_the_message_fails() {
    let mesh = Mesh::new();
    let _app = trailing(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    for size in SIZES {
        arrive_or_fail(client.outbound_address(), &[(size, 10), (10, size)]).await;
    }
}
