//! Clients of HTTP/1 that finish sending and wait for their answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use smilax_core::config::Protocol;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::support::client::{to_end, until};
use crate::support::mesh::Mesh;
use crate::support::server::{Cancelled, Server, full};
use crate::support::{Net, TestProxy, eventually, soon};

/// Sends these bytes, and nothing more.
async fn finished(address: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    stream
}

/// A server that answers with path and body, once it may, also a client that has finished sending, as most do.
async fn slow(address: SocketAddr, may: Arc<Semaphore>) -> Slow {
    let requests = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&requests);
    let server = Server::tcp(address, move |stream| {
        let (may, counted) = (Arc::clone(&may), Arc::clone(&counted));
        async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let may = Arc::clone(&may);
                counted.fetch_add(1, Ordering::SeqCst);
                async move {
                    let path = request.uri().path().to_owned();
                    let body = request.into_body().collect().await?.to_bytes();
                    may.acquire().await.unwrap().forget();
                    let text = format!("{path}<{}>", String::from_utf8_lossy(&body));
                    Ok::<_, hyper::Error>(Response::new(full(text)))
                }
            });
            let _ = http1::Builder::new()
                .half_close(true)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
    })
    .await;
    Slow {
        requests,
        _server: server,
    }
}

struct Slow {
    requests: Arc<AtomicUsize>,
    _server: Server,
}

impl Slow {
    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Holds that a client at this address which finishes sending is answered, whatever it sent, however long that takes.
async fn is_answered(address: SocketAddr, server: &Slow, may: &Semaphore) {
    let get = b"GET /a HTTP/1.1\r\nhost: web\r\n\r\n";
    let post = b"POST /b HTTP/1.1\r\nhost: web\r\ncontent-length: 4\r\n\r\nbody";
    let chunked =
        b"POST /c HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n";
    for (bytes, answer) in [(&get[..], "/a<>"), (post, "/b<body>"), (chunked, "/c<body>")] {
        let before = server.requests();
        let mut stream = finished(address, bytes).await;
        eventually("it is under way", || server.requests() > before).await;
        // Longer than it takes to look again.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        may.add_permits(1);
        let answered = to_end(&mut stream).await;
        assert!(answered.starts_with("HTTP/1.1 200"), "{answered:?}");
        assert!(answered.ends_with(answer), "{answered:?}");
    }
    let mut stream = finished(address, &[&get[..], post, get].concat()).await;
    may.add_permits(3);
    let answered = to_end(&mut stream).await;
    assert_eq!(answered.matches("HTTP/1.1 200").count(), 3, "{answered}");
    assert!(answered.ends_with("/a<>"), "{answered}");
}

#[tokio::test]
async fn a_client_that_finishes_sending_is_answered_by_a_server_outside() {
    let net = Net::new();
    let may = Arc::new(Semaphore::new(0));
    let web = slow(net.at(1), Arc::clone(&may)).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    is_answered(proxy.outbound_address(), &web, &may).await;
}

#[tokio::test]
async fn a_client_that_finishes_sending_is_answered_by_the_application() {
    let net = Net::new();
    let may = Arc::new(Semaphore::new(0));
    let app = slow(net.at(1), Arc::clone(&may)).await;
    let proxy = TestProxy::inbound(net.at(1));
    is_answered(proxy.inbound_address(), &app, &may).await;
}

#[tokio::test]
async fn a_client_that_finishes_sending_is_answered_through_two_proxies() {
    let mesh = Mesh::new();
    let may = Arc::new(Semaphore::new(0));
    let app = slow(mesh.app(1), Arc::clone(&may)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    is_answered(client.outbound_address(), &app, &may).await;
}

#[tokio::test]
async fn a_server_of_http1_hears_that_its_client_has_finished_sending() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |mut stream| async move {
        let seen = to_end(&mut stream).await;
        assert!(seen.ends_with("\r\n\r\nbody"), "{seen:?}");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let post = b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 4\r\n\r\nbody";
    let mut stream = finished(proxy.outbound_address(), post).await;
    assert!(to_end(&mut stream).await.ends_with("ok"));
}

#[tokio::test]
async fn a_client_that_finishes_sending_and_then_goes_away_ends_its_request() {
    let mesh = Mesh::new();
    let (told, mut is_told) = tokio::sync::mpsc::unbounded_channel();
    let app = Server::http(mesh.app(1), move |_| Cancelled::told(told.clone())).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let stream = finished(client.outbound_address(), b"GET / HTTP/1.1\r\nhost: web\r\n\r\n").await;
    eventually("it is under way", || app.requests() == 1).await;
    assert!(is_told.try_recv().is_err());
    drop(stream);
    soon("the server hears of it", is_told.recv()).await.unwrap();
}

#[tokio::test]
async fn a_client_that_resets_its_connection_ends_its_request() {
    let mesh = Mesh::new();
    let (told, mut is_told) = tokio::sync::mpsc::unbounded_channel();
    let app = Server::http(mesh.app(1), move |_| Cancelled::told(told.clone())).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
    let get = b"GET / HTTP/1.1\r\nhost: web\r\n\r\n";
    stream.write_all(get).await.unwrap();
    eventually("it is under way", || app.requests() == 1).await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    soon("the server hears of it", is_told.recv()).await.unwrap();
}

#[tokio::test]
async fn a_request_whose_body_is_cut_off_is_not_complete() {
    let net = Net::new();
    let (told, mut is_told) = tokio::sync::mpsc::unbounded_channel();
    let _web = Server::http(net.at(1), move |request| {
        let told = told.clone();
        async move {
            told.send(request.into_body().collect().await.is_ok()).unwrap();
            Response::new(full("answered"))
        }
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let cut = b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 9\r\n\r\nbody";
    let mut stream = finished(proxy.outbound_address(), cut).await;
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer:?}");
    assert_eq!(soon("the server sees the end", is_told.recv()).await, Some(false));
}

#[tokio::test]
async fn an_idle_connection_whose_client_finishes_is_closed() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    let get = b"GET / HTTP/1.1\r\nhost: web\r\n\r\n";
    stream.write_all(get).await.unwrap();
    until(&mut stream, "web").await;
    stream.shutdown().await.unwrap();
    assert_eq!(to_end(&mut stream).await, "");
}

#[tokio::test]
async fn what_a_client_sends_ahead_of_its_upgrade_arrives() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |mut stream| async move {
        until(&mut stream, "\r\n\r\n").await;
        // The client's first bytes are at the proxy by now.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    let head = b"GET / HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let ahead = "ahead ".repeat(500);
    tokio::time::sleep(Duration::from_millis(20)).await;
    stream.write_all(ahead.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let back = to_end(&mut stream).await;
    assert!(back.ends_with(&ahead), "{back}");
}
