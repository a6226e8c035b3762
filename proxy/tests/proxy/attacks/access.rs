//! D: what somebody may do, and where it goes.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode};
use smilax_core::ProxyConfig;
use smilax_core::config::{AccessMode, HeaderMatch, HttpMatch, InboundPolicy, Protocol, SourceMatch};
use smilax_proxy::tls::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::PLAIN;
use crate::access::{DECISIONS, path};
use crate::support::client::{Http2, exchange, get, until};
use crate::support::mesh::{Mesh, config, target, targets};
use crate::support::server::{Server, empty, frames};
use crate::support::{TestProxy, eventually, matched, over_both, soon, split};

pub(super) fn method(name: &str) -> HttpMatch {
    HttpMatch {
        methods: vec![name.to_owned()],
        ..HttpMatch::default()
    }
}

pub(super) fn header(name: &str, value: &str) -> HttpMatch {
    HttpMatch {
        headers: vec![HeaderMatch {
            name: name.to_owned(),
            value: value.to_owned(),
        }],
        ..HttpMatch::default()
    }
}

/// A proxy of an application in which `shop/client` may do this.
pub(super) fn allowing(mesh: &Mesh, http: Vec<HttpMatch>) -> TestProxy {
    mesh.web(targets(vec![target(&["shop/client"], Some(http))]))
}

#[tokio::test]
async fn d1_s9_a_path_that_two_readers_could_read_differently_is_refused() {
    let mesh = Mesh::new();
    let app = Server::mirror(mesh.app(1)).await;
    let _web = allowing(&mesh, vec![path("^(?:/pub)")]);
    let client = mesh.client(Protocol::Http);
    for refused in [
        "/pub/../admin",
        "/pub/%2e%2e/admin",
        "/pub/.%2E/admin",
        "/./pub",
        "//pub",
        "/pub//admin",
        "/pub%2f..%2fadmin",
        "/pub/%5c../admin",
        "/pub%00",
        "/pub/..",
        // S9
        "/pub/..;/admin",
        "/pub/%2e%2e%3bx/admin",
        "/pub/.;a=b/admin",
        "/pub/;/admin",
        "/pub/%252e%252e/admin",
        "/pub/%c0%ae%c0%ae/admin",
        "/pub/%ef%bc%8e%ef%bc%8e/admin",
    ] {
        let request = format!("GET {refused} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = exchange(client.outbound_address(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{refused}: {answer}");
    }
    assert_eq!(app.requests(), 0);
    for denied in ["/admin", "/admin?/pub", "/admin;/pub", "/%61dmin", "/PUB"] {
        let request = format!("GET {denied} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = exchange(client.outbound_address(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{denied}: {answer}");
    }
    // What is allowed is what the application gets, byte for byte.
    for allowed in [
        "/pub/a?b=..;/c",
        "/%70ub/%41",
        "/pub;v=1",
        "/pub.",
        "/pub/;jsessionid=1",
        "/pub/a;v=1/b",
    ] {
        let request = format!("GET {allowed} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        let answer = exchange(client.outbound_address(), request.as_bytes()).await;
        assert!(
            answer.contains(&format!("GET {allowed} HTTP/1.1\n")),
            "{allowed}: {answer}"
        );
    }
}

#[tokio::test]
async fn d2_a_fragment_never_hides_a_path() {
    let mesh = Mesh::new();
    let app = Server::mirror(mesh.app(1)).await;
    let _web = allowing(&mesh, vec![path("^(?:/pub)$")]);
    let client = mesh.client(Protocol::Http);
    let answer = exchange(
        client.outbound_address(),
        b"GET /admin#/pub HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 403") || answer.starts_with("HTTP/1.1 400"),
        "{answer}"
    );
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn d3_a_host_in_another_spelling_is_never_more_than_was_allowed() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let app = Server::named(mesh.app(1), "app").await;
        let _web = allowing(&mesh, vec![header("host", "^(?:web)$")]);
        let client = mesh.client(Protocol::Http);
        let ask = async |host: &str| {
            let request = format!("GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            let answer = exchange(client.outbound_address(), request.as_bytes()).await;
            answer.split(' ').nth(1).unwrap_or_default().to_owned()
        };
        assert_eq!(ask("web").await, "200");
        for other in ["web.", "web:8080", "[::1]", "admin", "xweb"] {
            assert_eq!(ask(other).await, "403", "{other}");
        }
        assert_eq!(app.requests(), 1);
    })
    .await;
}

