//! Draining and stopping.

use std::sync::Arc;

use http::{Request, StatusCode};
use smilax_core::config::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::support::client::{Http1, Http2, get, read, to_end, until};
use crate::support::server::{Server, empty, text};
use crate::support::{Net, TestProxy, eventually, soon};

async fn drain(proxy: &TestProxy) {
    let post = Request::post("/drain")
        .header("host", "localhost")
        .body(empty())
        .unwrap();
    let answer = Http1::connect(proxy.admin_address()).await.send(post).await;
    assert_eq!(
        (answer.status, answer.text.as_str()),
        (StatusCode::OK, "draining\n")
    );
}

fn both_ways(net: Net) -> TestProxy {
    TestProxy::builder()
        .outbound(net.at(1))
        .inbound(net.at(2))
        .config(&net.config(1, Protocol::Http, vec![]))
        .start()
}

#[tokio::test]
async fn draining_asks_callers_to_go_elsewhere_and_serves_them_still() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let _app = Server::named(net.at(2), "app").await;
    let proxy = both_ways(net);
    let mut before = Http1::connect(proxy.inbound_address()).await;
    assert!(!before.get("/").await.headers.contains_key("connection"));
    drain(&proxy).await;
    let answer = before.get("/").await;
    assert_eq!(
        (answer.text.as_str(), &answer.headers["connection"]),
        ("app", &"close".parse().unwrap())
    );
    let answer = get(proxy.inbound_address(), "/").await;
    assert_eq!(
        (answer.text.as_str(), &answer.headers["connection"]),
        ("app", &"close".parse().unwrap())
    );
    let ready = get(proxy.metrics_address(), "/ready").await;
    assert_eq!(
        (ready.status, ready.text.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    );
    assert_eq!(
        get(proxy.metrics_address(), "/startup").await.status,
        StatusCode::OK
    );
    let outbound = get(proxy.outbound_address(), "/").await;
    assert_eq!(outbound.text, "web");
    assert!(
        !outbound.headers.contains_key("connection"),
        "the application's own requests go on as before"
    );
}

#[tokio::test]
async fn draining_finishes_the_streams_of_http2_and_takes_no_more_on_that_connection() {
    let net = Net::new();
    let go = Arc::new(Notify::new());
    let waited = Arc::clone(&go);
    let app = Server::http(net.at(2), move |_| {
        let go = Arc::clone(&waited);
        async move {
            go.notified().await;
            text("app")
        }
    })
    .await;
    let proxy = both_ways(net);
    let client = Http2::connect(proxy.inbound_address()).await;
    let request = || Request::get("http://app/").body(empty()).unwrap();
    let mut sender = client.0.clone();
    let under_way = tokio::spawn(async move { sender.send_request(request()).await });
    eventually("the request is under way", || app.requests() == 1).await;
    drain(&proxy).await;
    // The GOAWAY has been read once the client knows that the connection takes no more.
    eventually("the client has been told", || {
        let mut sender = client.0.clone();
        let refused =
            futures::FutureExt::now_or_never(futures::future::poll_fn(move |cx| sender.poll_ready(cx)));
        go.notify_one();
        matches!(refused, Some(Err(_)))
    })
    .await;
    let answer = read(soon("the answer", under_way).await.unwrap().unwrap()).await;
    assert_eq!(answer.text, "app");
    go.notify_one();
    let answer = Http2::connect(proxy.inbound_address()).await;
    drop(answer);
}

#[tokio::test]
async fn stopping_finishes_what_is_under_way() {
    let net = Net::new();
    let go = Arc::new(Notify::new());
    let waited = Arc::clone(&go);
    let web = Server::http(net.at(1), move |_| {
        let go = Arc::clone(&waited);
        async move {
            go.notified().await;
            text("web")
        }
    })
    .await;
    let proxy = both_ways(net);
    let mut idle = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
        .await
        .unwrap();
    eventually("the first request is under way", || web.requests() == 1).await;
    go.notify_one();
    until(&mut idle, "web").await;
    let address = proxy.outbound_address();
    let under_way = tokio::spawn(async move { get(address, "/").await });
    eventually("the second request is under way", || web.requests() == 2).await;
    proxy.proxy().lifecycle.stop();
    assert_eq!(to_end(&mut idle).await, "", "an unused connection ends at once");
    go.notify_one();
    let answer = soon("the answer", under_way).await.unwrap();
    assert_eq!(answer.text, "web");
    assert_eq!(answer.headers["connection"], "close");
    soon("it has finished", proxy.join()).await;
}

#[tokio::test]
async fn stopping_waits_for_bytes_that_are_still_carried() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Tcp, vec![]));
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    stream.write_all(b"a").await.unwrap();
    until(&mut stream, "a").await;
    proxy.proxy().lifecycle.stop();
    stream.write_all(b"b").await.unwrap();
    until(&mut stream, "b").await;
    stream.shutdown().await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    soon("it has finished", proxy.join()).await;
}

#[tokio::test]
async fn a_proxy_without_connections_stops_at_once() {
    let net = Net::new();
    let proxy = both_ways(net);
    proxy.proxy().lifecycle.stop();
    soon("it has finished", proxy.join()).await;
}

#[tokio::test]
async fn the_drain_command_tells_the_proxy() {
    let net = Net::new();
    let proxy = both_ways(net);
    let port = proxy.ports.admin;
    tokio::task::spawn_blocking(move || smilax_proxy::drain::ask(port).unwrap())
        .await
        .unwrap();
    assert_eq!(
        proxy.proxy().lifecycle.stage(),
        smilax_proxy::drain::Stage::Draining
    );
    let nobody = tokio::task::spawn_blocking(|| smilax_proxy::drain::ask(1))
        .await
        .unwrap();
    assert!(nobody.unwrap_err().to_string().contains("is it running"));
}
