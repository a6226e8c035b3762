//! Attacks on identity and access, by their numbers in `docs/attacks.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use rcgen::ExtendedKeyUsagePurpose;
use smilax_core::config::{
    AccessMode, HeaderMatch, HttpMatch, InboundPolicy, Protocol, SourceMatch, TlsMode,
};
use smilax_core::{ProxyConfig, Workload};
use smilax_proxy::tls::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::access::{DECISIONS, path};
use crate::support::authority::Authority;
use crate::support::client::{Http1, Http2, exchange, get, request, to_end, until};
use crate::support::mesh::{Mesh, certify, config, credulous, shake_hands, target, targets};
use crate::support::server::{Server, empty, frames, full};
use crate::support::{TestProxy, eventually, matched, soon, split};

const PLAIN: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
const FAILURES: &str = "smilax_proxy_tls_failures_total";

fn strict() -> Vec<InboundPolicy> {
    vec![InboundPolicy {
        tls: Some(TlsMode::Strict),
        ..InboundPolicy::default()
    }]
}

fn method(name: &str) -> HttpMatch {
    HttpMatch {
        methods: vec![name.to_owned()],
        ..HttpMatch::default()
    }
}

fn header(name: &str, value: &str) -> HttpMatch {
    HttpMatch {
        headers: vec![HeaderMatch {
            name: name.to_owned(),
            value: value.to_owned(),
        }],
        ..HttpMatch::default()
    }
}

/// A proxy of an application in which `shop/client` may do this.
fn allowing(mesh: &Mesh, http: Vec<HttpMatch>) -> TestProxy {
    mesh.web(targets(vec![target(&["shop/client"], Some(http))]))
}

/// What a server does to whom it does not believe shows at the latest when something is read.
async fn is_turned_away(mesh: &Mesh, config: Arc<rustls::ClientConfig>) -> bool {
    match shake_hands(mesh.net.at(1), config).await {
        Err(_) => true,
        Ok(mut stream) => {
            let _ = stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            soon("the end", stream.read(&mut [0; 1])).await.is_err()
        }
    }
}

#[tokio::test]
async fn c1_plaintext_to_a_strict_port_is_reset_and_the_application_sees_no_byte() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(strict());
    let own_tls = credulous(&[b"h2"]);
    assert!(shake_hands(mesh.net.at(1), Arc::new(own_tls)).await.is_err());
    for bytes in [PLAIN, b"\0\x01binary", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = TcpStream::connect(web.inbound_address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let error = soon("the reset", stream.read(&mut [0; 1])).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    assert_eq!(app.connections(), 0);
    let refused = ["outcome=\"refused\""];
    let plaintext = "smilax_proxy_plaintext_connections_total";
    assert_eq!(web.metric_sum(plaintext, &refused).await, 4);
}

#[tokio::test]
async fn c1_an_open_connection_in_plaintext_is_refused_once_its_port_becomes_strict() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(vec![]);
    let mut client = Http1::connect(web.inbound_address()).await;
    assert_eq!(client.get("/").await.text, "app");
    web.apply(&config(2, strict())).await;
    assert_eq!(client.get("/").await.status, StatusCode::FORBIDDEN);
    assert_eq!(app.requests(), 1);
}

#[tokio::test]
async fn c2_a_client_without_a_certificate_of_this_mesh_is_turned_away() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(vec![]);
    assert!(is_turned_away(&mesh, Arc::new(credulous(&[b"smilax-h2"]))).await);
    let stranger = Authority::new("cluster.local");
    let leaf = stranger.leaf("shop/client");
    for wire in Wire::ALL {
        let context = mesh.context_of(&leaf, &[&mesh.authority]);
        assert!(is_turned_away(&mesh, Arc::clone(context.client(wire))).await);
    }
    assert_eq!(app.connections(), 0);
    assert_eq!(web.metric_sum(FAILURES, &["direction=\"inbound\""]).await, 4);
}

