//! Clients.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::server::{Body, empty};
use super::soon;

/// A response that has been read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: Option<HeaderMap>,
    pub(crate) text: String,
}

/// One connection of HTTP/1.
pub(crate) struct Http1(pub(crate) http1::SendRequest<Body>);

/// One connection of HTTP/2.
pub(crate) struct Http2(pub(crate) http2::SendRequest<Body>);

impl Http1 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Self(sender)
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.send(request("GET", path)).await
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Answer {
        read(self.start(request).await.unwrap()).await
    }

    pub(crate) async fn start(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        soon("the connection is ready", self.0.ready()).await?;
        soon("the response begins", self.0.send_request(request)).await
    }
}

impl Http2 {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn send(&mut self, request: Request<Body>) -> Answer {
        read(self.start(request).await.unwrap()).await
    }

    pub(crate) async fn start(&mut self, request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        soon("the connection is ready", self.0.ready()).await?;
        soon("the response begins", self.0.send_request(request)).await
    }
}

/// A request for `web` without a body.
pub(crate) fn request(method: &str, path: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "web")
        .body(empty())
        .unwrap()
}

/// One request on a connection of its own.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Answer {
    Http1::connect(address).await.get(path).await
}

pub(crate) async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = soon("the response ends", body.collect()).await.unwrap();
    let trailers = body.trailers().cloned();
    let bytes: Bytes = body.to_bytes();
    Answer {
        status: parts.status,
        headers: parts.headers,
        trailers,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// Sends bytes, and reads what comes back until the end.
pub(crate) async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    // Whoever resets the connection may do so at any time.
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return String::new();
    };
    let _ = stream.write_all(bytes).await;
    to_end(&mut stream).await
}

pub(crate) async fn to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset after the answer is an end too.
    let _ = soon("the connection ends", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until `end` has come.
pub(crate) async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !String::from_utf8_lossy(&answer).contains(end) {
        let mut buffer = [0; 1024];
        let length = soon("more bytes", stream.read(&mut buffer)).await.unwrap();
        assert_ne!(length, 0, "ended after {:?}", String::from_utf8_lossy(&answer));
        answer.extend_from_slice(&buffer[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
