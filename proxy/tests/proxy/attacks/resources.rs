//! Clients that are slow, idle or do not read: what they may cost, and who is not to notice.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use smilax_proxy::overload::{Capacity, Receiver};
use smilax_proxy::settings::Settings;
use smilax_proxy::tls::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::support::client::{Http1, Http2, get};
use crate::support::mesh::Mesh;
use crate::support::server::{Body, Server, full, text};
use crate::support::{Net, TestProxy, eventually, over_both, soon};

pub(super) const BRIEF: Duration = Duration::from_millis(200);
/// More than the kernel keeps for a client that does not read.
pub(super) const LARGE: usize = 16 * 1024 * 1024;
pub(super) const CLOSED: &str = "smilax_proxy_overload_closed_connections_total";

pub(super) fn proxy(net: Net, change: impl FnOnce(&mut Settings)) -> TestProxy {
    TestProxy::builder().inbound(net.at(1)).set(change).start()
}

pub(super) fn room(connections: usize, held_bytes: usize) -> impl FnOnce(&mut Settings) {
    move |settings| {
        settings.capacity = Capacity::new(connections, held_bytes, settings.capacity.request_bytes);
        settings.limits.full = 2 * BRIEF;
    }
}

/// Bytes that are held for who gets them.
pub(super) fn held(proxy: &TestProxy, receiver: Receiver) -> usize {
    proxy.proxy().shared().overload.budgets.of(receiver).held()
}

