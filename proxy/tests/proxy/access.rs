//! Who may call the application, and what becomes of calls that nothing allows.

use std::net::IpAddr;

use http::StatusCode;
use smilax_core::Members;
use smilax_core::config::{
    AccessMode, HttpMatch, InboundPolicy, Protocol, SourceMatch, TlsMode, UnauthenticatedSource,
};
use smilax_proxy::settings::Reasons;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::client::{Http1, Http2, exchange, get, request, until};
use crate::support::mesh::{Mesh, certify, config, target, targets};
use crate::support::server::{Server, full};
use crate::support::{TestProxy, soon};

pub(crate) const DECISIONS: &str = "smilax_proxy_access_decisions_total";

fn mode(access: AccessMode) -> Vec<InboundPolicy> {
    vec![InboundPolicy {
        access: Some(access),
        ..InboundPolicy::default()
    }]
}

fn strict() -> InboundPolicy {
    InboundPolicy {
        tls: Some(TlsMode::Strict),
        ..InboundPolicy::default()
    }
}

pub(crate) fn path(pattern: &str) -> HttpMatch {
    HttpMatch {
        path: Some(pattern.to_owned()),
        ..HttpMatch::default()
    }
}

async fn echo(mesh: &Mesh) -> Server {
    Server::tcp(mesh.app(1), |mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await
}

async fn is_reset(stream: &mut TcpStream) {
    let error = soon("the reset", stream.read(&mut [0; 1])).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_denial_says_nothing_about_the_rules_and_the_connection_goes_on() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(targets(vec![target(&["shop/other"], None)]));
    let mut client = Http1::connect(web.inbound_address()).await;
    for _ in 0..2 {
        let answer = client.get("/").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        assert_eq!(answer.text, "smilax: access is denied\n");
        assert!(!answer.headers.contains_key("smilax-reason"));
    }
    assert_eq!(app.connections(), 0);
    let denied = [
        "decision=\"denied\"",
        "reason=\"unauthenticated\"",
        "source=\"unknown\"",
    ];
    web.counts(DECISIONS, &denied, 2).await;
    web.counts("istio_requests_total", &["response_code=\"403\""], 2)
        .await;
}

#[tokio::test]
async fn a_denial_says_why_in_one_word_when_that_is_asked_for() {
    let mesh = Mesh::new();
    let web = mesh.web_with(mode(AccessMode::Deny), |builder| {
        builder.set(|settings| settings.reasons = Reasons::Told)
    });
    let answer = get(web.inbound_address(), "/").await;
    assert_eq!(answer.headers["smilax-reason"], "unauthenticated");
}

#[tokio::test]
async fn a_call_of_grpc_is_denied_in_its_own_way() {
    let mesh = Mesh::new();
    let web = mesh.web(mode(AccessMode::Deny));
    let call = http::Request::post("http://web/shop.Cart/Add")
        .header("content-type", "application/grpc")
        .body(full("message"))
        .unwrap();
    let answer = Http2::connect(web.inbound_address()).await.send(call).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["grpc-status"], "7");
}

#[tokio::test]
async fn an_audit_counts_and_lets_pass() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(mode(AccessMode::Audit));
    assert_eq!(get(web.inbound_address(), "/").await.text, "app");
    web.counts(DECISIONS, &["decision=\"audited\""], 1).await;
}

#[tokio::test]
async fn who_is_named_may_do_what_is_named_and_nothing_else() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(targets(vec![target(
        &["shop/client"],
        Some(vec![path("^(?:/api)")]),
    )]));
    let named = mesh.client(Protocol::Http);
    let other = mesh.client_of("other/client", Protocol::Http);
    assert_eq!(get(named.outbound_address(), "/api/x").await.text, "app");
    assert_eq!(
        get(named.outbound_address(), "/admin").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(
        get(other.outbound_address(), "/api/x").await.status,
        StatusCode::FORBIDDEN
    );
    assert_eq!(app.requests(), 1);
    for (decision, reason, source) in [
        ("allowed", "target", "ns/shop/sa/client"),
        ("denied", "request", "ns/shop/sa/client"),
        ("denied", "source", "ns/other/sa/client"),
    ] {
        let labels = [
            format!("decision=\"{decision}\""),
            format!("reason=\"{reason}\""),
            format!("{source}\""),
        ];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        assert_eq!(web.metric_sum(DECISIONS, &labels).await, 1, "{labels:?}");
    }
}

