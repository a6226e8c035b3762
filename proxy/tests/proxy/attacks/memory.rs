//! What clients and servers may make a proxy hold, in every way that bytes and requests go, and who goes on meanwhile.

use std::time::Duration;

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use smilax_core::config::Protocol;
use smilax_proxy::overload::Receiver;
use smilax_proxy::settings::Settings;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::resources::{BRIEF, CLOSED, LARGE, application, connect_from, held, is_ended, proxy, room};
use crate::support::client::{Http1, Http2, get, request, to_end};
use crate::support::mesh::Mesh;
use crate::support::server::{Server, full};
use crate::support::{Net, eventually, soon};

const HELD: usize = 512 * 1024;
const CROWD: usize = 60;
/// Forty for each of the connections that requests to a Service are spread over.
const PAUSED: usize = 160;
const NOT_HTTP: &[u8] = b"\0not http";
const REFUSED: &str = "smilax_proxy_overload_refused_requests_total";

/// Room for so many requests of few headers, a few bytes more than which they cost.
fn requests(count: usize) -> impl FnOnce(&mut Settings) {
    move |settings| settings.capacity.request_bytes = count * 33 * 1024
}

/// A crowd of connections that sent this, and do nothing more.
async fn crowd(net: Net, to: std::net::SocketAddr, bytes: &[u8]) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let mut stream = connect_from(net.at(9).ip(), to).await;
        // Not all of it may be taken.
        let _ = tokio::time::timeout(BRIEF, stream.write_all(bytes)).await;
        crowd.push(stream);
    }
    crowd
}

fn post(length: usize) -> Vec<u8> {
    format!("POST /stuck HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n").into_bytes()
}

#[tokio::test]
async fn s6_uploads_that_the_application_does_not_read_are_bounded_and_nobody_is_closed() {
    let net = Net::new();
    let _app = Server::http(net.at(1), |request| async move {
        if request.uri().path() == "/stuck" {
            tokio::time::sleep(Duration::from_mins(5)).await;
        }
        http::Response::new(full("ok"))
    })
    .await;
    let proxy = proxy(net, room(1000, HELD));
    let upload = [post(LARGE), vec![b'x'; 4 * 1024 * 1024]].concat();
    let crowd = crowd(net, proxy.inbound_address(), &upload).await;
    let most = held(&proxy, Receiver::Application);
    assert!(most > HELD / 2, "{most}");
    assert!(most < 4 * HELD, "{most} bytes were held");
    assert_eq!(held(&proxy, Receiver::Client), 0);
    tokio::time::sleep(4 * BRIEF).await;
    assert_eq!(proxy.metric_sum(CLOSED, &["shed"]).await, 0);
    assert_eq!(get(proxy.inbound_address(), "/").await.status, StatusCode::OK);
    drop(crowd);
}

#[tokio::test]
async fn s6_an_upload_goes_on_while_others_are_stuck() {
    let net = Net::new();
    let _app = Server::http(net.at(1), |request| async move {
        if request.uri().path() == "/stuck" {
            tokio::time::sleep(Duration::from_mins(5)).await;
        }
        let body = request.into_body().collect().await.unwrap();
        http::Response::new(full(body.to_bytes().len().to_string()))
    })
    .await;
    let proxy = proxy(net, room(1000, HELD));
    let upload = [post(LARGE), vec![b'x'; 4 * 1024 * 1024]].concat();
    let _crowd = crowd(net, proxy.inbound_address(), &upload).await;
    let large = Request::post("/")
        .header("host", "a")
        .body(full(vec![0; LARGE]))
        .unwrap();
    let answer = Http1::connect(proxy.inbound_address()).await.send(large).await;
    assert_eq!(answer.text, LARGE.to_string());
}

#[tokio::test]
async fn s6_bytes_that_a_receiver_does_not_take_are_bounded_and_it_may_pause() {
    let net = Net::new();
    let _app = Server::tcp(net.at(1), |mut stream| async move {
        // What is unread when it closes would reset the connection.
        let _ = stream.read_exact(&mut [0; NOT_HTTP.len()]).await;
        let _ = stream.write_all(&vec![b'x'; LARGE]).await;
    })
    .await;
    let proxy = proxy(net, |settings| {
        room(1000, HELD)(settings);
        settings.limits.full = Duration::from_mins(1);
        settings.limits.stalled = BRIEF;
    });
    let mut crowd = crowd(net, proxy.inbound_address(), NOT_HTTP).await;
    eventually("much is held", || held(&proxy, Receiver::Client) > HELD / 2).await;
    tokio::time::sleep(4 * BRIEF).await;
    let most = held(&proxy, Receiver::Client);
    assert!(most < 2 * HELD, "{most} bytes were held");
    assert_eq!(proxy.metric_sum(CLOSED, &["stalled"]).await, 0);
    let mut all = Vec::new();
    let last = crowd.last_mut().unwrap();
    soon("all of it", last.read_to_end(&mut all)).await.unwrap();
    assert_eq!(all.len(), LARGE);
}