#[tokio::test]
async fn c2_a_server_without_a_certificate_of_this_mesh_is_sent_nothing() {
    let mesh = Mesh::new();
    let stranger = Authority::new("cluster.local");
    let leaf = stranger.leaf("shop/web");
    let fake = Mesh::acceptor(&mesh.context_of(&leaf, &[&mesh.authority]));
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let _fake = Server::tcp(mesh.net.at(1), move |stream| {
        let (fake, tell) = (fake.clone(), tell.clone());
        async move { tell.send(fake.accept(stream).await.is_ok()).unwrap() }
    })
    .await;
    let client = mesh.client(Protocol::Http);
    let answer = get(client.outbound_address(), "/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(soon("the handshake", told.recv()).await, Some(false));
    assert_eq!(client.metric_sum(FAILURES, &["reason=\"untrusted\""]).await, 1);
}

#[tokio::test]
async fn c2_a_server_that_speaks_no_tls_is_sent_no_request() {
    let mesh = Mesh::new();
    let plain = Server::named(mesh.net.at(1), "plain").await;
    let client = mesh.client(Protocol::Http);
    let answer = get(client.outbound_address(), "/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let call = Request::post("http://web/a")
        .header("content-type", "application/grpc")
        .body(full("x"))
        .unwrap();
    let answer = Http2::connect(client.outbound_address()).await.send(call).await;
    assert_eq!(answer.headers["grpc-status"], "14");
    let bytes = mesh.client(Protocol::Tcp);
    assert_eq!(exchange(bytes.outbound_address(), b"secret").await, "");
    assert_eq!(plain.requests(), 0);
}

#[tokio::test]
async fn c2_a_proxy_without_a_certificate_sends_nothing_in_plaintext_instead() {
    let mesh = Mesh::new();
    let web = Server::named(mesh.net.at(1), "web").await;
    let config = mesh.secured(1, Protocol::Http, vec![]);
    let client = TestProxy::outbound(mesh.net.at(1), &config);
    let answer = get(client.outbound_address(), "/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(web.connections(), 0);
    assert_eq!(client.metric_sum(FAILURES, &["reason=\"no_identity\""]).await, 1);
}

#[tokio::test]
async fn c4_a_caller_of_another_trust_domain_is_turned_away() {
    let mesh = Mesh::new();
    let _web = mesh.web(vec![]);
    let leaf = mesh
        .authority
        .leaf_with(|leaf| leaf.uris = vec!["spiffe://other.local/ns/shop/sa/client".to_owned()]);
    let context = mesh.context_of(&leaf, &[&mesh.authority]);
    assert!(is_turned_away(&mesh, Arc::clone(context.client(Wire::Http2))).await);
}

#[tokio::test]
async fn c5_an_identity_that_is_written_in_another_way_is_nobodys() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let _web = mesh.web(targets(vec![target(&["shop/client"], None)]));
    let good = "spiffe://cluster.local/ns/shop/sa/client";
    let mut leaves = vec![mesh.authority.leaf_with(|leaf| {
        leaf.uris = vec![];
        leaf.dns_names = vec!["cluster.local".to_owned()];
    })];
    for uris in [
        vec![good, "spiffe://cluster.local/ns/shop/sa/other"],
        vec![good, good],
        vec!["spiffe://cluster.local/ns/shop/sa/client/"],
        vec!["spiffe://cluster.local/ns/shop/sa/cl%69ent"],
        vec!["SPIFFE://cluster.local/ns/shop/sa/client"],
        vec!["spiffe://CLUSTER.local/ns/shop/sa/client"],
        vec!["https://cluster.local/ns/shop/sa/client"],
    ] {
        leaves.push(mesh.authority.leaf_with(|leaf| {
            leaf.uris = uris.iter().map(ToString::to_string).collect();
        }));
    }
    let other = mesh.context("shop/client");
    for leaf in leaves {
        let chain = leaf.chain.clone();
        let mut config = credulous(&[b"smilax-h2"]);
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let key = rustls::sign::CertifiedKey::from_der(chain, leaf.key(), &provider).unwrap();
        config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(key));
        assert!(is_turned_away(&mesh, Arc::new(config)).await);
    }
    assert!(!is_turned_away_by_reading(&mesh, &other).await);
}

/// Whether somebody good is turned away: what shows that a test of the bad can fail.
async fn is_turned_away_by_reading(mesh: &Mesh, context: &smilax_proxy::tls::TlsContext) -> bool {
    let mut stream = mesh.connect(context, Wire::Http2).await.unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    soon("settings", stream.read(&mut [0; 9])).await.is_err()
}

#[tokio::test]
async fn c5_an_upper_case_account_is_another_account() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let _web = mesh.web(targets(vec![target(&["shop/client"], None)]));
    let client = mesh.client_of("shop/CLIENT", Protocol::Http);
    assert_eq!(
        get(client.outbound_address(), "/").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(app.requests(), 0);
}

#[tokio::test]
async fn c6_a_certificate_that_is_not_for_this_use_is_refused() {
    let mesh = Mesh::new();
    let _web = mesh.web(vec![]);
    let only_server = mesh
        .authority
        .leaf_with(|leaf| leaf.usages = vec![ExtendedKeyUsagePurpose::ServerAuth]);
    let none = mesh.authority.leaf_with(|leaf| leaf.usages = vec![]);
    for leaf in [
        only_server,
        none,
        mesh.authority.leaf_of_a_leaf(),
        mesh.authority.leaf_below_a_second_issuer(),
    ] {
        let context = mesh.context_of(&leaf, &[&mesh.authority]);
        assert!(is_turned_away(&mesh, Arc::clone(context.client(Wire::Http1))).await);
    }
}

#[tokio::test]
async fn c6_a_server_with_a_certificate_for_clients_only_is_sent_nothing() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let leaf = mesh
        .authority
        .leaf_with(|leaf| leaf.usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    let web = mesh.web(vec![]);
    certify(&web, &mesh.context_of(&leaf, &[&mesh.authority]));
    let client = mesh.client(Protocol::Http);
    let answer = get(client.outbound_address(), "/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(app.requests(), 0);
    assert_eq!(client.metric_sum(FAILURES, &["reason=\"usage\""]).await, 1);
}

#[tokio::test]
async fn c2_a_proxy_that_is_not_believed_says_so_and_does_not_blame_the_application() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let _web = mesh.web(vec![]);
    let stranger = Authority::new("cluster.local");
    let client = mesh.client(Protocol::Http);
    let leaf = stranger.leaf("shop/client");
    certify(&client, &mesh.context_of(&leaf, &[&mesh.authority]));
    let answer = get(client.outbound_address(), "/").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(client.metric_sum(FAILURES, &["reason=\"disbelieved\""]).await, 1);
}

#[tokio::test]
async fn c8_a_session_is_worth_nothing_after_its_root_was_dropped() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(vec![]);
    let as_client = mesh.context("shop/client");
    for _ in 0..3 {
        assert!(!is_turned_away_by_reading(&mesh, &as_client).await);
    }
    let next = Authority::new("cluster.local");
    certify(&web, &mesh.context_of(&mesh.authority.leaf("shop/web"), &[&next]));
    assert!(is_turned_away(&mesh, Arc::clone(as_client.client(Wire::Http2))).await);
}

