//! HTTP/1 that the application sends.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use smilax_core::config::{HeaderMatch, HttpMatch, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{self, Http1, exchange, get, request, to_end, until};
use crate::support::server::{Cancelled, Server, empty, frames, full};
use crate::support::{Net, TestProxy, eventually, matched, soon, split};

fn proxy_of(net: Net, routes: Vec<smilax_core::config::RouteConfig>) -> TestProxy {
    TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, routes))
}

fn path(pattern: &str) -> HttpMatch {
    HttpMatch {
        path: Some(pattern.to_owned()),
        ..HttpMatch::default()
    }
}

#[tokio::test]
async fn requests_are_split_exactly_by_weight() {
    let net = Net::new();
    let v1 = Server::named(net.at(2), "v1").await;
    let v2 = Server::named(net.at(3), "v2").await;
    let proxy = proxy_of(net, vec![split(&[("shop/v1", 90), ("shop/v2", 10)])]);
    let mut client = Http1::connect(proxy.outbound_address()).await;
    for _ in 0..500 {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
    }
    assert!(v1.requests().abs_diff(450) <= 4, "{}", v1.requests());
    assert_eq!(v1.requests() + v2.requests(), 500);
    let counted = proxy
        .metric("smilax_split_requests_total{backend=\"shop/v2\",root=\"shop/web\",split=\"shop/web\"}")
        .await;
    assert_eq!(counted, v2.requests() as u64);
}

#[tokio::test]
async fn a_destination_without_routes_is_reached_itself() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let proxy = proxy_of(net, vec![]);
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "web");
}

#[tokio::test]
async fn requests_are_matched_by_path_method_and_header_and_the_rest_goes_to_the_destination() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let _v1 = Server::named(net.at(2), "v1").await;
    let _v2 = Server::named(net.at(3), "v2").await;
    let _v3 = Server::named(net.at(4), "v3").await;
    let header = HttpMatch {
        headers: vec![HeaderMatch {
            name: "user-agent".to_owned(),
            value: "^(?:.*Firefox.*)$".to_owned(),
        }],
        ..HttpMatch::default()
    };
    let method = HttpMatch {
        methods: vec!["PUT".to_owned()],
        ..HttpMatch::default()
    };
    let routes = vec![
        matched(path("^(?:/api/.*)"), "shop/v1"),
        matched(header, "shop/v2"),
        matched(method, "shop/v3"),
    ];
    let proxy = proxy_of(net, routes);
    let mut client = Http1::connect(proxy.outbound_address()).await;
    assert_eq!(client.get("/api/x?y").await.text, "v1");
    let mut firefox = request("GET", "/");
    firefox
        .headers_mut()
        .insert("user-agent", "Mozilla Firefox 9".parse().unwrap());
    assert_eq!(client.send(firefox).await.text, "v2");
    assert_eq!(client.send(request("PUT", "/")).await.text, "v3");
    assert_eq!(client.get("/").await.text, "web");
}

#[tokio::test]
async fn an_ambiguous_path_is_refused_where_a_rule_reads_paths() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let proxy = proxy_of(net, vec![matched(path("^(?:/a)"), "shop/v1")]);
    let answer = get(proxy.outbound_address(), "/b/../a").await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert_eq!(
        answer.text,
        "smilax: the path is ambiguous: it has a dot segment\n"
    );
}

#[tokio::test]
async fn a_request_arrives_as_it_was_sent_but_for_what_concerns_one_connection() {
    let net = Net::new();
    let _web = Server::mirror(net.at(1)).await;
    let proxy = proxy_of(net, vec![]);
    let answer = exchange(
        proxy.outbound_address(),
        b"PATCH /a%2Fb//c?d=%20e HTTP/1.1\r\nHost: web.shop:8080\r\nX-One: 1\r\nX-One: 2\r\n\
          Connection: close, X-Private\r\nX-Private: p\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\n\
          Content-Length: 5\r\n\r\nhello",
    )
    .await;
    let seen = answer.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(
        seen,
        "PATCH /a%2Fb//c?d=%20e HTTP/1.1\nhost: web.shop:8080\nx-one: 1\nx-one: 2\ncontent-length: 5\n\nhello"
    );
}

