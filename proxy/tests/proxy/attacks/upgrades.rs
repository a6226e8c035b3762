//! S58: upgrades behind which requests, or anything else, could go by unseen.

use smilax_core::config::{HttpMatch, InboundPolicy, Protocol};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::framing::half_closed;
use super::stage::{Recorder, Stage};
use crate::support::client::until;
use crate::support::mesh::{Mesh, config, target, targets};
use crate::support::server::Server;
use crate::support::{TestProxy, soon};

/// What answers the key of [`ask`].
const ACCEPT: &str = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

fn ask(protocols: &str) -> String {
    format!(
        "GET /chat HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: {protocols}\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// An application that switches to what it is asked for, and then sends back what it gets; it answers other requests with
/// `ok`.
async fn switching(mesh: &Mesh) -> Server {
    Server::tcp(mesh.app(1), |mut stream| async move {
        let head = until(&mut stream, "\r\n\r\n").await;
        let asked = head.lines().find_map(|line| line.strip_prefix("upgrade: "));
        let answer = match asked {
            Some(protocols) => format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: {protocols}\r\n{ACCEPT}\r\nswitched"
            ),
            None => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
        if asked.is_some() {
            let (mut read, mut write) = stream.split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        }
    })
    .await
}

/// A policy that allows requests for `/chat`.
fn chats() -> Vec<InboundPolicy> {
    let chat = HttpMatch {
        path: Some("^(?:/chat)$".to_owned()),
        ..HttpMatch::default()
    };
    targets(vec![target(&["shop/client"], Some(vec![chat]))])
}

/// A policy that allows everything, bytes among it.
fn everything() -> Vec<InboundPolicy> {
    targets(vec![target(&["shop/client"], None)])
}

/// The connection of a client that asked for this, and the status that it was answered with.
async fn asked(client: &TestProxy, protocols: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(client.outbound_address()).await.unwrap();
    stream.write_all(ask(protocols).as_bytes()).await.unwrap();
    let answer = until(&mut stream, "\r\n\r\n").await;
    (stream, answer.split(' ').nth(1).unwrap().to_owned())
}

#[tokio::test]
async fn s58_an_upgrade_to_what_carries_requests_is_not_passed_on() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for protocols in ["TLS/1.0", "TLS/1.0, HTTP/1.1", "h2c", "websocket, TLS/1.2", "h3"] {
            let answer = half_closed(&stage, &ask(protocols)).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        }
        assert!(!app.seen().contains("upgrade"), "{:?}: {}", stage.way, app.seen());
    }
}

#[tokio::test]
async fn s58_an_unknown_upgrade_needs_the_right_that_bytes_need() {
    for (policy, protocols, status) in [
        (chats(), "websocket", "101"),
        (chats(), "SPDY/3.1", "101"),
        (chats(), "tcp", "101"),
        (chats(), "other", "200"),
        (chats(), "websocket, other", "200"),
        (everything(), "websocket", "101"),
        (everything(), "other", "101"),
        (vec![], "other", "101"),
        (everything(), "TLS/1.0", "200"),
        (vec![], "h2c", "200"),
    ] {
        let mesh = Mesh::new();
        let _app = switching(&mesh).await;
        let _web = mesh.web(policy.clone());
        let client = mesh.client(Protocol::Http);
        let (_, got) = asked(&client, protocols).await;
        assert_eq!(got, status, "{protocols}: {policy:?}");
    }
}

#[tokio::test]
async fn s58_an_unknown_upgrade_ends_with_the_right_to_carry_bytes_and_a_known_one_does_not() {
    for (protocols, ends) in [("other", true), ("websocket", false)] {
        let mesh = Mesh::new();
        let _app = switching(&mesh).await;
        let web = mesh.web(everything());
        let client = mesh.client(Protocol::Http);
        let (mut stream, status) = asked(&client, protocols).await;
        assert_eq!(status, "101");
        stream.write_all(b"before").await.unwrap();
        until(&mut stream, "before").await;
        web.apply(&config(2, chats())).await;
        if ends {
            soon("the reset", stream.read(&mut [0])).await.unwrap_err();
        } else {
            stream.write_all(b"after").await.unwrap();
            until(&mut stream, "after").await;
        }
    }
}

/// Holds that a switch with these headers, to one that asked for these protocols, is answered with 502.
async fn refused(protocols: &str, headers: &str) {
    for stage in Stage::all() {
        let switch =
            format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n{headers}\r\nleftover");
        let _app = Server::tcp(stage.app, move |mut stream| {
            let switch = switch.clone();
            async move {
                until(&mut stream, "\r\n\r\n").await;
                let _ = stream.write_all(switch.as_bytes()).await;
            }
        })
        .await;
        let answer = half_closed(&stage, &ask(protocols)).await;
        assert!(
            answer.starts_with("HTTP/1.1 502"),
            "{headers:?}: {:?}: {answer}",
            stage.way
        );
        assert!(
            !answer.contains("leftover"),
            "{headers:?}: {:?}: {answer}",
            stage.way
        );
    }
}

#[tokio::test]
async fn s58_a_switch_to_what_was_not_asked_for_is_refused() {
    refused("websocket", &format!("upgrade: h2c\r\n{ACCEPT}")).await;
}

#[tokio::test]
async fn s58_a_switch_that_does_not_say_to_what_is_refused() {
    for upgrade in ["", "upgrade: \r\n", "upgrade: ,\r\n"] {
        refused("websocket", &format!("{upgrade}{ACCEPT}")).await;
    }
}

#[tokio::test]
async fn s58_a_switch_to_websocket_that_does_not_answer_the_key_is_refused() {
    for accept in ["", "sec-websocket-accept: dGhlIHNhbXBsZSBub25jZQ==\r\n"] {
        refused("websocket", &format!("upgrade: websocket\r\n{accept}")).await;
    }
}