#[tokio::test]
async fn s6_requests_beyond_the_memory_for_them_are_refused_to_who_has_most() {
    let net = Net::new();
    let app = Server::http(net.at(1), |request| async move {
        if request.uri().path() == "/never" {
            std::future::pending::<()>().await;
        }
        http::Response::new(full("ok"))
    })
    .await;
    let proxy = proxy(net, requests(36));
    let never = b"GET /never HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    let mut crowd = crowd(net, proxy.inbound_address(), never).await;
    eventually("as many are under way as may be", || app.requests() == 32).await;
    let refused = crowd.split_off(32);
    for mut stream in refused {
        let answer = to_end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    }
    assert_eq!(get(proxy.inbound_address(), "/").await.status, StatusCode::OK);
    assert_eq!(app.requests(), 33);
    assert_eq!(proxy.metric(REFUSED).await, 28);
    drop(crowd);
    eventually("nothing is under way", || {
        proxy.proxy().shared().overload.load.used() == 0
    })
    .await;
}

#[tokio::test]
async fn s6_a_refused_request_of_http2_leaves_no_stream_behind() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, requests(0));
    let stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
    let (mut client, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake::<_, bytes::Bytes>(stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    let refused = Request::get("http://a/").body(()).unwrap();
    let (response, _) = client.send_request(refused, true).unwrap();
    let response = soon("an answer", response).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(response.body().is_end_stream());
}

#[tokio::test]
async fn s6_heads_that_grow_large_and_do_not_end_take_of_the_memory_for_requests() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, requests(36));
    let half = [&b"GET / HTTP/1.1\r\nhost: a\r\nx: "[..], &vec![b'x'; 40_000]].concat();
    let mut crowd = crowd(net, proxy.inbound_address(), &half).await;
    eventually("some are refused", || {
        proxy.proxy().shared().metrics.overload.refused_requests.get() > 0
    })
    .await;
    is_ended(crowd.pop().unwrap()).await;
    assert_eq!(get(proxy.inbound_address(), "/").await.status, StatusCode::OK);
    crowd.truncate(4);
    eventually("room is given back", || {
        proxy.proxy().shared().overload.load.used() <= 4 * 64 * 1024
    })
    .await;
    let mut first = crowd.swap_remove(0);
    first.write_all(b"\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(to_end(&mut first).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn s6_a_head_that_begins_behind_another_request_is_counted_too() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, requests(36));
    let begun = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nx: ";
    let mut crowd = crowd(net, proxy.inbound_address(), begun).await;
    for stream in &mut crowd {
        soon("the first is answered", stream.readable()).await.unwrap();
    }
    // Each is put away meanwhile, with what its server had read of the second request.
    tokio::time::sleep(BRIEF).await;
    for stream in &mut crowd {
        // Those that were refused are closed.
        let _ = stream.write_all(&vec![b'x'; 40_000]).await;
    }
    eventually("some are refused", || {
        proxy.proxy().shared().metrics.overload.refused_requests.get() > 0
    })
    .await;
}

/// Connections that ask for a large response and never read it.
async fn readers_that_pause(proxy: &crate::support::TestProxy) -> Vec<TcpStream> {
    let mut paused = Vec::new();
    for _ in 0..PAUSED {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(proxy.outbound_address()).await.unwrap();
        let ask = b"GET /large HTTP/1.1\r\nhost: web.shop:8080\r\n\r\n";
        stream.write_all(ask).await.unwrap();
        paused.push(stream);
    }
    paused
}

#[tokio::test]
async fn s6_readers_that_pause_hold_up_no_other_stream_between_two_proxies() {
    let mesh = Mesh::new();
    let _app = application(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let paused = readers_that_pause(&client).await;
    for stream in &paused {
        soon("its response begins", stream.readable()).await.unwrap();
    }
    // Until what the kernel keeps for them is full, and all that there is of their windows.
    tokio::time::sleep(5 * BRIEF).await;
    let mut other = Http1::connect(client.outbound_address()).await;
    let response = other.start(request("GET", "/large")).await.unwrap();
    let body = soon("all of it", response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes().len(), LARGE);
}

#[tokio::test]
async fn s6_readers_that_pause_hold_up_no_other_stream_of_an_application_of_http2() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, |_| {});
    let mut paused = Vec::new();
    for _ in 0..CROWD {
        let stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
        let (mut client, connection) = h2::client::Builder::new()
            .initial_window_size(0)
            .handshake::<_, bytes::Bytes>(stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        let large = Request::get("http://a/large").body(()).unwrap();
        let (response, _) = client.send_request(large, true).unwrap();
        paused.push((soon("its response begins", response).await.unwrap(), client));
    }
    let mut other = Http2::connect(proxy.inbound_address()).await;
    let large = Request::get("http://a/large").body(full("")).unwrap();
    let response = other.start(large).await.unwrap();
    let body = soon("all of it", response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes().len(), LARGE);
}