#[tokio::test]
async fn a_connection_of_bytes_is_allowed_or_reset() {
    let mesh = Mesh::new();
    let app = echo(&mesh).await;
    let _web = mesh.web(targets(vec![target(&["shop/client"], None)]));
    let named = mesh.client(Protocol::Tcp);
    let other = mesh.client_of("shop/other", Protocol::Tcp);
    let mut allowed = TcpStream::connect(named.outbound_address()).await.unwrap();
    allowed.write_all(b"hi").await.unwrap();
    assert_eq!(until(&mut allowed, "hi").await, "hi");
    let mut denied = TcpStream::connect(other.outbound_address()).await.unwrap();
    denied.write_all(b"hi").await.unwrap();
    is_reset(&mut denied).await;
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn who_only_looks_whether_somebody_is_there_is_not_counted_as_plaintext() {
    let mesh = Mesh::new();
    let app = echo(&mesh).await;
    let web = mesh.web(vec![]);
    let mut looker = TcpStream::connect(web.inbound_address()).await.unwrap();
    looker.shutdown().await.unwrap();
    // It is carried to its end, as a client that lets the application speak may have finished its own part.
    let mut rest = Vec::new();
    soon("the end", looker.read_to_end(&mut rest)).await.unwrap();
    assert_eq!(app.connections(), 1);
    let counted = web
        .metric_sum("smilax_proxy_plaintext_connections_total", &[])
        .await;
    assert_eq!(counted, 0);
}

#[tokio::test]
async fn clients_without_identity_are_counted_by_address_where_they_are_permitted() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(vec![]);
    assert_eq!(get(web.inbound_address(), "/").await.text, "app");
    let counted = ["source=\"127.0.0.1\"", "outcome=\"permitted\""];
    let plaintext = "smilax_proxy_plaintext_connections_total";
    web.counts(plaintext, &counted, 1).await;
}

