//! Connections that are carried as bytes, and finding out that they are.

use std::net::SocketAddr;
use std::time::Duration;

use smilax_core::config::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{exchange, get, to_end, until};
use crate::support::server::Server;
use crate::support::{Net, TestProxy, eventually, over_both, soon, split};

/// Says its name once the client has finished.
async fn after_all(address: SocketAddr, name: &'static str) -> Server {
    Server::tcp(address, move |mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream
            .write_all(format!("{name} {}", String::from_utf8_lossy(&all)).as_bytes())
            .await
            .unwrap();
    })
    .await
}

/// Says hello before the client says anything, and then repeats it.
async fn greeter(address: SocketAddr, name: &'static str) -> Server {
    Server::tcp(address, move |mut stream| async move {
        stream
            .write_all(format!("220 {name}\r\n").as_bytes())
            .await
            .unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

async fn half_closed(proxy: &TestProxy, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    to_end(&mut stream).await
}

#[tokio::test]
async fn connections_are_split_by_weight_and_each_side_may_finish_first() {
    let net = Net::new();
    let v1 = after_all(net.at(2), "v1").await;
    let v2 = after_all(net.at(3), "v2").await;
    let routes = vec![split(&[("shop/v1", 1), ("shop/v2", 3)])];
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Tcp, routes));
    for _ in 0..40 {
        let answer = half_closed(&proxy, b"GET / HTTP/1.1\r\n\r\n").await;
        assert!(answer.ends_with(" GET / HTTP/1.1\r\n\r\n"), "{answer}");
    }
    assert!(v1.connections().abs_diff(10) <= 4, "{}", v1.connections());
    assert_eq!(v1.connections() + v2.connections(), 40);
    let v2_labels = [
        "destination_service=\"v2.shop.svc.cluster.local\"",
        "request_protocol=\"tcp\"",
    ];
    let closed = "istio_tcp_connections_closed_total";
    let expected = v2.connections() as u64;
    for _ in 0..1000 {
        if proxy.metric_sum(closed, &v2_labels).await == expected {
            break;
        }
    }
    assert_eq!(
        proxy
            .metric_sum("istio_tcp_connections_opened_total", &v2_labels)
            .await,
        expected
    );
    assert_eq!(
        proxy
            .metric_sum("istio_tcp_received_bytes_total", &v2_labels)
            .await,
        expected * 18
    );
    assert_eq!(
        proxy.metric_sum("istio_tcp_sent_bytes_total", &v2_labels).await,
        expected * 21
    );
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard_and_the_split_holds() {
    let net = Net::new();
    let _web = greeter(net.at(1), "web").await;
    let v1 = greeter(net.at(2), "v1").await;
    let routes = vec![split(&[("shop/v1", 1)])];
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .config(&net.config(1, Protocol::Detect, routes))
        .set(|settings| settings.limits.detect = Duration::from_millis(50))
        .start();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
        assert_eq!(until(&mut stream, "\n").await, "220 v1\r\n");
        stream.write_all(b"EHLO me\r\n").await.unwrap();
        assert_eq!(until(&mut stream, "\n").await, "EHLO me\r\n");
    }
    assert_eq!(v1.connections(), 3);
}

#[tokio::test]
async fn a_client_that_hesitates_still_gets_its_requests_routed() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let _v1 = Server::named(net.at(2), "v1").await;
    let route = crate::support::matched(
        smilax_core::config::HttpMatch {
            path: Some("^(?:/v1)".to_owned()),
            ..Default::default()
        },
        "shop/v1",
    );
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .config(&net.config(1, Protocol::Detect, vec![route]))
        .set(|settings| settings.limits.detect = Duration::from_millis(20))
        .start();
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stream
        .write_all(b"GET /v1 HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(to_end(&mut stream).await.ends_with("v1"));
}

#[tokio::test]
async fn what_is_no_http_is_carried_untouched_on_a_port_of_unknown_protocol() {
    let net = Net::new();
    let _web = after_all(net.at(1), "web").await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Detect, vec![]));
    for bytes in [
        &b"*1\r\n$4\r\nPING\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01 a TLS ClientHello",
        b"GET key\r\n",
    ] {
        let expected = format!("web {}", String::from_utf8_lossy(bytes));
        assert_eq!(half_closed(&proxy, bytes).await, expected);
    }
}

#[tokio::test]
async fn a_request_in_pieces_is_recognised() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Detect, vec![]));
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in [
        "G",
        "ET",
        " / HT",
        "TP/1.1\r",
        "\nhost: web\r\nconnection: close\r\n\r\n",
    ] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(to_end(&mut stream).await.ends_with("web"));
    proxy
        .counts("istio_requests_total", &["response_code=\"200\""], 1)
        .await;
}

