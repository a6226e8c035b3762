//! Requests that cannot be sent again, and connections upstream that their servers may be closing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use smilax_core::config::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::client::{Http1, get};
use crate::support::mesh::Mesh;
use crate::support::server::{Body, Server, full};
use crate::support::{Net, TestProxy};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

fn post() -> Request<Body> {
    Request::post("/").header("host", "web").body(full("x")).unwrap()
}

/// Reads one request of [`post`] or without a body. `None` at the end.
async fn read_request(stream: &mut TcpStream) -> Option<()> {
    let mut seen = Vec::new();
    loop {
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer).await.ok().filter(|&length| length > 0)?;
        seen.extend_from_slice(&buffer[..length]);
        let text = String::from_utf8_lossy(&seen);
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && (!head.starts_with("POST") || !body.is_empty())
        {
            return Some(());
        }
    }
}

/// How long a server takes to close, when it reads nothing any more.
const CLOSING: Duration = Duration::from_millis(3);

/// A server that closes after each answer, and does not say so.
async fn one_answer(address: SocketAddr) -> Server {
    Server::tcp(address, |mut stream| async move {
        if read_request(&mut stream).await.is_some() {
            let _ = stream.write_all(ANSWER).await;
            tokio::time::sleep(CLOSING).await;
        }
    })
    .await
}

/// A server that closes a connection which was idle for 50 ms.
async fn impatient(address: SocketAddr) -> Server {
    Server::tcp(address, |mut stream| async move {
        let idle = Duration::from_millis(50);
        let mut request = read_request(&mut stream).await;
        while request.is_some() {
            let _ = stream.write_all(ANSWER).await;
            let next = tokio::time::timeout(idle, read_request(&mut stream));
            request = next.await.unwrap_or(None);
        }
        tokio::time::sleep(CLOSING).await;
    })
    .await
}

/// Posts on one connection, and on a new one for each.
async fn post_often(address: SocketAddr, count: usize) {
    let mut client = Http1::connect(address).await;
    for number in 0..count {
        let answer = client.send(post()).await;
        assert_eq!(answer.status, StatusCode::OK, "{number}: {}", answer.text);
        let answer = Http1::connect(address).await.send(post()).await;
        assert_eq!(answer.status, StatusCode::OK, "{number}: {}", answer.text);
    }
}

/// Posts after pauses of all lengths around the server's patience, on one connection and on new ones.
async fn post_slowly(address: SocketAddr) {
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..8u64 {
        clients.spawn(async move {
            let mut kept = Http1::connect(address).await;
            for number in 0..24 {
                let pause = (client * 5 + number * 13) % 64;
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let answer = kept.send(post()).await;
                assert_eq!(answer.status, StatusCode::OK, "{pause} ms: {}", answer.text);
                if number % 4 == 0 {
                    let answer = Http1::connect(address).await.send(post()).await;
                    assert_eq!(answer.status, StatusCode::OK, "{pause} ms: {}", answer.text);
                }
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
}

#[tokio::test]
async fn no_post_is_lost_to_a_server_that_closes_after_each_answer() {
    let net = Net::new();
    let _web = one_answer(net.at(1)).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    post_often(proxy.outbound_address(), 250).await;
}

#[tokio::test]
async fn no_post_is_lost_to_an_application_that_closes_after_each_answer() {
    let mesh = Mesh::new();
    let _app = one_answer(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    post_often(client.outbound_address(), 250).await;
}

#[tokio::test]
async fn no_post_is_lost_to_a_server_that_closes_idle_connections_soon() {
    let net = Net::new();
    let _web = impatient(net.at(1)).await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    post_slowly(proxy.outbound_address()).await;
}

#[tokio::test]
async fn no_post_is_lost_to_an_application_that_closes_idle_connections_soon() {
    let mesh = Mesh::new();
    let _app = impatient(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    post_slowly(client.outbound_address()).await;
}

/// Has the proxy see that the server keeps connections for a while, of which one was used last.
async fn show_patience(address: SocketAddr) {
    for _ in 0..4 {
        get(address, "/").await;
    }
    // Twice: it is asked for, and then it is known.
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        Http1::connect(address).await.send(post()).await;
    }
    get(address, "/").await;
}

#[tokio::test]
async fn posts_share_connections_of_a_server_that_keeps_them() {
    let net = Net::new();
    let web = Server::named(net.at(1), "web").await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    show_patience(proxy.outbound_address()).await;
    let before = web.connections();
    let mut client = Http1::connect(proxy.outbound_address()).await;
    for _ in 0..20 {
        assert_eq!(client.send(post()).await.text, "web");
    }
    assert!(web.connections() <= before + 1, "{}", web.connections());
}

#[tokio::test]
async fn a_post_right_after_the_server_has_closed_its_connections_takes_a_new_one() {
    let net = Net::new();
    let (leave, open) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (left, opened) = (Arc::clone(&leave), Arc::clone(&open));
    let web = Server::tcp(net.at(1), move |mut stream| {
        let (leave, open) = (Arc::clone(&left), Arc::clone(&opened));
        async move {
            open.fetch_add(1, Ordering::SeqCst);
            loop {
                tokio::select! {
                    biased;
                    () = leave.notified() => break,
                    request = read_request(&mut stream) => match request {
                        Some(()) => stream.write_all(ANSWER).await.unwrap(),
                        None => break,
                    },
                }
            }
            drop(stream);
            open.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let address = proxy.outbound_address();
    let mut client = Http1::connect(address).await;
    show_patience(address).await;
    let before = web.connections();
    assert_eq!(client.send(post()).await.text, "ok");
    assert_eq!(web.connections(), before, "a kept one is taken first");
    leave.notify_waiters();
    while open.load(Ordering::SeqCst) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.send(post()).await.text, "ok");
}

#[tokio::test]
async fn a_server_that_went_away_instead_of_answering_gets_posts_on_new_connections() {
    let net = Net::new();
    let web = Server::tcp(net.at(1), |mut stream| async move {
        if read_request(&mut stream).await.is_some() {
            let _ = stream.write_all(ANSWER).await;
            read_request(&mut stream).await;
        }
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    // Its second request on a connection is lost, and is sent again.
    show_patience(proxy.outbound_address()).await;
    let before = web.connections();
    post_often(proxy.outbound_address(), 10).await;
    assert_eq!(web.connections(), before + 20);
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let net = Net::new();
    let web = Server::tcp(net.at(1), |mut stream| async move {
        loop {
            let mut buffer = [0; 1024];
            let length = stream.read(&mut buffer).await.unwrap_or(0);
            if length == 0 || buffer.starts_with(b"POST") {
                return;
            }
            stream.write_all(ANSWER).await.unwrap();
        }
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    show_patience(proxy.outbound_address()).await;
    let connections = web.connections();
    let answer = Http1::connect(proxy.outbound_address()).await.send(post()).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    assert_eq!(web.connections(), connections);
}