#[tokio::test]
async fn an_unauthenticated_source_is_let_in_on_its_ports_however_closed_the_rest_is() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let policy = |ports: Vec<u16>| {
        vec![InboundPolicy {
            access: Some(AccessMode::Deny),
            unauthenticated_sources: vec![UnauthenticatedSource {
                cidrs: vec!["127.0.0.1/32".parse().unwrap()],
                ports,
            }],
            ..strict()
        }]
    };
    let web = mesh.web(policy(vec![crate::support::mesh::APP_PORT]));
    assert_eq!(get(web.inbound_address(), "/").await.text, "app");
    web.apply(&config(2, policy(vec![1]))).await;
    assert_eq!(
        exchange(web.inbound_address(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await,
        ""
    );
}

#[tokio::test]
async fn a_port_can_be_strict_by_itself() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let web = mesh.web(vec![InboundPolicy {
        tls_ports: [(crate::support::mesh::APP_PORT, TlsMode::Strict)].into(),
        ..InboundPolicy::default()
    }]);
    assert_eq!(
        exchange(web.inbound_address(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await,
        ""
    );
    let client = mesh.client(Protocol::Http);
    assert_eq!(get(client.outbound_address(), "/").await.text, "app");
    assert_eq!(app.requests(), 1);
}

#[tokio::test]
async fn a_binding_by_labels_grants_to_the_pods_that_the_operator_names_and_while_it_names_them() {
    let mesh = Mesh::new();
    let _app = echo(&mesh).await;
    let mut bound = target(&[], None);
    bound.sources = vec![SourceMatch::Binding("shop/clients".to_owned())];
    let web = mesh.web(targets(vec![bound]));
    let leaf = mesh.authority.leaf_with(|leaf| {
        leaf.uris = vec!["spiffe://cluster.local/ns/shop/sa/client".to_owned()];
        leaf.pod_uid = Some("uid-1".to_owned());
    });
    let client = mesh.client(Protocol::Tcp);
    certify(&client, &mesh.context_of(&leaf, &[&mesh.authority]));
    let mut early = TcpStream::connect(client.outbound_address()).await.unwrap();
    early.write_all(b"hi").await.unwrap();
    is_reset(&mut early).await;
    let tell = |uids: &[&str]| {
        let uids = uids.iter().map(|&uid| uid.into()).collect();
        let members = Members([("shop/clients".to_owned(), uids)].into());
        set_members(&web, members);
    };
    tell(&["uid-1", "uid-2"]);
    let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
    stream.write_all(b"hi").await.unwrap();
    assert_eq!(until(&mut stream, "hi").await, "hi");
    tell(&["uid-2"]);
    is_reset(&mut stream).await;
}

fn set_members(proxy: &TestProxy, members: Members) {
    let shared = proxy.proxy().shared();
    shared.members.store(std::sync::Arc::new(members));
    shared.changes.tell();
}

#[tokio::test]
async fn a_server_that_speaks_first_says_nothing_to_who_may_not_hear_it() {
    let mesh = Mesh::new();
    let app = Server::tcp(mesh.app(1), |mut stream| async move {
        let _ = stream.write_all(b"220 secret\r\n").await;
    })
    .await;
    let web = mesh.web_with(mode(AccessMode::Deny), |builder| {
        builder.set(|settings| {
            settings.limits.detect = std::time::Duration::from_millis(50);
            settings.limits.idle = std::time::Duration::from_millis(500);
        })
    });
    let mut stream = TcpStream::connect(web.inbound_address()).await.unwrap();
    let mut heard = Vec::new();
    let _ = soon("the end", stream.read_to_end(&mut heard)).await;
    assert_eq!((heard.len(), app.connections()), (0, 0));
}

#[tokio::test]
async fn a_client_from_outside_hears_a_server_that_speaks_first() {
    let mesh = Mesh::new();
    let _app = Server::tcp(mesh.app(1), |mut stream| async move {
        stream.write_all(b"220 hello\r\n").await.unwrap();
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
    })
    .await;
    for protocol in [Protocol::Detect, Protocol::Tcp] {
        let web = mesh.web_with(vec![], |builder| {
            builder.set(|settings| {
                settings.limits.detect = std::time::Duration::from_millis(50);
                settings
                    .inbound_protocols
                    .insert(crate::support::mesh::APP_PORT, protocol);
            })
        });
        for _ in 0..2 {
            let mut stream = TcpStream::connect(web.inbound_address()).await.unwrap();
            assert_eq!(until(&mut stream, "\n").await, "220 hello\r\n");
            stream.write_all(b"EHLO\r\n").await.unwrap();
            assert_eq!(until(&mut stream, "\n").await, "EHLO\r\n");
        }
        web.proxy().abandon();
        web.join().await;
    }
}

#[tokio::test]
async fn an_address_in_the_form_of_the_other_family_is_the_same_address() {
    let mapped: IpAddr = "::ffff:10.0.0.1".parse().unwrap();
    let caller = smilax_proxy::access::Caller::unknown(mapped);
    assert_eq!(caller.address, IpAddr::from([10, 0, 0, 1]));
}

#[tokio::test]
async fn requests_of_an_open_connection_are_judged_by_the_policy_of_their_time() {
    let mesh = Mesh::new();
    let _app = Server::named(mesh.app(1), "app").await;
    let allowed = targets(vec![target(&["shop/client"], None)]);
    let web = mesh.web(allowed.clone());
    let client = mesh.client(Protocol::Http);
    let mut application = Http1::connect(client.outbound_address()).await;
    for counter in [2, 4] {
        assert_eq!(application.get("/").await.text, "app");
        web.apply(&config(counter, targets(vec![target(&[], None)])))
            .await;
        assert_eq!(
            application.send(request("GET", "/")).await.status,
            StatusCode::FORBIDDEN
        );
        web.apply(&config(counter + 1, allowed.clone())).await;
    }
    assert_eq!(application.get("/").await.text, "app");
}