#[tokio::test]
async fn a_response_arrives_as_it_was_sent_but_for_what_concerns_one_connection() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |mut stream| async move {
        until(&mut stream, "\r\n\r\n").await;
        let response =
            b"HTTP/1.1 418 Short and stout\r\nX-A: 1\r\nx-a: 2\r\nConnection: close, x-hop\r\nx-hop: 1\r\n\
              Keep-Alive: timeout=1\r\nContent-Length: 3\r\n\r\ntea";
        stream.write_all(response).await.unwrap();
    })
    .await;
    let proxy = proxy_of(net, vec![]);
    let mut client = Http1::connect(proxy.outbound_address()).await;
    for _ in 0..2 {
        let answer = client.get("/").await;
        assert_eq!(answer.status.as_u16(), 418);
        assert_eq!(
            answer.headers.get_all("x-a").iter().collect::<Vec<_>>(),
            ["1", "2"]
        );
        assert_eq!(answer.headers.len(), 3, "{:?}", answer.headers);
        assert_eq!(answer.text, "tea");
    }
}

/// What a client gets of a response with this header.
async fn response_with(header: &'static str) -> String {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), move |mut stream| async move {
        until(&mut stream, "\r\n\r\n").await;
        let response = format!("HTTP/1.1 200 OK\r\n{header}\r\ncontent-length: 2\r\n\r\nok");
        stream.write_all(response.as_bytes()).await.unwrap();
    })
    .await;
    let proxy = proxy_of(net, vec![]);
    let request = b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
    exchange(proxy.outbound_address(), request).await
}

#[tokio::test]
async fn a_space_behind_the_name_of_a_header_is_removed_from_a_response() {
    for header in ["X-Odd : v", "X-Odd\t : v"] {
        let answer = response_with(header).await;
        assert!(answer.contains("\r\nx-odd: v\r\n"), "{header}: {answer}");
    }
}

#[tokio::test]
async fn a_line_break_in_the_value_of_a_header_becomes_spaces_in_a_response() {
    let answer = response_with("X-Folded: a\r\n b").await;
    let line = answer.lines().find(|line| line.starts_with("x-folded:")).unwrap();
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words, ["x-folded:", "a", "b"]);
}

#[tokio::test]
async fn a_line_that_is_no_header_is_not_left_out_of_a_response() {
    let answer = response_with("no header").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
}

#[tokio::test]
async fn connections_to_a_server_are_used_again() {
    let net = Net::new();
    let web = Server::named(net.at(1), "web").await;
    let proxy = proxy_of(net, vec![]);
    for _ in 0..40 {
        assert_eq!(get(proxy.outbound_address(), "/").await.text, "web");
    }
    assert_eq!(web.requests(), 40);
    assert!(web.connections() <= 5, "{} connections", web.connections());
    assert!(
        web.connections() >= 4,
        "{}: kube-proxy could not spread them",
        web.connections()
    );
}

#[tokio::test]
async fn a_request_on_a_connection_that_its_server_has_closed_is_sent_again() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |mut stream| async move {
        until(&mut stream, "\r\n\r\n").await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
        // Takes the next request, and goes away without a word.
        let _ = stream.read(&mut [0; 1024]).await;
    })
    .await;
    let proxy = proxy_of(net, vec![]);
    let mut client = Http1::connect(proxy.outbound_address()).await;
    for _ in 0..12 {
        assert_eq!(client.get("/").await.text, "ok");
    }
    assert!(proxy.metric("smilax_proxy_retries_total").await >= 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_answered_for_with_503() {
    let net = Net::new();
    let proxy = proxy_of(net, vec![]);
    let answer = get(proxy.outbound_address(), "/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer.text.starts_with("smilax: cannot connect to "),
        "{}",
        answer.text
    );
    let labels = [
        "response_code=\"503\"",
        "response_flags=\"UF\"",
        "reporter=\"source\"",
    ];
    proxy.counts("istio_requests_total", &labels, 1).await;
}

#[tokio::test]
async fn a_server_that_breaks_off_is_answered_for_with_502() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |mut stream| async move {
        until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"this is no HTTP\r\n\r\n").await.unwrap();
    })
    .await;
    let proxy = proxy_of(net, vec![]);
    assert_eq!(
        get(proxy.outbound_address(), "/").await.status,
        StatusCode::BAD_GATEWAY
    );
}

