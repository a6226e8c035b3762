//! What applications notice of mutual TLS between their proxies: nothing.

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Frame, Incoming};
use smilax_core::config::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{Http1, Http2, exchange, get, read, request, to_end, until};
use crate::support::mesh::{Mesh, certify, target, targets};
use crate::support::server::{Cancelled, Server, empty, frames, full};
use crate::support::{eventually, soon, split};

/// What the application sees beside what the client sent.
const CALLER: &str = "smilax-client-identity: spiffe://cluster.local/ns/shop/sa/client\n\
    x-forwarded-client-cert: By=spiffe://cluster.local/ns/shop/sa/web;URI=spiffe://cluster.local/ns/shop/sa/client\n";

fn body_of(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

#[tokio::test]
async fn a_request_arrives_as_it_was_sent_and_says_who_calls() {
    let mesh = Mesh::new();
    let _app = Server::mirror(mesh.app(1)).await;
    let web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let answer = exchange(
        client.outbound_address(),
        b"PATCH /a%2Fb//c?d=%20e HTTP/1.1\r\nHost: web.shop:8080\r\nX-One: 1\r\nX-One: 2\r\n\
          Connection: close, X-Private\r\nX-Private: p\r\nKeep-Alive: 5\r\nTE: gzip\r\n\
          Content-Length: 5\r\n\r\nhello",
    )
    .await;
    assert_eq!(
        body_of(&answer),
        format!(
            "PATCH /a%2Fb//c?d=%20e HTTP/1.1\nhost: web.shop:8080\nx-one: 1\nx-one: 2\ncontent-length: 5\n{CALLER}\nhello"
        )
    );
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let secured = [
        "source_principal=\"spiffe://cluster.local/ns/shop/sa/client\"",
        "destination_principal=\"spiffe://cluster.local/ns/shop/sa/web\"",
        "connection_security_policy=\"mutual_tls\"",
        "response_code=\"200\"",
    ];
    web.counts("istio_requests_total", &secured, 1).await;
    assert_eq!(
        web.metric_sum("smilax_proxy_plaintext_connections_total", &[])
            .await,
        0
    );
}

#[tokio::test]
async fn each_form_of_a_request_is_made_anew_on_the_other_side() {
    let mesh = Mesh::new();
    let _app = Server::mirror(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    for (sent, seen) in [
        (
            "GET http://web:8080/a?b HTTP/1.1\r\nhost: web:8080\r\nconnection: close\r\n\r\n",
            "GET http://web:8080/a?b HTTP/1.1\nhost: web:8080\n",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n",
            "OPTIONS * HTTP/1.1\nhost: web\n",
        ),
        (
            "GET /old HTTP/1.0\r\nhost: web\r\n\r\n",
            "GET /old HTTP/1.1\nhost: web\n",
        ),
        (
            "GET / HTTP/1.1\r\nhost: web\r\nconnection: te, close\r\nte: trailers\r\n\r\n",
            "GET / HTTP/1.1\nhost: web\nte: trailers\nconnection: te\n",
        ),
        (
            "GET / HTTP/1.1\r\nhost: web\r\nsmilax-form: 2\r\nconnection: close\r\n\r\n",
            "GET / HTTP/1.1\nhost: web\n",
        ),
    ] {
        let answer = exchange(client.outbound_address(), sent.as_bytes()).await;
        assert_eq!(body_of(&answer), format!("{seen}{CALLER}\n"), "{sent}");
    }
    let absolute = http::Request::get("http://web:8080/a").body(empty()).unwrap();
    let answer = Http2::connect(client.outbound_address())
        .await
        .send(absolute)
        .await;
    assert_eq!(answer.text, format!("GET http://web:8080/a HTTP/2.0\n{CALLER}\n"));
}

#[tokio::test]
async fn requests_of_many_connections_share_few() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let address = client.outbound_address();
        clients.spawn(async move {
            let mut client = Http1::connect(address).await;
            for _ in 0..5 {
                assert_eq!(client.get("/").await.text, "app");
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    assert_eq!(app.requests(), 200);
    let open = web
        .metric("smilax_proxy_open_connections{direction=\"inbound\"}")
        .await;
    assert_eq!(open, 4);
}

#[tokio::test]
async fn a_split_holds_between_secured_backends() {
    let mesh = Mesh::new();
    let v1 = Server::named(mesh.app(2), "v1").await;
    let v2 = Server::named(mesh.app(3), "v2").await;
    let config = crate::support::mesh::config(1, vec![]);
    let proxies = [
        mesh.inbound(2, &config, |it| it),
        mesh.inbound(3, &config, |it| it),
    ];
    for proxy in &proxies {
        certify(proxy, &mesh.context("shop/web"));
    }
    let routes = vec![split(&[("shop/v1", 3), ("shop/v2", 1)])];
    let client = mesh.client_with(&mesh.secured(1, Protocol::Http, routes));
    let mut application = Http1::connect(client.outbound_address()).await;
    for _ in 0..40 {
        assert_eq!(application.get("/").await.status, StatusCode::OK);
    }
    assert!(v1.requests().abs_diff(30) <= 4, "{}", v1.requests());
    assert_eq!(v1.requests() + v2.requests(), 40);
}

#[tokio::test]
async fn bodies_in_chunks_and_trailers_go_both_ways() {
    let mesh = Mesh::new();
    let _app = Server::http(mesh.app(1), |request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        let mut response = Response::new(frames(vec![Frame::data(body), Frame::trailers(trailers)]));
        response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
        response
    })
    .await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let answer = exchange(
        client.outbound_address(),
        b"POST / HTTP/1.1\r\nhost: web\r\nconnection: close, te\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n\
          4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n",
    )
    .await;
    assert!(answer.contains("transfer-encoding: chunked"), "{answer}");
    assert!(answer.contains("abcdefg") || answer.contains("abcd"), "{answer}");
    assert!(answer.contains("\r\nx-sum: 7\r\n"), "{answer}");
}

#[tokio::test]
async fn a_head_request_and_304_keep_the_length_of_what_they_do_not_get() {
    let mesh = Mesh::new();
    let _app = Server::http(mesh.app(1), |request| async move {
        let mut response = Response::new(full("app"));
        if request.uri().path() == "/cached" {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            *response.body_mut() = empty();
            response.headers_mut().insert("etag", "\"7\"".parse().unwrap());
        }
        response
    })
    .await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut application = Http1::connect(client.outbound_address()).await;
    let answer = application.send(request("HEAD", "/")).await;
    assert_eq!(answer.headers["content-length"], "3");
    let answer = application.get("/cached").await;
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
    assert_eq!(answer.headers["etag"], "\"7\"");
    assert_eq!(application.get("/").await.text, "app");
}

#[tokio::test]
async fn a_client_that_waits_for_100_continue_gets_it() {
    let mesh = Mesh::new();
    let _app = Server::mirror(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
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
    let mesh = Mesh::new();
    let _app = Server::tcp(mesh.app(1), |mut stream| async move {
        let head = until(&mut stream, "\r\n\r\n").await;
        assert!(head.contains("expect: 100-continue"), "{head}");
        let refusal = b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(refusal).await.unwrap();
        until(&mut stream, "never").await;
    })
    .await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let answer = until(&mut stream, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn an_upgrade_becomes_bytes_both_ways() {
    let mesh = Mesh::new();
    let _app = Server::tcp(mesh.app(1), |mut stream| async move {
        let head = until(&mut stream, "\r\n\r\n").await.to_lowercase();
        assert!(
            head.contains("connection: upgrade") && head.contains("upgrade: websocket"),
            "{head}"
        );
        assert!(head.contains("smilax-client-identity: spiffe://"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst";
        stream.write_all(answer).await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
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
}

#[tokio::test]
async fn an_upgrade_that_the_server_refuses_stays_http() {
    let mesh = Mesh::new();
    let _app = Server::mirror(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut application = Http1::connect(client.outbound_address()).await;
    let mut upgrade = request("GET", "/");
    let headers = upgrade.headers_mut();
    headers.insert("connection", "upgrade".parse().unwrap());
    headers.insert("upgrade", "websocket".parse().unwrap());
    let answer = application.send(upgrade).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.text.contains("upgrade: websocket"), "{}", answer.text);
    assert_eq!(application.get("/").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let mesh = Mesh::new();
    let _app = Server::http(mesh.app(1), |request| async {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(full(body))
    })
    .await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let body: Vec<u8> = (0..=250u8).cycle().take(8 * 1024 * 1024).collect();
    let post = Request::post("/")
        .header("host", "web")
        .body(full(body.clone()))
        .unwrap();
    let mut application = Http1::connect(client.outbound_address()).await;
    let response = application.start(post).await.unwrap();
    let back = soon("the body", response.into_body().collect())
        .await
        .unwrap()
        .to_bytes();
    assert!(back == body, "the body changed on its way");
}

#[tokio::test]
async fn headers_as_large_as_are_taken_at_all_go_on() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let header = format!("x: {}\r\n", "y".repeat(60_000));
    let answer = exchange(
        client.outbound_address(),
        format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{header}\r\n").as_bytes(),
    )
    .await;
    assert!(answer.ends_with("app"), "{answer}");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_request_at_the_server() {
    let mesh = Mesh::new();
    let (told, mut is_told) = tokio::sync::mpsc::unbounded_channel();
    let app = Server::http(mesh.app(1), move |_| Cancelled::told(told.clone())).await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: web\r\n\r\n")
        .await
        .unwrap();
    eventually("the request is under way", || app.requests() == 1).await;
    drop(stream);
    soon("the server hears of it", is_told.recv()).await.unwrap();
}

#[tokio::test]
async fn clients_that_go_away_together_end_nobody_elses_request() {
    let mesh = Mesh::new();
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let opened = std::sync::Arc::clone(&gate);
    let app = Server::http(mesh.app(1), move |request| {
        let gate = std::sync::Arc::clone(&gate);
        async move {
            if request.uri().path() == "/patient" {
                gate.acquire().await.unwrap().forget();
            } else {
                std::future::pending::<()>().await;
            }
            Response::new(full("answered"))
        }
    })
    .await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut patient = Vec::new();
    for _ in 0..8 {
        let address = client.outbound_address();
        patient.push(tokio::spawn(async move { get(address, "/patient").await.text }));
    }
    eventually("they wait", || app.requests() == 8).await;
    for round in 1..=3 {
        let mut streams = Vec::new();
        for _ in 0..150 {
            let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
            stream
                .write_all(b"GET /hasty HTTP/1.1\r\nhost: web\r\n\r\n")
                .await
                .unwrap();
            streams.push(stream);
        }
        if round == 3 {
            // These go away before anybody has seen their request.
            drop(streams);
            break;
        }
        eventually("all are under way", || app.requests() == 8 + 150 * round).await;
    }
    opened.add_permits(8);
    for answer in patient {
        assert_eq!(soon("the answer", answer).await.unwrap(), "answered");
    }
}

#[tokio::test]
async fn an_account_may_call_itself_when_it_is_named_like_any_other() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(targets(vec![target(&["shop/web"], None)]));
    let itself = mesh.client_of("shop/web", Protocol::Http);
    assert_eq!(get(itself.outbound_address(), "/").await.text, "app");
    let nobody = targets(vec![target(&["shop/client"], None)]);
    web.apply(&crate::support::mesh::config(2, nobody)).await;
    assert_eq!(
        get(itself.outbound_address(), "/").await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn a_server_that_breaks_off_is_answered_for_with_502() {
    let mesh = Mesh::new();
    let _app = Server::tcp(mesh.app(1), |mut stream| async move {
        until(&mut stream, "\r\n\r\n").await;
        stream.write_all(b"this is no HTTP\r\n\r\n").await.unwrap();
    })
    .await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    assert_eq!(
        get(client.outbound_address(), "/").await.status,
        StatusCode::BAD_GATEWAY
    );
}

fn call() -> Request<crate::support::server::Body> {
    Request::post("http://web:8080/shop.Cart/Add")
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(full("message"))
        .unwrap()
}

#[tokio::test]
async fn calls_of_grpc_keep_their_trailers() {
    let mesh = Mesh::new();
    let _app = Server::http(mesh.app(1), |request: Request<Incoming>| async move {
        assert_eq!(request.version(), http::Version::HTTP_2);
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.uri().to_string(), "http://web:8080/shop.Cart/Add");
        request.into_body().collect().await.unwrap();
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "5".parse().unwrap());
        Response::new(frames(vec![
            Frame::data(Bytes::from_static(b"answer")),
            Frame::trailers(trailers),
        ]))
    })
    .await;
    let web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Detect);
    let application = Http2::connect(client.outbound_address()).await;
    let calls = (0..50).map(|_| {
        let mut sender = application.0.clone();
        async move { read(sender.send_request(call()).await.unwrap()).await }
    });
    for answer in soon("all answers", futures::future::join_all(calls)).await {
        assert_eq!(answer.text, "answer");
        assert_eq!(answer.trailers.unwrap()["grpc-status"], "5");
    }
    let counted = ["request_protocol=\"grpc\"", "grpc_response_status=\"5\""];
    web.counts("istio_requests_total", &counted, 50).await;
    client.counts("istio_requests_total", &counted, 50).await;
}

#[tokio::test]
async fn a_stream_goes_both_ways_at_once_and_its_cancellation_arrives() {
    let mesh = Mesh::new();
    let (told, mut is_told) = tokio::sync::mpsc::unbounded_channel();
    let app = Server::http(mesh.app(1), move |request: Request<Incoming>| {
        let told = told.clone();
        async move {
            if request.uri().path() == "/wait" {
                return Cancelled::told(told).await;
            }
            Response::new(http_body_util::BodyExt::boxed(request.into_body()))
        }
    })
    .await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut application = Http2::connect(client.outbound_address()).await;
    let (send, receive) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, hyper::Error>>(1);
    let body = futures::stream::unfold(receive, |mut receive| async {
        receive.recv().await.map(|frame| (frame, receive))
    });
    let request = Request::post("http://web/")
        .body(http_body_util::BodyExt::boxed(http_body_util::StreamBody::new(
            body,
        )))
        .unwrap();
    let mut echo = application.start(request).await.unwrap().into_body();
    for word in ["one", "two", "three"] {
        send.send(Ok(Frame::data(Bytes::from(word)))).await.unwrap();
        let frame = soon("the echo", echo.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), word);
    }
    let waiting = Request::get("http://web/wait").body(empty()).unwrap();
    let never = application.0.send_request(waiting);
    tokio::select! {
        _ = never => panic!("answered"),
        () = eventually("the call is under way", || app.requests() == 2) => {}
    }
    soon("the server hears of it", is_told.recv()).await.unwrap();
    drop(send);
    assert!(
        soon("the end", echo.collect())
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );
}

#[tokio::test]
async fn bytes_are_carried_and_each_side_may_finish_first() {
    let mesh = Mesh::new();
    let _app = Server::tcp(mesh.app(1), |mut stream| async move {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.unwrap();
        stream.write_all(b"heard ").await.unwrap();
        stream.write_all(&all).await.unwrap();
    })
    .await;
    let web = mesh.web_declaring(Protocol::Tcp, vec![]);
    let client = mesh.client(Protocol::Tcp);
    let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(to_end(&mut stream).await, "heard GET / HTTP/1.1\r\n\r\n");
    let secured = [
        "connection_security_policy=\"mutual_tls\"",
        "request_protocol=\"tcp\"",
    ];
    let opened = "istio_tcp_connections_opened_total";
    web.counts(opened, &secured, 1).await;
}

#[tokio::test]
async fn a_server_that_speaks_first_is_heard() {
    let mesh = Mesh::new();
    let _app = Server::tcp(mesh.app(1), |mut stream| async move {
        stream.write_all(b"220 hello\r\n").await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Detect);
    for _ in 0..2 {
        let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
        assert_eq!(until(&mut stream, "\n").await, "220 hello\r\n");
        stream.write_all(b"EHLO me\r\n").await.unwrap();
        assert_eq!(until(&mut stream, "\n").await, "EHLO me\r\n");
    }
}

#[tokio::test]
async fn large_amounts_arrive_whole_both_ways_at_once() {
    let mesh = Mesh::new();
    let _app = Server::tcp(mesh.app(1), |mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Tcp);
    let stream = TcpStream::connect(client.outbound_address()).await.unwrap();
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
async fn a_reset_is_passed_on() {
    let mesh = Mesh::new();
    let _app = Server::tcp(mesh.app(1), |stream| async move {
        let _ = stream.peek(&mut [0; 1]).await;
        stream.set_zero_linger().unwrap();
    })
    .await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Tcp);
    let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    let error = soon("the reset", stream.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn the_applications_own_tls_is_carried_inside() {
    let mesh = Mesh::new();
    let own = mesh.context("shop/web");
    let acceptor = Mesh::acceptor(&own);
    let _app = Server::tcp(mesh.app(1), move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(stream).await.unwrap();
            stream.write_all(b"inside").await.unwrap();
            stream.shutdown().await.unwrap();
        }
    })
    .await;
    let web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Detect);
    // To the proxies these are bytes like any other, even when they name what proxies speak.
    let as_client = mesh.context("shop/client");
    let config = std::sync::Arc::clone(as_client.client(smilax_proxy::tls::Wire::Bytes));
    let mut stream = crate::support::mesh::shake_hands(client.outbound_address(), config)
        .await
        .unwrap();
    let mut text = String::new();
    soon("the end", stream.read_to_string(&mut text)).await.unwrap();
    assert_eq!(text, "inside");
    let secured = ["connection_security_policy=\"mutual_tls\""];
    let opened = "istio_tcp_connections_opened_total";
    web.counts(opened, &secured, 1).await;
}

#[tokio::test]
async fn a_headless_destination_is_recognised_by_host_and_each_of_its_pods_proves_itself() {
    let mesh = Mesh::new();
    let _app = Server::mirror(mesh.app(1)).await;
    let web = mesh.web(vec![]);
    let mut config = mesh.secured(1, Protocol::Http, vec![]);
    let mut headless = config.destinations[0].clone();
    headless.name = "shop/db".parse().unwrap();
    headless.addresses = vec![];
    config.destinations = vec![headless];
    let client = mesh.client_with(&config);
    let mut application = Http1::connect(client.outbound_address()).await;
    let to = |host: &str| Request::get("/").header("host", host).body(empty()).unwrap();
    let answer = application.send(to("db.shop.svc.cluster.local:8080")).await;
    assert!(
        answer.text.contains("smilax-client-identity: spiffe://"),
        "{}",
        answer.text
    );
    // The name of one pod bypasses the Service, and with it what is known of who is there.
    let answer = application.send(to("db-0.db.shop.svc")).await;
    assert!(!answer.text.contains("smilax-client-identity"), "{}", answer.text);
    certify(&web, &mesh.context("shop/thief"));
    let fresh = mesh.client_with(&config);
    let mut application = Http1::connect(fresh.outbound_address()).await;
    let answer = application.send(to("db")).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_connection_is_asked_to_end_when_the_certificate_of_its_caller_runs_out() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let _web = mesh.web(vec![]);
    let leaf = mesh.authority.leaf_with(|leaf| leaf.not_after = 2);
    let context = mesh.context_of(&leaf, &[&mesh.authority]);
    let stream = mesh
        .connect(&context, smilax_proxy::tls::Wire::Http2)
        .await
        .unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    let connection = tokio::spawn(connection);
    let ask = Request::get("http://web/").body(empty()).unwrap();
    let answer = read(sender.send_request(ask).await.unwrap()).await;
    assert_eq!(answer.text, "app");
    soon("the connection ends", connection).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_new_certificate_takes_over_without_one_failed_request() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut application = Http1::connect(client.outbound_address()).await;
    for _ in 0..10 {
        assert_eq!(application.get("/").await.text, "app");
        certify(&web, &mesh.context("shop/web"));
        assert_eq!(application.get("/").await.text, "app");
        certify(&client, &mesh.context("shop/client"));
    }
}
