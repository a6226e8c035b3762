//! Answers that come before all of the request was read (RFC 9112 section 9.6).

use std::net::SocketAddr;

use http::StatusCode;
use smilax_core::config::{HttpMatch, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{Http1, to_end, until};
use crate::support::mesh::{Mesh, target, targets};
use crate::support::server::{Server, full};
use crate::support::{Net, TestProxy, matched, soon};

const LARGE: usize = 5 * 1024 * 1024;
const REFUSAL: &[u8] = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 5\r\n\r\nlarge";

/// A server that reads no body, answers, and closes.
async fn hasty(address: SocketAddr) -> Server {
    Server::tcp(address, |mut stream| async move {
        until(&mut stream, "\r\n\r\n").await;
        stream.write_all(REFUSAL).await.unwrap();
    })
    .await
}

/// Uploads, and only then reads, as simple clients do.
async fn upload(address: SocketAddr, framing: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /upload HTTP/1.1\r\nhost: web\r\nconnection: close\r\n{framing}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let sent = async {
        if framing.starts_with("content-length") {
            return stream.write_all(&vec![b'x'; LARGE]).await;
        }
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        for _ in 0..LARGE / 0x10000 {
            stream.write_all(chunk.as_bytes()).await?;
        }
        stream.write_all(b"0\r\n\r\n").await
    };
    soon("all is sent", sent).await.unwrap();
    to_end(&mut stream).await
}

async fn hears(address: SocketAddr, status: &str) {
    for _ in 0..10 {
        for framing in [&format!("content-length: {LARGE}"), "transfer-encoding: chunked"] {
            let answer = upload(address, framing).await;
            assert!(answer.starts_with(status), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn an_upload_hears_from_a_server_that_answers_early() {
    let net = Net::new();
    let _web = hasty(net.at(1)).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    hears(proxy.outbound_address(), "HTTP/1.1 413").await;
}

#[tokio::test]
async fn an_upload_hears_from_an_application_that_answers_early() {
    let mesh = Mesh::new();
    let _app = hasty(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    hears(client.outbound_address(), "HTTP/1.1 413").await;
}

#[tokio::test]
async fn an_upload_that_is_denied_hears_of_it() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let get = HttpMatch {
        methods: vec!["GET".to_owned()],
        ..HttpMatch::default()
    };
    let _web = mesh.web(targets(vec![target(&["shop/client"], Some(vec![get]))]));
    let client = mesh.client(Protocol::Http);
    hears(client.outbound_address(), "HTTP/1.1 403").await;
}

#[tokio::test]
async fn an_upload_to_nobody_hears_of_it() {
    let net = Net::new();
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    hears(proxy.outbound_address(), "HTTP/1.1 503").await;
}

#[tokio::test]
async fn headers_that_are_too_large_are_answered_while_they_are_sent() {
    let net = Net::new();
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    for _ in 0..10 {
        let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
        let head = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(LARGE));
        soon("all is sent", stream.write_all(head.as_bytes()))
            .await
            .unwrap();
        let answer = to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_connection_whose_request_is_not_read_is_said_to_end() {
    let net = Net::new();
    let _web = hasty(net.at(1)).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    let begun = b"POST / HTTP/1.1\r\nhost: web\r\ncontent-length: 100\r\n\r\nx";
    stream.write_all(begun).await.unwrap();
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer:?}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer:?}");
}

/// Answers at once, and says how many bytes came all the same.
async fn thorough(address: SocketAddr) -> (Server, tokio::sync::mpsc::UnboundedReceiver<usize>) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::tcp(address, move |mut stream| {
        let tell = tell.clone();
        async move {
            let head = until(&mut stream, "\r\n\r\n").await;
            let mut bytes = head.split_once("\r\n\r\n").unwrap().1.len();
            stream.write_all(REFUSAL).await.unwrap();
            let mut buffer = vec![0; 64 * 1024];
            while bytes < LARGE {
                match stream.read(&mut buffer).await {
                    Ok(0) | Err(_) => break,
                    Ok(more) => bytes += more,
                }
            }
            tell.send(bytes).unwrap();
        }
    })
    .await;
    (server, told)
}

#[tokio::test]
async fn a_server_that_answers_early_and_reads_on_gets_the_whole_request() {
    let net = Net::new();
    let (_web, mut bytes) = thorough(net.at(1)).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let answer = upload(proxy.outbound_address(), &format!("content-length: {LARGE}")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer:?}");
    assert_eq!(soon("all has come", bytes.recv()).await, Some(LARGE));
}

#[tokio::test]
async fn an_application_that_answers_early_and_reads_on_gets_the_whole_request() {
    let mesh = Mesh::new();
    let (_app, mut bytes) = thorough(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let answer = upload(client.outbound_address(), &format!("content-length: {LARGE}")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer:?}");
    assert_eq!(soon("all has come", bytes.recv()).await, Some(LARGE));
}

#[tokio::test]
async fn a_connection_whose_small_request_is_refused_goes_on() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let rule = HttpMatch {
        path: Some("^(?:/a)".to_owned()),
        ..HttpMatch::default()
    };
    let routes = vec![matched(rule, "shop/v1")];
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, routes));
    let mut client = Http1::connect(proxy.outbound_address()).await;
    let post = http::Request::post("/b/../a")
        .header("host", "web")
        .body(full("x".repeat(1000)))
        .unwrap();
    let refused = client.send(post).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(
        !refused.headers.contains_key("connection"),
        "{:?}",
        refused.headers
    );
    assert_eq!(client.get("/").await.text, "web");
}