#[tokio::test]
async fn c9_connections_of_a_root_that_is_dropped_end_on_both_sides() {
    let mesh = Mesh::new();
    let _app = Server::tcp(mesh.app(1), |mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    let next = Authority::new("cluster.local");
    let open = |protocol| {
        let mesh = &mesh;
        async move {
            let client = mesh.client(protocol);
            let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
            stream.write_all(b"hi").await.unwrap();
            assert_eq!(until(&mut stream, "hi").await, "hi");
            (client, stream)
        }
    };
    // The server no longer believes the client, or the client the server.
    let web = mesh.web(vec![]);
    let (_client, mut stream) = open(Protocol::Tcp).await;
    certify(&web, &mesh.context_of(&next.leaf("shop/web"), &[&next]));
    soon("the end", stream.read(&mut [0; 1])).await.unwrap_err();
    certify(&web, &mesh.context("shop/web"));
    let (client, mut stream) = open(Protocol::Tcp).await;
    certify(&client, &mesh.context_of(&next.leaf("shop/client"), &[&next]));
    soon("the end", stream.read(&mut [0; 1])).await.unwrap_err();
}

#[tokio::test]
async fn c9_requests_under_way_on_a_connection_of_a_dropped_root_are_given_some_time_and_no_more() {
    let mesh = Mesh::new();
    let app = Server::http(mesh.app(1), |_| std::future::pending()).await;
    let web = mesh.web_with(vec![], |builder| {
        builder.set(|settings| settings.limits.distrusted = Duration::from_millis(300))
    });
    let client = mesh.client(Protocol::Http);
    let mut application = Http1::connect(client.outbound_address()).await;
    let waiting = tokio::spawn(async move { application.send(request("POST", "/")).await });
    eventually("the request is under way", || app.requests() == 1).await;
    let next = Authority::new("cluster.local");
    certify(&web, &mesh.context_of(&next.leaf("shop/web"), &[&next, &next]));
    let answer = soon("the answer", waiting).await.unwrap();
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
}

#[tokio::test]
async fn c10_handshakes_that_do_not_go_on_end_and_cannot_take_the_place_of_others() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web_with(strict(), |builder| {
        builder.set(|settings| {
            settings.limits.handshake = Duration::from_millis(400);
            settings.limits.handshakes_of_one = 20;
        })
    });
    let mut half_open = Vec::new();
    for begun in (0..60).map(|index| [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc][..index % 6 + 3]].concat()) {
        let mut stream = TcpStream::connect(web.inbound_address()).await.unwrap();
        let _ = stream.write_all(&begun).await;
        half_open.push(stream);
    }
    for mut stream in half_open {
        let mut nothing = Vec::new();
        let _ = soon("the end", stream.read_to_end(&mut nothing)).await;
        assert!(nothing.is_empty());
    }
    assert!(web.metric_sum(FAILURES, &["reason=\"too_many\""]).await >= 30);
    let client = mesh.client(Protocol::Http);
    assert_eq!(get(client.outbound_address(), "/").await.text, "app");
}