#[tokio::test]
async fn d4_every_value_of_a_header_must_match() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let _web = allowing(&mesh, vec![header("x-role", "^(?:reader)$")]);
    let client = mesh.client(Protocol::Http);
    for (headers, status) in [
        ("x-role: reader\r\n", "200"),
        ("x-role: reader\r\nx-role: reader\r\n", "200"),
        ("x-role: reader\r\nx-role: admin\r\n", "403"),
        ("x-role: admin\r\nx-role: reader\r\n", "403"),
        ("x-role: reader,admin\r\n", "403"),
        ("x-role:\r\n", "403"),
        ("", "403"),
    ] {
        let request = format!("GET / HTTP/1.1\r\nhost: a\r\n{headers}connection: close\r\n\r\n");
        let answer = exchange(client.outbound_address(), request.as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{headers:?}");
    }
    assert_eq!(app.requests(), 2);
}

#[tokio::test]
async fn d5_names_of_accounts_are_no_patterns() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let _web = mesh.web(targets(vec![target(&["shop/a.b", "shop/.*"], None)]));
    for (account, status) in [("shop/a.b", 200), ("shop/axb", 403), ("shop/client", 403)] {
        let client = mesh.client_of(account, Protocol::Http);
        assert_eq!(
            get(client.outbound_address(), "/").await.status,
            status,
            "{account}"
        );
    }
}

#[tokio::test]
async fn d6_an_identity_that_only_begins_or_ends_like_one_that_may_is_denied_as_bytes_too() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let mut named = target(&["shop/client"], None);
    let spiffe = "spiffe://cluster.local/ns/shop/sa/client2".parse().unwrap();
    named.sources.push(SourceMatch::Spiffe(spiffe));
    let _web = mesh.web_declaring(Protocol::Tcp, targets(vec![named]));
    for account in ["shop/client22", "shop/clien", "workshop/client", "shop/xclient"] {
        let client = mesh.client_of(account, Protocol::Tcp);
        assert_eq!(exchange(client.outbound_address(), PLAIN).await, "", "{account}");
    }
    assert_eq!(app.connections(), 0);
    let client = mesh.client_of("shop/client2", Protocol::Tcp);
    assert!(exchange(client.outbound_address(), PLAIN).await.ends_with("app"));
}

#[tokio::test]
async fn d7_bytes_are_denied_where_only_requests_are_allowed() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let app = Server::named(mesh.app(1), "app").await;
        let web = allowing(&mesh, vec![HttpMatch::default()]);
        let client = mesh.client(Protocol::Detect);
        let tls = b"\x16\x03\x01\x02\x00\x01 a TLS ClientHello";
        for bytes in [&b"*1\r\n$4\r\nPING\r\n"[..], tls] {
            assert_eq!(exchange(client.outbound_address(), bytes).await, "");
            assert_eq!(exchange(web.inbound_address(), bytes).await, "");
        }
        assert_eq!(app.connections(), 0);
        assert_eq!(get(client.outbound_address(), "/").await.text, "app");
        web.counts(DECISIONS, &["reason=\"not_http\""], 2).await;
    })
    .await;
}

#[tokio::test]
async fn d8_a_method_is_what_the_request_line_says() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let _web = allowing(&mesh, vec![method("GET")]);
    let client = mesh.client(Protocol::Http);
    for line in ["HEAD /", "get /", "POST /", "GETX /", "PROPFIND /"] {
        let request = format!(
            "{line} HTTP/1.1\r\nhost: a\r\nx-http-method-override: GET\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        let answer = exchange(client.outbound_address(), request.as_bytes()).await;
        assert_eq!(answer.split(' ').nth(1), Some("403"), "{line}");
    }
    assert_eq!(app.requests(), 0);
    assert_eq!(get(client.outbound_address(), "/").await.text, "app");
}

#[tokio::test]
async fn d9_who_goes_around_its_own_proxy_meets_the_same_decision() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let app = Server::named(mesh.app(1), "app").await;
        let web = mesh.web(targets(vec![target(
            &["shop/client"],
            Some(vec![path("^(?:/api)")]),
        )]));
        // In plaintext, it is nobody.
        assert_eq!(
            get(web.inbound_address(), "/api").await.status,
            StatusCode::FORBIDDEN
        );
        // With its certificate taken out of the proxy, it is what it was.
        let as_client = mesh.context("shop/client");
        for (path, status) in [("/api", StatusCode::OK), ("/admin", StatusCode::FORBIDDEN)] {
            let stream = mesh.connect(&as_client, Wire::Http2).await.unwrap();
            let executor = hyper_util::rt::TokioExecutor::new();
            let io = hyper_util::rt::TokioIo::new(stream);
            let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
            tokio::spawn(connection);
            let request = Request::get(format!("http://web{path}"))
                .header("smilax-form", "1.1")
                .body(empty())
                .unwrap();
            let response = soon("the answer", sender.send_request(request)).await.unwrap();
            assert_eq!(response.status(), status, "{path}");
        }
        assert_eq!(app.requests(), 1);
    })
    .await;
}

