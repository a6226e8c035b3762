//! `CONNECT` to a forward proxy in the cluster.

use std::net::SocketAddr;

use http::{Request, StatusCode};
use smilax_core::config::{HttpMatch, Protocol};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::client::{Http2, exchange, to_end, until};
use crate::support::mesh::{Mesh, target, targets};
use crate::support::server::{Server, empty};
use crate::support::{Net, TestProxy, over_both, soon};

/// A forward proxy that answers with this, and then sends back what it gets.
async fn forward_proxy(address: SocketAddr, answer: &'static str) -> Server {
    Server::tcp(address, move |mut stream| async move {
        let head = until(&mut stream, "\r\n\r\n").await;
        assert!(head.starts_with("CONNECT example.com:443 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("host: example.com:443\r\n"), "{head}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";
const CONNECT: &[u8] = b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\n\r\n";

async fn tunnels(address: SocketAddr) {
    for connect in [CONNECT, b"CONNECT example.com:443 HTTP/1.0\r\n\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(connect).await.unwrap();
        let answer = until(&mut stream, "\r\n\r\n").await;
        assert_eq!(answer.split(' ').nth(1), Some("200"), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
        stream.write_all(b"\x16\x03\x01 hello").await.unwrap();
        assert_eq!(until(&mut stream, "hello").await, "\x16\x03\x01 hello");
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(to_end(&mut stream).await, "bye");
    }
}

#[tokio::test]
async fn a_tunnel_through_a_forward_proxy_carries_bytes_both_ways() {
    let net = Net::new();
    let _web = forward_proxy(net.at(1), OPEN).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    tunnels(proxy.outbound_address()).await;
    proxy
        .counts("istio_requests_total", &["response_code=\"200\""], 2)
        .await;
    proxy.counts("istio_tcp_connections_closed_total", &[], 2).await;
}

#[tokio::test]
async fn a_tunnel_through_a_forward_proxy_with_a_sidecar_carries_bytes_both_ways() {
    let mesh = Mesh::new();
    let _app = forward_proxy(mesh.app(1), OPEN).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    tunnels(client.outbound_address()).await;
}

#[tokio::test]
async fn d18_a_tunnel_needs_the_right_that_bytes_need() {
    over_both(async |family| {
        let any = HttpMatch {
            path: Some(".*".to_owned()),
            ..HttpMatch::default()
        };
        for (http, status) in [(None, "200"), (Some(vec![any]), "403")] {
            let mesh = Mesh::of(family);
            let app = forward_proxy(mesh.app(1), OPEN).await;
            let _web = mesh.web(targets(vec![target(&["shop/client"], http)]));
            let client = mesh.client(Protocol::Http);
            let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
            stream.write_all(CONNECT).await.unwrap();
            let answer = until(&mut stream, "\r\n\r\n").await;
            assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
            assert_eq!(app.connections(), usize::from(status == "200"));
        }
    })
    .await;
}

#[tokio::test]
async fn d18_no_tunnel_leads_into_the_pod_or_is_read_in_two_ways() {
    over_both(async |family| {
        let net = Net::of(family);
        let app = Server::named(net.at(1), "app").await;
        let inbound = TestProxy::inbound(net.at(1));
        let outbound = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
        let own = net.at(1);
        for address in [inbound.inbound_address(), outbound.outbound_address()] {
            for (request, status) in [
                (format!("CONNECT {own} HTTP/1.1\r\nhost: {own}\r\n\r\n"), "405"),
                (
                    "CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n".to_owned(),
                    "405",
                ),
                (
                    "CONNECT [::1]:80 HTTP/1.1\r\nhost: [::1]:80\r\n\r\n".to_owned(),
                    "405",
                ),
                (
                    "CONNECT a:80 HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx".to_owned(),
                    "400",
                ),
                (
                    "CONNECT a:80 HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n".to_owned(),
                    "400",
                ),
                ("CONNECT a HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(), "400"),
            ] {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.write_all(request.as_bytes()).await.unwrap();
                let answer = until(&mut stream, "\r\n\r\n").await;
                assert_eq!(answer.split(' ').nth(1), Some(status), "{request}: {answer}");
            }
            let connect = Request::connect("example.com:443").body(empty()).unwrap();
            let answer = Http2::connect(address).await.send(connect).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        }
        assert_eq!(app.requests(), 0);
    })
    .await;
}

#[tokio::test]
async fn s32_a_server_that_goes_on_with_http_after_connect_gets_no_bytes_of_a_tunnel() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
    ] {
        let mesh = Mesh::new();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let _app = Server::tcp(mesh.app(1), move |mut stream| {
            let tell = tell.clone();
            async move {
                until(&mut stream, "\r\n\r\n").await;
                stream.write_all(answer.as_bytes()).await.unwrap();
                tell.send(to_end(&mut stream).await).unwrap();
            }
        })
        .await;
        let web = mesh.web(vec![]);
        let client = mesh.client(Protocol::Http);
        for address in [client.outbound_address(), web.inbound_address()] {
            let connect =
                b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\nconnection: close\r\n\r\n";
            let forged = b"GET / HTTP/1.1\r\nhost: web\r\nsmilax-client-identity: forged\r\n\r\n";
            let answer = exchange(address, &[&connect[..], forged].concat()).await;
            assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
            assert_eq!(soon("the end", told.recv()).await.unwrap(), "");
        }
    }
}

#[tokio::test]
async fn a_tunnel_that_the_forward_proxy_refuses_stays_http() {
    let net = Net::new();
    let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\n\
                   content-length: 2\r\nconnection: close\r\n\r\nno";
    let _web = forward_proxy(net.at(1), refusal).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let connect = b"CONNECT example.com:443 HTTP/1.1\r\nhost: example.com:443\r\nconnection: close\r\n\r\n";
    let answer = exchange(proxy.outbound_address(), connect).await;
    assert!(answer.starts_with("HTTP/1.1 407"), "{answer}");
    assert!(
        answer.contains("proxy-authenticate: Basic") && answer.ends_with("no"),
        "{answer}"
    );
}