#[tokio::test]
async fn bodies_in_chunks_go_both_ways() {
    let net = Net::new();
    let _web = Server::http(net.at(1), |request| async move {
        assert_eq!(request.headers()["transfer-encoding"], "chunked");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let chunks = body
            .chunks(3)
            .map(|chunk| Frame::data(Bytes::copy_from_slice(chunk)));
        Response::new(frames(chunks.collect()))
    })
    .await;
    let proxy = proxy_of(net, vec![]);
    let answer = exchange(
        proxy.outbound_address(),
        b"POST / HTTP/1.1\r\nhost: web\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n",
    )
    .await;
    assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
    assert!(
        answer.ends_with("3\r\nabc\r\n3\r\ndef\r\n1\r\ng\r\n0\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn trailers_go_on_for_a_client_that_takes_them() {
    let net = Net::new();
    let _web = Server::http(net.at(1), |_| async {
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        let mut response = Response::new(frames(vec![
            Frame::data(Bytes::from_static(b"ab")),
            Frame::trailers(trailers),
        ]));
        response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        response
    })
    .await;
    let proxy = proxy_of(net, vec![]);
    let answer = exchange(
        proxy.outbound_address(),
        b"GET / HTTP/1.1\r\nhost: web\r\nconnection: close, te\r\nte: trailers\r\n\r\n",
    )
    .await;
    assert!(answer.contains("\r\nx-sum: 7\r\n"), "{answer}");
}

#[tokio::test]
async fn a_head_request_has_the_length_of_what_it_does_not_get() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let proxy = proxy_of(net, vec![]);
    let mut client = Http1::connect(proxy.outbound_address()).await;
    let answer = client.send(request("HEAD", "/")).await;
    assert_eq!(answer.headers["content-length"], "3");
    assert_eq!(answer.text, "");
    assert_eq!(client.get("/").await.text, "web");
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let net = Net::new();
    let _web = Server::mirror(net.at(1)).await;
    let proxy = proxy_of(net, vec![]);
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let told = until(&mut stream, "\r\n\r\n").await;
    assert!(told.starts_with("HTTP/1.1 100"), "{told}");
    stream.write_all(b"hi").await.unwrap();
    let answer = to_end(&mut stream).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\n\nhi"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_body_that_the_server_does_not_want_is_not_asked_for() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |mut stream| async move {
        let head = until(&mut stream, "\r\n\r\n").await;
        assert!(head.contains("expect: 100-continue"), "{head}");
        let refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(refusal).await.unwrap();
        until(&mut stream, "never").await;
    })
    .await;
    let proxy = proxy_of(net, vec![]);
    let head = b"POST / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    stream.write_all(head).await.unwrap();
    let answer = until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_body_goes_in_the_end_to_a_server_that_never_asks_for_it() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |mut stream| async move {
        until(&mut stream, "hi").await;
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let proxy = proxy_of(net, vec![]);
    let whole = b"POST / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi";
    let answer = exchange(proxy.outbound_address(), whole).await;
    assert!(answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn http_1_0_is_served_as_such() {
    let net = Net::new();
    let _web = Server::mirror(net.at(1)).await;
    let proxy = proxy_of(net, vec![]);
    let answer = exchange(proxy.outbound_address(), b"GET /old HTTP/1.0\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.0 200") || answer.starts_with("HTTP/1.1 200"),
        "{answer}"
    );
    assert!(
        answer.contains(&format!("GET /old HTTP/1.1\nhost: {}", net.at(1))),
        "{answer}"
    );
}

#[tokio::test]
async fn requests_that_can_be_understood_in_two_ways_are_refused() {
    let net = Net::new();
    let web = Server::named(net.at(1), "web").await;
    let proxy = proxy_of(net, vec![]);
    for (request, status) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", "400"),
        (b"GET http://a/ HTTP/1.1\r\nhost: b\r\n\r\n", "400"),
        (
            b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
            "400",
        ),
        (
            b"CONNECT localhost:80 HTTP/1.1\r\nhost: localhost:80\r\n\r\n",
            "405",
        ),
        (b"GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx-odd : v\r\n\r\n", "400"),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx-folded: a\r\n b\r\n\r\n", "400"),
    ] {
        let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
        stream.write_all(request).await.unwrap();
        let answer = until(&mut stream, "\r\n").await;
        let line = String::from_utf8_lossy(request);
        assert_eq!(answer.split(' ').nth(1), Some(status), "{line}: {answer}");
    }
    assert_eq!(web.requests(), 0);
}