#[tokio::test]
async fn a_destination_without_configuration_is_passed_through_and_counted() {
    let net = Net::new();
    let _other = after_all(net.at(20), "other").await;
    let proxy = TestProxy::outbound(net.at(20), &net.config(1, Protocol::Http, vec![]));
    assert_eq!(
        half_closed(&proxy, b"GET / HTTP/1.1\r\n\r\n").await,
        "other GET / HTTP/1.1\r\n\r\n"
    );
    proxy
        .counts("smilax_proxy_passthrough_connections_total", &[], 1)
        .await;
}

/// Holds that a connection is reset before it brings a byte. That may be so early that making it says so.
async fn is_reset_at_once(address: SocketAddr) {
    let talk = async { TcpStream::connect(address).await?.read(&mut [0; 1]).await };
    let error = soon("the reset", talk).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_that_nobody_takes_is_reset() {
    let net = Net::new();
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Tcp, vec![]));
    is_reset_at_once(proxy.outbound_address()).await;
    proxy
        .counts("smilax_proxy_upstream_connect_failures_total", &[], 1)
        .await;
}

#[tokio::test]
async fn a_service_where_nobody_is_gets_tried_aside_until_somebody_is() {
    let net = Net::new();
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Tcp, vec![]));
    is_reset_at_once(proxy.outbound_address()).await;
    // No client asks any more, and yet somebody comes to see.
    let listener = tokio::net::TcpListener::bind(net.at(1)).await.unwrap();
    let (seen, _) = soon("a connection aside", listener.accept()).await.unwrap();
    drop((seen, listener));
    let _web = greeter(net.at(1), "web").await;
    // The one who came to see has still to tell.
    let greeting = soon("the greeting", async {
        loop {
            let mut greeting = [0; 9];
            let talk = async {
                TcpStream::connect(proxy.outbound_address())
                    .await?
                    .read_exact(&mut greeting)
                    .await
            };
            if talk.await.is_ok() {
                break greeting;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert_eq!(&greeting.await, b"220 web\r\n");
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |stream| async move {
        let mut first = [0; 1];
        let _ = stream.peek(&mut first).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Tcp, vec![]));
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let error = soon("the reset", stream.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_silent_connection_is_closed_in_the_end() {
    let net = Net::new();
    let _web = greeter(net.at(1), "web").await;
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .config(&net.config(1, Protocol::Tcp, vec![]))
        .set(|settings| settings.limits.idle = Duration::from_millis(100))
        .start();
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    assert_eq!(to_end(&mut stream).await, "220 web\r\n");
}

#[tokio::test]
async fn large_amounts_arrive_whole_both_ways_at_once() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Tcp, vec![]));
    let stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let sent: Vec<u8> = (0..=250u8).cycle().take(16 * 1024 * 1024).collect();
    let copy = sent.clone();
    let writer = tokio::spawn(async move {
        write.write_all(&copy).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    soon("the end", read.read_to_end(&mut back)).await.unwrap();
    writer.await.unwrap();
    assert!(back == sent, "bytes changed on their way");
}

#[tokio::test]
async fn e2_a_connection_to_the_proxy_itself_is_closed() {
    over_both(async |family| {
        let proxy = TestProxy::builder()
            .set(|settings| {
                settings.outbound_destination = smilax_proxy::original_destination::Resolver::Redirected;
                settings.listen = vec![family.loopback()];
            })
            .start();
        assert_eq!(
            exchange(proxy.outbound_address(), b"GET / HTTP/1.1\r\n\r\n").await,
            ""
        );
        assert_eq!(
            exchange(proxy.inbound_address(), b"GET / HTTP/1.1\r\n\r\n").await,
            ""
        );
        proxy
            .counts("smilax_proxy_refused_connections_total", &[], 2)
            .await;
    })
    .await;
}

#[tokio::test]
async fn open_connections_are_counted_while_they_are_open() {
    let net = Net::new();
    let _web = greeter(net.at(1), "web").await;
    let proxy = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Tcp, vec![]));
    let open = "smilax_proxy_open_connections{direction=\"outbound\"}";
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    until(&mut stream, "\n").await;
    proxy.counts(open, &[], 1).await;
    drop(stream);
    let metrics = std::sync::Arc::clone(&proxy.proxy().shared().metrics);
    eventually("it is closed", || metrics.open_outbound.get() == 0).await;
    assert_eq!(get(proxy.metrics_address(), "/ready").await.status.as_u16(), 200);
}