/// A connection of this source.
pub(super) async fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = match source {
        IpAddr::V4(_) => TcpSocket::new_v4(),
        IpAddr::V6(_) => TcpSocket::new_v6(),
    }
    .unwrap();
    socket.bind(SocketAddr::new(source, 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Whether the proxy ends it, within a time that no slow machine needs.
pub(super) async fn is_ended(mut stream: TcpStream) {
    let mut rest = Vec::new();
    let _ = soon("the connection ends", stream.read_to_end(&mut rest)).await;
}

/// An application whose responses are large at `/large`, late at `/late` and short elsewhere; it takes what it is sent.
pub(super) async fn application(address: SocketAddr) -> Server {
    // All answers share it: pages of their own, for hundreds at a time, would cost more than what is tested.
    let large = Bytes::from(vec![b'x'; LARGE]);
    Server::http(address, move |request| {
        let large = large.clone();
        async move { answer(request, large).await }
    })
    .await
}

async fn answer(request: Request<Incoming>, large: Bytes) -> Response<Body> {
    match request.uri().path() {
        "/large" => Response::new(full(large)),
        "/late" => {
            tokio::time::sleep(5 * BRIEF).await;
            text("late")
        }
        _ => match request.into_body().collect().await {
            Ok(body) => Response::new(full(body.to_bytes())),
            Err(_) => text("broken off"),
        },
    }
}

#[tokio::test]
async fn a21_headers_that_do_not_go_on_end_their_connection_and_hold_up_nobody() {
    over_both(async |family| {
        let net = Net::of(family);
        let _app = application(net.at(1)).await;
        let proxy = proxy(net, |settings| settings.limits.header_read = BRIEF);
        let mut slow = JoinSet::new();
        for _ in 0..50 {
            let mut stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
            stream
                .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nx-slow: ")
                .await
                .unwrap();
            slow.spawn(is_ended(stream));
        }
        assert_eq!(get(proxy.inbound_address(), "/").await.status, StatusCode::OK);
        slow.join_all().await;
    })
    .await;
}

#[tokio::test]
async fn a22_a_body_that_does_not_go_on_ends_its_connection() {
    over_both(async |family| {
        let net = Net::of(family);
        let _app = application(net.at(1)).await;
        let proxy = proxy(net, |settings| settings.limits.body = BRIEF);
        let mut stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
        let begin = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nx";
        stream.write_all(begin).await.unwrap();
        is_ended(stream).await;
    })
    .await;
}

#[tokio::test]
async fn a22_a_slow_body_that_goes_on_is_taken() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, |settings| settings.limits.body = BRIEF * 5);
    let mut stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
    let begin = b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 30\r\n\r\n";
    stream.write_all(begin).await.unwrap();
    for _ in 0..30 {
        stream.write_all(b"x").await.unwrap();
        tokio::time::sleep(BRIEF / 4).await;
    }
    let mut answer = String::new();
    soon("the answer ends", stream.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a22_unused_connections_end_in_either_version_and_a_late_answer_is_waited_for() {
    over_both(async |family| {
        let net = Net::of(family);
        let _app = application(net.at(1)).await;
        let proxy = proxy(net, |settings| settings.limits.keep_alive = BRIEF);
        let http1 = async {
            let mut client = Http1::connect(proxy.inbound_address()).await;
            client.get("/late").await.status
        };
        let http2 = async {
            let mut client = Http2::connect(proxy.inbound_address()).await;
            let late = Request::get("http://a/late").body(full("")).unwrap();
            client.send(late).await.status
        };
        assert_eq!(tokio::join!(http1, http2), (StatusCode::OK, StatusCode::OK));
        eventually("unused connections have ended", || {
            proxy.proxy().shared().overload.inbound.is_empty()
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a22_clients_that_do_not_read_are_bounded_and_shed_and_others_are_served() {
    over_both(async |family| {
        const HELD: usize = 512 * 1024;
        let net = Net::of(family);
        let _app = application(net.at(1)).await;
        let proxy = proxy(net, room(1000, HELD));
        let other = net.at(9).ip();
        let mut crowd = Vec::new();
        for _ in 0..100 {
            let mut stream = connect_from(other, proxy.inbound_address()).await;
            stream
                .write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
                .await
                .unwrap();
            crowd.push(stream);
        }
        let most = std::cell::Cell::new(0);
        let mut healthy = Http1::connect(proxy.inbound_address()).await;
        for _ in 0..20 {
            assert_eq!(healthy.get("/").await.status, StatusCode::OK);
            most.set(most.get().max(held(&proxy, Receiver::Client)));
            tokio::time::sleep(BRIEF / 4).await;
        }
        // What was read before it ran short, and a little for each.
        assert!(most.get() < 4 * HELD, "{} bytes were held", most.get());
        eventually("no more is held than may be", || {
            held(&proxy, Receiver::Client) < HELD
        })
        .await;
        assert!(proxy.metric_sum(CLOSED, &["shed"]).await > 0);
        assert_eq!(healthy.get("/").await.status, StatusCode::OK);
        drop(crowd);
        eventually("nothing is held any more", || held(&proxy, Receiver::Client) == 0).await;
    })
    .await;
}

#[tokio::test]
async fn a22_a_client_that_takes_nothing_for_too_long_is_closed() {
    over_both(async |family| {
        let net = Net::of(family);
        let _app = application(net.at(1)).await;
        let proxy = proxy(net, |settings| settings.limits.stalled = BRIEF);
        let mut stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
        stream
            .write_all(b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        proxy.counts(CLOSED, &["stalled"], 1).await;
        eventually("it has ended", || {
            proxy.proxy().shared().overload.inbound.is_empty()
        })
        .await;
    })
    .await;
}

/// Bytes of a body that is read slowly.
async fn read_slowly(mut body: Incoming) -> usize {
    let (mut length, mut next_pause) = (0, 0);
    while let Some(frame) = body.frame().await {
        length += frame.unwrap().data_ref().map_or(0, Bytes::len);
        if length > next_pause {
            next_pause += LARGE / 20;
            tokio::time::sleep(BRIEF / 10).await;
        }
    }
    length
}

#[tokio::test]
async fn s6_a_slow_reader_gets_all_of_a_large_response() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, room(100, 64 * 1024));
    let large = || {
        let request = Request::get("http://a/large").header("host", "a");
        request.body(full("")).unwrap()
    };
    let mut http1 = Http1::connect(proxy.inbound_address()).await;
    let response = http1.start(large()).await.unwrap();
    assert_eq!(read_slowly(response.into_body()).await, LARGE);
    let mut http2 = Http2::connect(proxy.inbound_address()).await;
    let response = http2.start(large()).await.unwrap();
    assert_eq!(read_slowly(response.into_body()).await, LARGE);
}

/// A connection of another proxy whose streams have no window.
async fn without_window(mesh: &Mesh) -> SendRequest<Bytes> {
    let stream = mesh
        .connect(&mesh.context("shop/client"), Wire::Http2)
        .await
        .unwrap();
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(0)
        .handshake(stream)
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn b8_streams_without_a_window_hold_little_and_their_connection_is_shed_before_others() {
    over_both(async |family| {
        const HELD: usize = 512 * 1024;
        let mesh = Mesh::of(family);
        let _app = application(mesh.app(1)).await;
        let proxy = mesh.web_with(vec![], |builder| builder.set(room(1000, HELD)));
        let attackers = [without_window(&mesh).await, without_window(&mesh).await];
        let mut waiting = JoinSet::new();
        let mut most = 0;
        for _ in 0..100 {
            for attacker in &attackers {
                let mut ready = attacker.clone().ready().await;
                if let Ok(sender) = &mut ready {
                    let request = Request::get("http://web/large").body(()).unwrap();
                    if let Ok((response, _)) = sender.send_request(request, true) {
                        waiting.spawn(async move {
                            let response = response.await;
                            std::future::pending::<()>().await;
                            drop(response);
                        });
                    }
                }
                most = most.max(held(&proxy, Receiver::Client));
            }
        }
        let shed = async {
            while proxy.metric_sum(CLOSED, &["shed"]).await == 0 {
                tokio::time::sleep(BRIEF / 10).await;
            }
        };
        soon("the worst is shed", shed).await;
        // A piece for each of 200 streams, beside what is held at most when it is known that too much is.
        assert!(most < HELD + 200 * 16 * 1024, "{most} bytes were held");
        let stream = mesh
            .connect(&mesh.context("shop/other"), Wire::Http2)
            .await
            .unwrap();
        let (mut healthy, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://web/").body(()).unwrap();
        let (response, _) = healthy.send_request(request, true).unwrap();
        assert_eq!(
            soon("an answer", response).await.unwrap().status(),
            StatusCode::OK
        );
    })
    .await;
}

#[tokio::test]
async fn e12_one_source_may_have_every_place_and_others_get_in() {
    over_both(async |family| {
        let net = Net::of(family);
        let _app = application(net.at(1)).await;
        let proxy = proxy(net, room(16, 1 << 20));
        let shared = proxy.proxy().shared();
        let mut crowd = Vec::new();
        for _ in 0..100 {
            crowd.push(connect_from(net.at(9).ip(), proxy.inbound_address()).await);
        }
        proxy.counts(CLOSED, &["gave_way"], 84).await;
        assert_eq!(shared.overload.inbound.len(), 16);
        assert_eq!(get(proxy.inbound_address(), "/").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn s6_what_is_under_way_does_not_give_way_to_who_holds_as_much() {
    let net = Net::new();
    let app = application(net.at(1)).await;
    let proxy = proxy(net, room(2, 1 << 20));
    let mut polls = JoinSet::new();
    for _ in 0..2 {
        let mut client = Http1::connect(proxy.inbound_address()).await;
        polls.spawn(async move { client.get("/late").await.status });
    }
    eventually("both are under way", || app.requests() == 2).await;
    for _ in 0..10 {
        // It may be reset before it is even known to be open.
        if let Ok(stream) = TcpStream::connect(proxy.inbound_address()).await {
            is_ended(stream).await;
        }
    }
    assert_eq!(polls.join_all().await, [StatusCode::OK; 2]);
    assert_eq!(proxy.metric_sum(CLOSED, &["refused"]).await, 10);
}

#[tokio::test]
async fn s6_a_silent_stream_of_grpc_outlasts_every_limit() {
    let net = Net::new();
    let _app = Server::http(net.at(1), |request| async move {
        let (sender, receiver) = futures::channel::mpsc::unbounded();
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(frame)) = body.frame().await {
                if let Ok(data) = frame.into_data() {
                    let _ = sender.unbounded_send(Ok::<_, hyper::Error>(Frame::data(data)));
                }
            }
        });
        Response::new(http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(
            receiver,
        )))
    })
    .await;
    let proxy = proxy(net, |settings| {
        settings.limits.keep_alive = BRIEF;
        settings.limits.stalled = BRIEF;
        settings.limits.body = BRIEF;
    });
    let (mut client, connection) =
        h2::client::handshake(TcpStream::connect(proxy.inbound_address()).await.unwrap())
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://a/")
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let (response, mut sender) = client.send_request(request, false).unwrap();
    sender.send_data(Bytes::from_static(b"one"), false).unwrap();
    let mut body = soon("an answer", response).await.unwrap().into_body();
    assert_eq!(soon("an echo", body.data()).await.unwrap().unwrap(), "one");
    tokio::time::sleep(5 * BRIEF).await;
    sender.send_data(Bytes::from_static(b"two"), true).unwrap();
    assert_eq!(soon("an echo", body.data()).await.unwrap().unwrap(), "two");
}