#[tokio::test]
async fn a1_of_two_lengths_behind_another_request_only_the_one_that_counts_goes_on() {
    let net = Net::new();
    let _web = Server::mirror(net.at(1)).await;
    let proxy = proxy_of(net, vec![]);
    let smuggled = b"GET / HTTP/1.1\r\nhost: a\r\n\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
          2\r\nhi\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let answer = exchange(proxy.outbound_address(), smuggled).await;
    assert!(
        answer.ends_with("\n\nhi") && !answer.contains("content-length: 3\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn too_many_headers_are_refused() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let proxy = proxy_of(net, vec![]);
    let many = "x: y\r\n".repeat(1000);
    let large = format!("x: {}\r\n", "y".repeat(100_000));
    for headers in [many, large] {
        let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
        let _ = stream
            .write_all(format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}\r\n").as_bytes())
            .await;
        let answer = until(&mut stream, "\r\n").await;
        assert_eq!(answer.split(' ').nth(1), Some("431"), "{answer}");
    }
}

#[tokio::test]
async fn an_upgrade_becomes_bytes_both_ways() {
    let net = Net::new();
    let _web = Server::tcp(net.at(1), |mut stream| async move {
        let head = until(&mut stream, "\r\n\r\n").await.to_lowercase();
        assert!(
            head.contains("connection: upgrade") && head.contains("upgrade: websocket"),
            "{head}"
        );
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst";
        stream.write_all(answer).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let proxy = proxy_of(net, vec![]);
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    stream
        .write_all(
            b"GET /chat HTTP/1.1\r\nhost: web\r\nconnection: keep-alive, Upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await
        .unwrap();
    let answer = until(&mut stream, "first").await;
    assert!(
        answer.starts_with("HTTP/1.1 101") && answer.contains("upgrade: websocket"),
        "{answer}"
    );
    stream.write_all(b"ping").await.unwrap();
    assert_eq!(until(&mut stream, "ping").await, "ping");
    stream.shutdown().await.unwrap();
    assert_eq!(to_end(&mut stream).await, "");
    proxy
        .counts("istio_requests_total", &["response_code=\"101\""], 1)
        .await;
}

#[tokio::test]
async fn an_upgrade_that_the_server_refuses_stays_http() {
    let net = Net::new();
    let _web = Server::mirror(net.at(1)).await;
    let proxy = proxy_of(net, vec![]);
    let mut client = Http1::connect(proxy.outbound_address()).await;
    let mut upgrade = request("GET", "/");
    upgrade
        .headers_mut()
        .insert("connection", "upgrade".parse().unwrap());
    upgrade
        .headers_mut()
        .insert("upgrade", "websocket".parse().unwrap());
    let answer = client.send(upgrade).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.text.contains("upgrade: websocket"), "{}", answer.text);
    assert_eq!(client.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn an_endless_body_waits_for_its_reader() {
    let net = Net::new();
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&sent);
    let _web = Server::http(net.at(1), move |_| {
        let counted = std::sync::Arc::clone(&counted);
        async move {
            let chunk = Bytes::from(vec![b'x'; 64 * 1024]);
            let chunks = futures::stream::repeat_with(move || {
                counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                Ok(Frame::data(chunk.clone()))
            });
            Response::new(BodyExt::boxed(StreamBody::new(chunks)))
        }
    })
    .await;
    let proxy = proxy_of(net, vec![]);
    let mut client = Http1::connect(proxy.outbound_address()).await;
    let response = client.start(request("GET", "/")).await.unwrap();
    // Nobody reads: the server comes to a halt once the sockets' buffers and ours are full.
    let mut before = usize::MAX;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = sent.load(std::sync::atomic::Ordering::SeqCst);
        if now == before {
            break;
        }
        before = now;
    }
    assert!(
        before < 1000,
        "{before} chunks of 64 KiB were taken from the server"
    );
    drop(response);
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request_at_the_server() {
    let net = Net::new();
    let (told, mut is_told) = tokio::sync::mpsc::unbounded_channel();
    let web = Server::http(net.at(1), move |_| Cancelled::told(told.clone())).await;
    let proxy = proxy_of(net, vec![]);
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
        .await
        .unwrap();
    eventually("the request is under way", || web.requests() == 1).await;
    drop(stream);
    soon("the server hears of it", is_told.recv()).await.unwrap();
    let counted = ["response_flags=\"DC\"", "response_code=\"0\""];
    proxy.counts("istio_requests_total", &counted, 1).await;
}

#[tokio::test]
async fn headers_that_do_not_come_to_an_end_are_cut_off() {
    let net = Net::new();
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .config(&net.config(1, Protocol::Http, vec![]))
        .set(|settings| settings.limits.header_read = Duration::from_millis(100))
        .start();
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: w").await.unwrap();
    assert!(!to_end(&mut stream).await.contains("200"));
}

#[tokio::test]
async fn a_client_may_wait_between_two_requests() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .config(&net.config(1, Protocol::Http, vec![]))
        .set(|settings| settings.limits.header_read = Duration::from_millis(50))
        .start();
    let mut client = Http1::connect(proxy.outbound_address()).await;
    assert_eq!(client.get("/").await.text, "web");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(client.get("/").await.text, "web");
}

#[tokio::test]
async fn a_connection_that_is_never_used_is_closed_in_the_end() {
    let net = Net::new();
    let _web = Server::named(net.at(1), "web").await;
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .config(&net.config(1, Protocol::Http, vec![]))
        .set(|settings| settings.limits.idle = Duration::from_millis(100))
        .start();
    let mut stream = TcpStream::connect(proxy.outbound_address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
        .await
        .unwrap();
    assert!(to_end(&mut stream).await.ends_with("web"));
}

#[tokio::test]
async fn requests_that_are_sent_together_are_answered_in_order() {
    let net = Net::new();
    let _web = Server::mirror(net.at(1)).await;
    let proxy = proxy_of(net, vec![]);
    let answer = exchange(
        proxy.outbound_address(),
        b"GET /1 HTTP/1.1\r\nhost: web\r\n\r\nGET /2 HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n",
    )
    .await;
    let first = answer.find("GET /1 ").unwrap();
    let second = answer.find("GET /2 ").unwrap();
    assert!(first < second, "{answer}");
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let net = Net::new();
    let _web = Server::http(net.at(1), |request| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(full(body))
    })
    .await;
    let proxy = proxy_of(net, vec![]);
    let body: Vec<u8> = (0..=250u8).cycle().take(8 * 1024 * 1024).collect();
    let post = Request::post("/")
        .header("host", "web")
        .body(full(body.clone()))
        .unwrap();
    let response = Http1::connect(proxy.outbound_address())
        .await
        .start(post)
        .await
        .unwrap();
    let back = soon("the body", response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    assert!(back == body, "the body changed on its way");
}

#[tokio::test]
async fn a_headless_destination_is_recognised_by_host() {
    let net = Net::new();
    let pod = Server::named(net.at(9), "pod").await;
    let v1 = Server::named(net.at(2), "v1").await;
    let mut config = net.config(1, Protocol::Http, vec![]);
    let mut headless = config.destinations[0].clone();
    headless.name = "shop/db".parse().unwrap();
    headless.addresses = vec![];
    headless.ports[0].protocol = Protocol::Detect;
    headless.ports[0].routes = vec![matched(path("^(?:/v1)"), "shop/v1"), split(&[("shop/db", 1)])];
    config.destinations.push(headless);
    let proxy = TestProxy::outbound(net.at(9), &config);
    let mut client = Http1::connect(proxy.outbound_address()).await;
    let to = |host: &str, path: &str| Request::get(path).header("host", host).body(empty()).unwrap();
    assert_eq!(
        client
            .send(to("db.shop.svc.cluster.local:8080", "/v1"))
            .await
            .text,
        "v1"
    );
    assert_eq!(client.send(to("db", "/")).await.text, "pod");
    assert_eq!(client.send(to("db-0.db.shop.svc", "/v1")).await.text, "pod");
    assert_eq!(client.send(to("other", "/v1")).await.text, "pod");
    assert_eq!((pod.requests(), v1.requests()), (3, 1));
}

#[tokio::test]
async fn request_metrics_have_istios_names_and_labels() {
    let net = Net::new();
    let _v1 = Server::named(net.at(2), "v1").await;
    let proxy = proxy_of(net, vec![split(&[("shop/v1", 1)])]);
    assert_eq!(get(proxy.outbound_address(), "/").await.status, StatusCode::OK);
    let text = client::get(proxy.metrics_address(), "/metrics").await.text;
    let line = text
        .lines()
        .find(|line| line.starts_with("istio_requests_total{"))
        .unwrap();
    insta::assert_snapshot!(line);
    for bucket in ["le=\"0.5\"", "le=\"3600000\"", "le=\"+Inf\""] {
        assert!(text.contains(bucket), "{bucket}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shares_are_exact_with_several_workers_too() {
    let net = Net::new();
    let v1 = Server::named(net.at(2), "v1").await;
    let v2 = Server::named(net.at(3), "v2").await;
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .config(&net.config(1, Protocol::Http, vec![split(&[("shop/v1", 9), ("shop/v2", 1)])]))
        .set(|settings| settings.workers = 2)
        .start();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let address = proxy.outbound_address();
        clients.spawn(async move {
            let mut client = Http1::connect(address).await;
            for _ in 0..50 {
                assert_eq!(client.get("/").await.status, StatusCode::OK);
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    // Each worker is at most four requests off.
    assert!(v1.requests().abs_diff(450) <= 8, "{}", v1.requests());
    assert_eq!(v1.requests() + v2.requests(), 500);
}

#[tokio::test]
async fn a_connection_that_is_too_old_or_was_unused_too_long_takes_no_more_requests() {
    let short = Duration::from_millis(50);
    for limit in [
        |settings: &mut smilax_proxy::settings::Settings, short| settings.limits.pool_max_age = short,
        |settings: &mut smilax_proxy::settings::Settings, short| settings.limits.pool_idle = short,
    ] {
        let net = Net::new();
        let web = Server::named(net.at(1), "web").await;
        let proxy = TestProxy::builder()
            .outbound(net.at(1))
            .config(&net.config(1, Protocol::Http, vec![]))
            .set(|settings| limit(settings, short))
            .start();
        let mut client = Http1::connect(proxy.outbound_address()).await;
        for _ in 0..6 {
            assert_eq!(client.get("/").await.text, "web");
            tokio::time::sleep(short * 2).await;
        }
        assert_eq!(web.connections(), 6);
        assert!(proxy.metric("smilax_proxy_retries_total").await == 0);
    }
}