#[tokio::test]
async fn d10_without_a_policy_nobody_may_call_and_a_bad_one_changes_nothing() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let unread = TestProxy::builder()
        .inbound(mesh.app(1))
        .set(|settings| settings.config = smilax_proxy::settings::ConfigLocation::File("/nowhere".into()))
        .start();
    let answer = get(unread.inbound_address(), "/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(exchange(unread.inbound_address(), b"\0bytes").await, "");
    assert_eq!(app.connections(), 0);
    let web = mesh.web(targets(vec![target(&["shop/client"], None)]));
    let open = config(2, vec![]);
    let mut unknown_feature = open.clone();
    unknown_feature.requires = vec!["teleport".to_owned()];
    let bad_pattern = config(2, targets(vec![target(&["shop/client"], Some(vec![path("(")]))]));
    let rejected = "smilax_proxy_config_rejected_total";
    for (count, bad) in [
        &b"{"[..],
        &serde_json::to_vec(&unknown_feature).unwrap(),
        &serde_json::to_vec(&bad_pattern).unwrap(),
        b"{\"revision\":{\"term\":1,\"counter\":9},\"inbound\":[{\"access\":\"everybody\"}]}",
    ]
    .iter()
    .enumerate()
    {
        web.write(bad);
        let metrics = Arc::clone(&web.proxy().shared().metrics);
        eventually("it is rejected", || {
            let text = String::from_utf8(metrics.text().unwrap()).unwrap();
            let sum: usize = text
                .lines()
                .filter(|line| line.starts_with(rejected))
                .map(|line| line.rsplit(' ').next().unwrap().parse::<usize>().unwrap())
                .sum();
            sum > count
        })
        .await;
        assert_eq!(
            get(web.inbound_address(), "/").await.status,
            StatusCode::FORBIDDEN
        );
    }
}

#[tokio::test]
async fn d11_a_right_that_is_taken_away_ends_what_is_open() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let _app = Server::tcp(mesh.app(1), |mut stream| async move {
            let mut first = [0; 3];
            stream.peek(&mut first).await.unwrap();
            if &first == b"GET" {
                until(&mut stream, "\r\n\r\n").await;
                let answer =
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                  sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nswitched";
                stream.write_all(answer).await.unwrap();
            }
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        })
        .await;
        let chat = HttpMatch {
            methods: vec!["GET".to_owned()],
            ..path("^(?:/chat)")
        };
        let both = vec![
            target(&["shop/bytes"], None),
            target(&["shop/upgrade"], Some(vec![chat])),
        ];
        let web = mesh.web(targets(both.clone()));
        let bytes = mesh.client_of("shop/bytes", Protocol::Tcp);
        let mut of_bytes = TcpStream::connect(bytes.outbound_address()).await.unwrap();
        of_bytes.write_all(b"hi!").await.unwrap();
        until(&mut of_bytes, "hi!").await;
        let upgrade = mesh.client_of("shop/upgrade", Protocol::Http);
        let mut upgraded = TcpStream::connect(upgrade.outbound_address()).await.unwrap();
        upgraded
            .write_all(
                b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
            sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            )
            .await
            .unwrap();
        until(&mut upgraded, "switched").await;
        // A change that leaves both rights leaves both connections.
        let mut reversed = both.clone();
        reversed.reverse();
        web.apply(&config(2, targets(reversed))).await;
        for stream in [&mut of_bytes, &mut upgraded] {
            stream.write_all(b"still").await.unwrap();
            until(stream, "still").await;
        }
        web.apply(&config(3, targets(vec![both[1].clone()]))).await;
        soon("the reset", of_bytes.read(&mut [0; 1])).await.unwrap_err();
        upgraded.write_all(b"yet").await.unwrap();
        until(&mut upgraded, "yet").await;
        web.apply(&config(4, targets(vec![target(&["shop/other"], None)])))
            .await;
        soon("the reset", upgraded.read(&mut [0; 1])).await.unwrap_err();
    })
    .await;
}

