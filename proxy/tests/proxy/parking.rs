//! Idle connections of HTTP/1, which are parked without the buffers of a server. Nobody may notice.

use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;
use smilax_core::config::Protocol;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::support::client::{Http1, get, to_end, until};
use crate::support::server::Server;
use crate::support::{Net, TestProxy, eventually, soon};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: web\r\n\r\n";
/// Longer than a connection is served without a request, in tests.
const PAUSE: Duration = Duration::from_millis(50);

struct Stage {
    proxy: TestProxy,
    web: Server,
}

impl Stage {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(set: impl FnOnce(&mut smilax_proxy::settings::Settings)) -> Self {
        let net = Net::new();
        let web = Server::named(net.at(1), "web").await;
        let config = net.config(1, Protocol::Http, vec![]);
        let proxy = TestProxy::builder().outbound(net.at(1)).config(&config).set(set);
        Self {
            proxy: proxy.start(),
            web,
        }
    }

    fn address(&self) -> SocketAddr {
        self.proxy.outbound_address()
    }

    /// A connection over which one request was answered, and which is parked since.
    async fn parked(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(GET).await.unwrap();
        until(&mut stream, "web").await;
        tokio::time::sleep(PAUSE).await;
        stream
    }
}

#[tokio::test]
async fn requests_go_on_over_a_connection_that_was_parked() {
    let stage = Stage::new().await;
    let mut client = Http1::connect(stage.address()).await;
    for number in 1..=3 {
        assert_eq!(client.get("/").await.text, "web");
        assert_eq!(stage.web.requests(), number);
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test]
async fn a_head_that_comes_in_pieces_after_a_pause_is_understood() {
    let stage = Stage::new().await;
    let mut stream = stage.parked().await;
    for byte in GET {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    until(&mut stream, "web").await;
    assert_eq!(stage.web.requests(), 2);
}

#[tokio::test]
async fn two_requests_that_end_a_pause_together_are_both_answered() {
    let stage = Stage::new().await;
    let mut stream = stage.parked().await;
    let last = b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    stream.write_all(&[GET, last].concat()).await.unwrap();
    assert_eq!(to_end(&mut stream).await.matches("200 OK").count(), 2);
}

#[tokio::test]
async fn what_is_no_http_after_a_pause_is_told_so_at_once() {
    let stage = Stage::new().await;
    let mut stream = stage.parked().await;
    stream.write_all(b"hello\r\n").await.unwrap();
    until(&mut stream, "400 Bad Request").await;
}

#[tokio::test]
async fn a_head_that_does_not_end_after_a_pause_ends_its_connection() {
    let short = Duration::from_millis(200);
    let stage = Stage::with(|settings| settings.limits.header_read = short).await;
    let mut stream = stage.parked().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: w").await.unwrap();
    soon("the end", to_end(&mut stream)).await;
    assert_eq!(stage.web.requests(), 1);
}

#[tokio::test]
async fn a_parked_connection_ends_when_it_has_been_idle_for_too_long() {
    let short = Duration::from_millis(200);
    let stage = Stage::with(|settings| settings.limits.idle = short).await;
    let mut stream = stage.parked().await;
    assert_eq!(soon("the end", to_end(&mut stream)).await, "");
}

#[tokio::test]
async fn a_parked_connection_ends_with_the_proxy() {
    let stage = Stage::new().await;
    let mut stream = stage.parked().await;
    stage.proxy.proxy().lifecycle.stop();
    assert_eq!(soon("the end", to_end(&mut stream)).await, "");
}

#[tokio::test]
async fn a_client_that_leaves_a_parked_connection_is_let_go() {
    let stage = Stage::new().await;
    let stream = stage.parked().await;
    let lifecycle = &stage.proxy.proxy().lifecycle;
    let before = lifecycle.connections();
    drop(stream);
    eventually("its connection is gone", || lifecycle.connections() < before).await;
}

#[tokio::test]
async fn a_response_that_pauses_is_not_idle() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |mut stream| async move {
        until(&mut stream, "\r\n\r\n").await;
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n")
            .await;
        for byte in b"web" {
            tokio::time::sleep(PAUSE).await;
            let _ = stream.write_all(&[*byte]).await;
        }
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let answer = get(proxy.outbound_address(), "/").await;
    assert_eq!((answer.status, &*answer.text), (StatusCode::OK, "web"));
}
