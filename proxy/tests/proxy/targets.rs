//! Request targets that the HTTP library does not take, and requests that cannot be read.

use std::net::SocketAddr;

use http::{Request, StatusCode};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use smilax_core::config::{HttpMatch, Protocol};
use smilax_proxy::tls::Wire;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::client::{exchange, to_end, until};
use crate::support::mesh::{Mesh, target, targets};
use crate::support::server::{Server, empty};
use crate::support::{Net, TestProxy, matched, soon};

/// Targets that are no URI, and that browsers, scripts and old clients send all the same.
const ODD: [&[u8]; 8] = [
    b"/search?q={\"a\":\"b\"}",
    b"/a<b>c`d",
    b"/?<script>alert(1)</script>",
    b"/path#fragment?q=1",
    b"/path?q=1#fragment",
    b"/caf\xe9?x=\xff",
    b"/caf\xc3\xa9?x=\xc3\xa9\"",
    b"/%!?\"%!",
];

fn path(pattern: &str) -> HttpMatch {
    HttpMatch {
        path: Some(pattern.to_owned()),
        ..HttpMatch::default()
    }
}

/// Answers each request with its first line, byte for byte in hexadecimal, however many come.
async fn first_line(address: SocketAddr) -> Server {
    Server::tcp(address, |mut stream| async move {
        loop {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                match tokio::io::AsyncReadExt::read(&mut stream, &mut byte).await {
                    Ok(1) => head.push(byte[0]),
                    _ => return,
                }
            }
            let line = head.split(|&byte| byte == b'\r').next().unwrap();
            let seen = hex(line);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{seen}", seen.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

fn hex(bytes: &[u8]) -> String {
    let pairs = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    pairs
        .map(|digit| char::from_digit(digit.into(), 16).unwrap())
        .collect()
}

fn get(target: &[u8], headers: &str) -> Vec<u8> {
    [
        b"GET ",
        target,
        b" HTTP/1.1\r\nhost: web\r\n",
        headers.as_bytes(),
        b"\r\n",
    ]
    .concat()
}

async fn arrive_as_sent(address: SocketAddr) {
    for target in ODD {
        let answer = exchange(address, &get(target, "connection: close\r\n")).await;
        let expected = hex(&[b"GET ", target, b" HTTP/1.1"].concat());
        assert!(answer.ends_with(&expected), "{}: {answer}", target.escape_ascii());
    }
    // One connection, in pieces of all sizes.
    let mut stream = TcpStream::connect(address).await.unwrap();
    for (number, target) in ODD.into_iter().enumerate() {
        let request = get(target, "x-other: a<b>\"`#\r\n");
        for piece in request.chunks(1 + number * 5) {
            stream.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
        let expected = hex(&[b"GET ", target, b" HTTP/1.1"].concat());
        let answer = until(&mut stream, &hex(b"HTTP/1.1")).await;
        assert!(answer.ends_with(&expected), "{}: {answer}", target.escape_ascii());
        // What is usual goes on as ever.
        stream.write_all(&get(b"/usual", "")).await.unwrap();
        let answer = until(&mut stream, &hex(b"HTTP/1.1")).await;
        assert!(answer.ends_with(&hex(b"GET /usual HTTP/1.1")), "{answer}");
    }
}

#[tokio::test]
async fn a_target_that_is_no_uri_goes_to_a_server_outside_as_it_came() {
    let net = Net::new();
    let _web = first_line(net.at(1)).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    arrive_as_sent(proxy.outbound_address()).await;
}

#[tokio::test]
async fn a_target_that_is_no_uri_goes_to_the_application_as_it_came() {
    let net = Net::new();
    let _app = first_line(net.at(1)).await;
    let proxy = TestProxy::inbound(net.at(1));
    arrive_as_sent(proxy.inbound_address()).await;
}

#[tokio::test]
async fn a_target_that_is_no_uri_goes_through_two_proxies_as_it_came() {
    let mesh = Mesh::new();
    let _app = first_line(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    arrive_as_sent(client.outbound_address()).await;
}

#[tokio::test]
async fn d17_a_path_that_is_no_uri_is_refused_where_a_rule_reads_paths_and_counted() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let rules = Some(vec![path("/search"), path("/.*")]);
    let web = mesh.web(targets(vec![target(&["shop/client"], rules)]));
    let client = mesh.client(Protocol::Http);
    for odd in [&b"/a<b>"[..], b"/search#x", b"/`"] {
        let answer = exchange(client.outbound_address(), &get(odd, "connection: close\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("smilax: the path is ambiguous"), "{answer}");
    }
    assert_eq!(app.requests(), 0);
    let labels = ["response_code=\"400\"", "response_flags=\"DPE\""];
    web.counts("istio_requests_total", &labels, 3).await;
}

#[tokio::test]
async fn a_query_that_is_no_uri_does_not_concern_rules_about_paths() {
    let net = Net::new();
    let _v1 = first_line(net.at(2)).await;
    let routes = vec![matched(path("^(?:/search)"), "shop/v1")];
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, routes));
    let odd = b"/search?q={\"a\":\"b\"}";
    let answer = exchange(proxy.outbound_address(), &get(odd, "connection: close\r\n")).await;
    let expected = hex(&[b"GET ", &odd[..], b" HTTP/1.1"].concat());
    assert!(answer.ends_with(&expected), "{answer}");
}

#[tokio::test]
async fn d17_requests_sent_together_are_never_taken_apart_otherwise() {
    let net = Net::new();
    let _web = first_line(net.at(1)).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let first = get(b"/1<", "");
    let second = get(b"/2%!", "x: /2< HTTP/1.1\r\n");
    let third = get(b"/3<", "");
    let together = [&first[..], &second, &third].concat();
    for cut in 1..together.len() {
        let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
        let (now, later) = together.split_at(cut);
        stream.write_all(now).await.unwrap();
        tokio::task::yield_now().await;
        let _ = stream.write_all(later).await;
        let _ = stream.shutdown().await;
        let answer = to_end(&mut stream).await;
        // Each as it came or refused, in order, and nothing behind a refusal.
        let expected =
            [&b"/1<"[..], b"/2%!", b"/3<"].map(|target| hex(&[b"GET ", target, b" HTTP/1.1"].concat()));
        let mut seen = answer.split("HTTP/1.1 200 OK").skip(1);
        for line in &expected {
            match seen.next() {
                Some(answer) => assert!(answer.contains(line.as_str()), "{cut}: {answer}"),
                None => assert!(answer.contains("HTTP/1.1 400"), "{cut}: {answer}"),
            }
        }
    }
}

#[tokio::test]
async fn d17_a_proxy_that_lies_about_a_target_is_refused() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let rules = Some(vec![path("/open")]);
    let web = mesh.web(targets(vec![target(&["shop/client"], rules)]));
    let liar = mesh
        .connect(&mesh.context("shop/client"), Wire::Http2)
        .await
        .unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(liar))
        .await
        .unwrap();
    tokio::spawn(connection);
    for lie in ["/closed", "/open<", "/open HTTP/1.1\tx", "", "/open"] {
        let request = Request::get("http://web/open")
            .header("smilax-form", "1.1-raw")
            .header("smilax-target", lie)
            .body(empty())
            .unwrap();
        let answer = soon("an answer", sender.send_request(request)).await.unwrap();
        // One that no request line can hold is not believed at all.
        let believed = lie.starts_with('/') && !lie.contains(['\t', ' ']) && lie != "/open";
        assert_eq!(answer.status() == StatusCode::BAD_REQUEST, believed, "{lie:?}");
    }
    assert_eq!(app.requests(), 3);
    let labels = ["response_code=\"400\"", "response_flags=\"DPE\""];
    web.counts("istio_requests_total", &labels, 2).await;
}

#[tokio::test]
async fn a_request_that_cannot_be_read_is_counted() {
    let net = Net::new();
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    for (bytes, code) in [
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n".to_vec(), "400"),
        (b"GET / HTTP/9.9\r\n\r\n".to_vec(), "400"),
        (
            format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(1001)).into_bytes(),
            "431",
        ),
    ] {
        let code = format!("response_code=\"{code}\"");
        let labels = [code.as_str(), "response_flags=\"DPE\""];
        let before = proxy.metric_sum("istio_requests_total", &labels).await;
        exchange(proxy.outbound_address(), &bytes).await;
        proxy.counts("istio_requests_total", &labels, before + 1).await;
    }
}