#[tokio::test]
async fn d11_the_next_stream_of_an_open_connection_is_refused() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let _app = Server::http(mesh.app(1), |_| async {
            http::Response::new(frames(vec![hyper::body::Frame::data(bytes::Bytes::from_static(
                b"app",
            ))]))
        })
        .await;
        let web = mesh.web(targets(vec![target(&["shop/client"], None)]));
        let client = mesh.client(Protocol::Http);
        let mut application = Http2::connect(client.outbound_address()).await;
        let ask = || Request::get("http://web/").body(empty()).unwrap();
        assert_eq!(application.send(ask()).await.status, StatusCode::OK);
        web.apply(&config(
            2,
            vec![InboundPolicy {
                access: Some(AccessMode::Deny),
                ..InboundPolicy::default()
            }],
        ))
        .await;
        assert_eq!(application.send(ask()).await.status, StatusCode::FORBIDDEN);
    })
    .await;
}

#[tokio::test]
async fn d14_patterns_are_bounded_and_take_linear_time() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let mut many: Vec<HttpMatch> = (0..2000)
        .map(|index| path(&format!("^(?:/only/{index})$")))
        .collect();
    many.push(path("^(?:/(a+)+b)$"));
    let web = allowing(&mesh, many);
    let client = mesh.client(Protocol::Http);
    let long = format!("/{}", "a".repeat(40_000));
    let started = std::time::Instant::now();
    assert_eq!(
        get(client.outbound_address(), &long).await.status,
        StatusCode::FORBIDDEN
    );
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "{:?}",
        started.elapsed()
    );
    for bomb in [
        "a".repeat(1 << 20),
        "(?:a{1000}){1000}".to_owned(),
        "(".repeat(200) + &")".repeat(200),
    ] {
        web.write(
            &serde_json::to_vec(&config(2, targets(vec![target(&[], Some(vec![path(&bomb)]))]))).unwrap(),
        );
        let metrics = Arc::clone(&web.proxy().shared().metrics);
        eventually("it is rejected", || {
            String::from_utf8(metrics.text().unwrap())
                .unwrap()
                .contains("smilax_proxy_config_rejected_total{")
        })
        .await;
    }
    assert_eq!(
        get(client.outbound_address(), "/only/7").await.text,
        "app",
        "the last good policy is in force"
    );
}

#[tokio::test]
async fn d15_a_split_to_nothing_or_to_itself_has_a_defined_end() {
    let mesh = Mesh::new();
    let net = mesh.net;
    let web = Server::named(net.at(1), "web").await;
    let itself = net.config(1, Protocol::Http, vec![split(&[("shop/web", 1)])]);
    let proxy = TestProxy::outbound(net.at(1), &itself);
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "web");
    let mut no_address = net.config(2, Protocol::Http, vec![split(&[("shop/v1", 1)])]);
    no_address.destinations[1].addresses = vec![];
    proxy.apply(&no_address).await;
    assert_eq!(
        get(proxy.outbound_address(), "/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    // Each names the other: a backend's own routes are not followed.
    let mut circle = net.config(3, Protocol::Http, vec![split(&[("shop/v1", 1)])]);
    circle.destinations[1].ports[0].routes = vec![matched(path("^(?:/)"), "shop/web")];
    proxy.apply(&circle).await;
    let _v1 = Server::named(net.at(2), "v1").await;
    eventually_answers(&proxy, "v1").await;
    for bad in [
        split(&[("shop/v1", 0), ("shop/v2", 0)]),
        split(&[("shop/nowhere", 1)]),
    ] {
        let bad: ProxyConfig = net.config(4, Protocol::Http, vec![bad]);
        proxy.write(&serde_json::to_vec(&bad).unwrap());
        let metrics = Arc::clone(&proxy.proxy().shared().metrics);
        eventually("it is rejected", || {
            String::from_utf8(metrics.text().unwrap())
                .unwrap()
                .contains("smilax_proxy_config_rejected_total{")
        })
        .await;
        assert_eq!(get(proxy.outbound_address(), "/").await.text, "v1");
    }
    assert_eq!(web.requests(), 1);
}

/// Asks until the answer is this: an address where nobody was is tried again only after a while.
async fn eventually_answers(proxy: &TestProxy, text: &str) {
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    while get(proxy.outbound_address(), "/").await.text != text {
        assert!(std::time::Instant::now() < deadline, "{text} never answers");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