#[tokio::test]
async fn c10_a_hello_in_pieces_is_understood_and_one_that_is_too_large_or_offers_nothing_of_ours_is_not() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(strict());
    let as_client = mesh.context("shop/client");
    let name = rustls::pki_types::ServerName::try_from("web").unwrap();
    let config = Arc::clone(as_client.client(Wire::Http1));
    let mut connection = rustls::ClientConnection::new(config, name).unwrap();
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).unwrap();
    let mut stream = TcpStream::connect(web.inbound_address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in hello.chunks(hello.len() / 7) {
        stream.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut first = [0; 3];
    soon("the server's hello", stream.read_exact(&mut first))
        .await
        .unwrap();
    assert_eq!(first[0], 0x16);
    assert!(is_turned_away(&mesh, Arc::new(credulous(&[b"http/1.1"]))).await);
    assert!(is_turned_away(&mesh, Arc::new(credulous(&[]))).await);
    // A handshake message that says it has 16 MiB, in record after record.
    let record = [&[0x16, 3, 1, 0x40, 0][..], &vec![0; 16 * 1024]].concat();
    let mut stream = TcpStream::connect(web.inbound_address()).await.unwrap();
    let mut huge = record.clone();
    huge[5..9].copy_from_slice(&[1, 0xff, 0xff, 0xff]);
    let _ = stream.write_all(&huge).await;
    for _ in 0..8 {
        let _ = stream.write_all(&record).await;
    }
    assert_eq!(to_end(&mut stream).await, "");
}

#[tokio::test]
async fn c11_a_valid_certificate_of_the_wrong_account_on_a_stolen_address_is_refused() {
    let mesh = Mesh::new();
    let stolen = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&stolen);
    let _app = Server::tcp(mesh.app(1), move |mut stream| {
        let counted = Arc::clone(&counted);
        async move {
            let mut bytes = [0; 1024];
            while let Ok(length) = stream.read(&mut bytes).await
                && length > 0
            {
                counted.fetch_add(length, Ordering::SeqCst);
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nstolen")
                    .await;
            }
        }
    })
    .await;
    let thief = mesh.web(vec![]);
    certify(&thief, &mesh.context("shop/thief"));
    let client = mesh.client(Protocol::Http);
    assert_eq!(
        get(client.outbound_address(), "/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let bytes = mesh.client(Protocol::Tcp);
    assert_eq!(exchange(bytes.outbound_address(), b"secret").await, "");
    let other_namespace = mesh.context("other/web");
    certify(&thief, &other_namespace);
    assert_eq!(
        get(client.outbound_address(), "/").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    assert_eq!(stolen.load(Ordering::SeqCst), 0);
    let counted = ["reason=\"unexpected_peer\"", "direction=\"outbound\""];
    assert_eq!(client.metric_sum(FAILURES, &counted).await, 2);
    certify(&thief, &mesh.context("shop/web"));
    assert_eq!(get(client.outbound_address(), "/").await.text, "stolen");
}

#[tokio::test]
async fn c11_a_kept_connection_is_not_used_for_who_is_no_longer_expected() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let _web = mesh.web(vec![]);
    let client = mesh.client(Protocol::Http);
    let mut application = Http1::connect(client.outbound_address()).await;
    assert_eq!(application.get("/").await.text, "app");
    let mut config = mesh.secured(2, Protocol::Http, vec![]);
    config.destinations[0].accounts = vec![Workload::new("shop", "successor")];
    client.apply(&config).await;
    assert_eq!(application.get("/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(app.requests(), 1);
}

#[tokio::test]
async fn c12_headers_of_identity_from_outside_are_taken_away_in_every_spelling() {
    let mesh = Mesh::new();
    let _app = Server::mirror(mesh.app(1)).await;
    let web = mesh.web(vec![]);
    let forged = b"POST / HTTP/1.1\r\nhost: web\r\nconnection: close, te\r\nte: trailers\r\n\
        Smilax-Client-Identity: spiffe://cluster.local/ns/shop/sa/admin\r\n\
        smilax_client_identity: a\r\nSmilax-Client_Identity: b\r\n\
        x-forwarded-client-cert: By=a;URI=b\r\nX_Forwarded_Client_Cert: c\r\nx-forwarded_client-cert: d\r\n\
        smilax-form: 2\r\nsmilax_form: 2\r\n\
        trailer: smilax-client-identity\r\ntransfer-encoding: chunked\r\n\r\n\
        2\r\nhi\r\n0\r\nsmilax-client-identity: spiffe://cluster.local/ns/shop/sa/admin\r\n\r\n";
    let seen = exchange(web.inbound_address(), forged).await;
    let seen = seen.split_once("\r\n\r\n").unwrap().1;
    for forged in [
        "spiffe://",
        "By=",
        "x_forwarded",
        "smilax_",
        "smilax-form",
        "client_cert",
    ] {
        assert!(!seen.contains(forged), "{forged}: {seen}");
    }
    let client = mesh.client(Protocol::Http);
    let seen = exchange(client.outbound_address(), forged).await;
    let seen = seen.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(seen.matches("smilax-client-identity: ").count(), 1, "{seen}");
    assert_eq!(seen.matches("x-forwarded-client-cert: ").count(), 1, "{seen}");
    assert!(!seen.contains("admin"), "{seen}");
    for path in [
        "x-envoy-original-path: /b\r\n",
        "connection: smilax-client-identity\r\n",
    ] {
        let request = format!("GET /a HTTP/1.1\r\nhost: web\r\n{path}connection: close\r\n\r\n");
        let seen = exchange(client.outbound_address(), request.as_bytes()).await;
        assert!(seen.contains("GET /a HTTP/1.1\n"), "{seen}");
        assert_eq!(
            seen.matches("smilax-client-identity: spiffe://").count(),
            1,
            "{seen}"
        );
    }
}

#[tokio::test]
async fn c12_the_form_of_a_request_is_not_believed_of_who_is_no_proxy() {
    let mesh = Mesh::new();
    let _app = Server::mirror(mesh.app(1)).await;
    let web = mesh.web(vec![]);
    let forged = Request::get("http://web/a")
        .header("smilax-form", "1.1")
        .body(empty())
        .unwrap();
    let seen = Http2::connect(web.inbound_address()).await.send(forged).await;
    assert!(
        seen.text.starts_with("GET http://web/a HTTP/2.0\n"),
        "{}",
        seen.text
    );
    assert!(!seen.text.contains("smilax-form"), "{}", seen.text);
}

#[tokio::test]
async fn d1_a_path_that_two_readers_could_read_differently_is_refused() {
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
    for allowed in ["/pub/a?b=../c", "/%70ub/%41", "/pub;v=1", "/pub."] {
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
    let mesh = Mesh::new();
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
    let _web = mesh.web(targets(vec![named]));
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
    let mesh = Mesh::new();
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
    assert_eq!(web.metric_sum(DECISIONS, &["reason=\"not_http\""]).await, 2);
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
    let mesh = Mesh::new();
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
    let mesh = Mesh::new();
    let _app = Server::tcp(mesh.app(1), |mut stream| async move {
        let mut first = [0; 3];
        stream.peek(&mut first).await.unwrap();
        if &first == b"GET" {
            until(&mut stream, "\r\n\r\n").await;
            let answer =
                b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nswitched";
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
        .write_all(b"GET /chat HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n")
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
}

#[tokio::test]
async fn d11_the_next_stream_of_an_open_connection_is_refused() {
    let mesh = Mesh::new();
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
