//! C: who somebody is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, StatusCode};
use rcgen::ExtendedKeyUsagePurpose;
use smilax_core::Workload;
use smilax_core::config::{InboundPolicy, Protocol, TlsMode};
use smilax_proxy::tls::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::PLAIN;
use super::raw_http2::{PREFACE, SETTINGS, frame};
use crate::support::authority::Authority;
use crate::support::client::{Http1, Http2, exchange, get, request, until};
use crate::support::mesh::{Mesh, certify, config, credulous, shake_hands, target, targets};
use crate::support::server::{Server, empty, full};
use crate::support::{TestProxy, eventually, over_both, soon};

pub(super) const FAILURES: &str = "smilax_proxy_tls_failures_total";

pub(super) fn strict() -> Vec<InboundPolicy> {
    vec![InboundPolicy {
        tls: Some(TlsMode::Strict),
        ..InboundPolicy::default()
    }]
}

/// What a server does to whom it does not believe shows at the latest when something is read.
pub(super) async fn is_turned_away(mesh: &Mesh, config: Arc<rustls::ClientConfig>) -> bool {
    match shake_hands(mesh.net.at(1), config).await {
        Err(_) => true,
        Ok(mut stream) => {
            let _ = stream.write_all(PREFACE).await;
            soon("the end", stream.read(&mut [0; 1])).await.is_err()
        }
    }
}

#[tokio::test]
async fn c1_plaintext_to_a_strict_port_is_reset_and_the_application_sees_no_byte() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let app = Server::named(mesh.app(1), "app").await;
        let web = mesh.web(strict());
        let own_tls = credulous(&[b"h2"]);
        assert!(shake_hands(mesh.net.at(1), Arc::new(own_tls)).await.is_err());
        for bytes in [PLAIN, b"\0\x01binary", PREFACE] {
            let mut stream = TcpStream::connect(web.inbound_address()).await.unwrap();
            stream.write_all(bytes).await.unwrap();
            let error = soon("the reset", stream.read(&mut [0; 1])).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert_eq!(app.connections(), 0);
        let refused = ["outcome=\"refused\""];
        let plaintext = "smilax_proxy_plaintext_connections_total";
        web.counts(plaintext, &refused, 4).await;
    })
    .await;
}

#[tokio::test]
async fn c1_an_open_connection_in_plaintext_is_refused_once_its_port_becomes_strict() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let app = Server::named(mesh.app(1), "app").await;
        let web = mesh.web(vec![]);
        let mut client = Http1::connect(web.inbound_address()).await;
        assert_eq!(client.get("/").await.text, "app");
        web.apply(&config(2, strict())).await;
        assert_eq!(client.get("/").await.status, StatusCode::FORBIDDEN);
        assert_eq!(app.requests(), 1);
    })
    .await;
}

#[tokio::test]
async fn c2_a_client_without_a_certificate_of_this_mesh_is_turned_away() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
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
        web.counts(FAILURES, &["direction=\"inbound\""], 4).await;
    })
    .await;
}

#[tokio::test]
async fn c2_a_server_without_a_certificate_of_this_mesh_is_sent_nothing() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
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
        client.counts(FAILURES, &["reason=\"untrusted\""], 1).await;
    })
    .await;
}

#[tokio::test]
async fn c2_a_server_that_speaks_no_tls_is_sent_no_request() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
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
    })
    .await;
}

#[tokio::test]
async fn c2_a_proxy_without_a_certificate_sends_nothing_in_plaintext_instead() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let web = Server::named(mesh.net.at(1), "web").await;
        let config = mesh.secured(1, Protocol::Http, vec![]);
        let client = TestProxy::outbound(mesh.net.at(1), &config);
        let answer = get(client.outbound_address(), "/").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(web.connections(), 0);
        client.counts(FAILURES, &["reason=\"no_identity\""], 1).await;
    })
    .await;
}

#[tokio::test]
async fn c4_a_caller_of_another_trust_domain_is_turned_away() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let _web = mesh.web(vec![]);
        let leaf = mesh
            .authority
            .leaf_with(|leaf| leaf.uris = vec!["spiffe://other.local/ns/shop/sa/client".to_owned()]);
        let context = mesh.context_of(&leaf, &[&mesh.authority]);
        assert!(is_turned_away(&mesh, Arc::clone(context.client(Wire::Http2))).await);
    })
    .await;
}

#[tokio::test]
async fn c5_an_identity_that_is_written_in_another_way_is_nobodys() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
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
    })
    .await;
}

/// Whether somebody good is turned away: what shows that a test of the bad can fail.
async fn is_turned_away_by_reading(mesh: &Mesh, context: &smilax_proxy::tls::TlsContext) -> bool {
    let mut stream = mesh.connect(context, Wire::Http2).await.unwrap();
    stream
        .write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
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
    over_both(async |family| {
        let mesh = Mesh::of(family);
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
    })
    .await;
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
    client.counts(FAILURES, &["reason=\"usage\""], 1).await;
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
    client.counts(FAILURES, &["reason=\"disbelieved\""], 1).await;
}

#[tokio::test]
async fn c8_a_session_is_worth_nothing_after_its_root_was_dropped() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let _app = Server::named(mesh.app(1), "app").await;
        let web = mesh.web(vec![]);
        let as_client = mesh.context("shop/client");
        for _ in 0..3 {
            assert!(!is_turned_away_by_reading(&mesh, &as_client).await);
        }
        let next = Authority::new("cluster.local");
        certify(&web, &mesh.context_of(&mesh.authority.leaf("shop/web"), &[&next]));
        assert!(is_turned_away(&mesh, Arc::clone(as_client.client(Wire::Http2))).await);
    })
    .await;
}

#[tokio::test]
async fn c9_connections_of_a_root_that_is_dropped_end_on_both_sides() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
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
    })
    .await;
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
async fn c11_a_valid_certificate_of_the_wrong_account_on_a_stolen_address_is_refused() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
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
        client.counts(FAILURES, &counted, 2).await;
        certify(&thief, &mesh.context("shop/web"));
        assert_eq!(get(client.outbound_address(), "/").await.text, "stolen");
    })
    .await;
}

#[tokio::test]
async fn c11_a_kept_connection_is_not_used_for_who_is_no_longer_expected() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let app = Server::named(mesh.app(1), "app").await;
        let _web = mesh.web(vec![]);
        let client = mesh.client(Protocol::Http);
        let mut application = Http1::connect(client.outbound_address()).await;
        assert_eq!(application.get("/").await.text, "app");
        let mut config = mesh.secured(2, Protocol::Http, vec![]);
        config.destinations[0].accounts = vec![Workload::new("shop", "successor").into()];
        client.apply(&config).await;
        assert_eq!(application.get("/").await.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(app.requests(), 1);
    })
    .await;
}

#[tokio::test]
async fn c12_headers_of_identity_from_outside_are_taken_away_in_every_spelling() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
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
    })
    .await;
}

#[tokio::test]
async fn c12_the_form_of_a_request_is_not_believed_of_who_is_no_proxy() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
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
    })
    .await;
}
