//! S59: what a mesh peer answers over HTTP/2 to an application that speaks HTTP/1, S61: requests that are sent twice, and
//! S62: bodies that were held back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use smilax_core::config::Protocol;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::framing::{SMUGGLED, half_closed, post};
use super::raw_http2::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, Raw, SETTINGS, block, frame,
};
use super::stage::{Recorder, Stage};
use crate::support::client::{exchange, to_end, until};
use crate::support::mesh::Mesh;
use crate::support::server::Server;
use crate::support::soon;

/// A peer with a certificate that answers each request with these frames, and counts requests. Without frames, it closes.
async fn peer(
    mesh: &Mesh,
    answer: impl Fn(u32) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> (Server, Arc<AtomicUsize>) {
    let acceptor = Mesh::acceptor(&mesh.context("shop/web"));
    let requests = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&requests);
    let server = Server::tcp(mesh.net.at(1), move |stream| {
        let (acceptor, answer, counted) = (acceptor.clone(), answer.clone(), Arc::clone(&counted));
        async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let mut raw = Raw::serve(stream, &[]).await;
            while let Some(got) = raw.frame().await {
                let said = match got.kind {
                    HEADERS => {
                        counted.fetch_add(1, Ordering::SeqCst);
                        answer(got.stream)
                    }
                    SETTINGS if got.flags & 1 == 0 => frame(SETTINGS, 1, 0, &[]),
                    _ => continue,
                };
                if said.is_empty() || !raw.say(&said).await {
                    return;
                }
            }
        }
    })
    .await;
    (server, requests)
}

/// A response with a body that looks like another one.
fn response(stream: u32, headers: &[(&str, &str)]) -> Vec<u8> {
    let leftover = b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nleftover";
    [
        frame(HEADERS, END_HEADERS, stream, &block(headers)),
        frame(DATA, END_STREAM, stream, leftover),
    ]
    .concat()
}

#[tokio::test]
async fn s59_what_a_mesh_peer_answers_is_one_response_in_http1() {
    let lies: [&'static [(&'static str, &'static str)]; 12] = [
        &[(":status", "101"), ("x", "evil")],
        &[(":status", "101"), ("upgrade", "websocket")],
        &[(":status", "100")],
        &[(":status", "204"), ("content-length", "48")],
        &[(":status", "304"), ("content-length", "48")],
        &[(":status", "200"), ("transfer-encoding", "chunked")],
        &[(":status", "200"), ("connection", "upgrade")],
        &[(":status", "200"), ("content-length", "2")],
        &[
            (":status", "200"),
            ("content-length", "48"),
            ("content-length", "2"),
        ],
        &[(":status", "200"), ("x", "a\r\ncontent-length: 0\r\n\r\nevil")],
        &[(":status", "200"), ("x\r\nevil", "a")],
        &[(":status", "200 OK\r\nevil: a")],
    ];
    for lie in lies {
        for method in ["GET", "HEAD"] {
            let mesh = Mesh::new();
            let (_peer, _) = peer(&mesh, move |stream| response(stream, lie)).await;
            let client = mesh.client(Protocol::Http);
            let request = format!("{method} / HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
            let asked = exchange(client.outbound_address(), request.as_bytes());
            let Ok(answer) = tokio::time::timeout(Duration::from_secs(5), asked).await else {
                // An interim response is not the end.
                assert_eq!(lie[0], (":status", "100"), "{method}: {lie:?}");
                continue;
            };
            // One that turns out to be wrong behind its head has no end.
            let responses = answer.matches("HTTP/1.1 ").count();
            assert!(responses <= 1, "{method}: {lie:?}: {answer}");
            assert!(!answer.contains("evil"), "{method}: {lie:?}: {answer}");
            assert!(!answer.contains("leftover"), "{method}: {lie:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn s61_a_post_that_a_peer_may_have_processed_is_sent_once() {
    type Answer = fn(u32) -> Vec<u8>;
    const INTERNAL: [u8; 4] = [0, 0, 0, 2];
    let answers: [(&str, Answer); 4] = [
        ("closes", |_| vec![]),
        ("resets", |stream| frame(RST_STREAM, 0, stream, &INTERNAL)),
        ("goes away, having processed it", |stream| {
            let goaway = [&stream.to_be_bytes()[..], &INTERNAL].concat();
            [
                frame(GOAWAY, 0, 0, &goaway),
                frame(RST_STREAM, 0, stream, &INTERNAL),
            ]
            .concat()
        }),
        ("begins to answer", |stream| {
            let hints = frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "103")]));
            [hints, frame(RST_STREAM, 0, stream, &INTERNAL)].concat()
        }),
    ];
    for (name, answer) in answers {
        let mesh = Mesh::new();
        let (_peer, requests) = peer(&mesh, answer).await;
        let client = mesh.client(Protocol::Http);
        let post = b"POST / HTTP/1.1\r\nhost: web\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi";
        let answer = exchange(client.outbound_address(), post).await;
        assert!(answer.starts_with("HTTP/1.1 50"), "{name}: {answer}");
        assert_eq!(requests.load(Ordering::SeqCst), 1, "{name}");
    }
}

#[tokio::test]
async fn s62_a_body_that_was_held_back_and_refused_reaches_nobody() {
    for stage in Stage::all() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let _app = Server::tcp(stage.app, move |mut stream| {
            let tell = tell.clone();
            async move {
                until(&mut stream, "\r\n\r\n").await;
                let refusal = b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno";
                let _ = stream.write_all(refusal).await;
                tell.send(to_end(&mut stream).await).unwrap();
            }
        })
        .await;
        let mut client = TcpStream::connect(stage.address).await.unwrap();
        let length = SMUGGLED.len();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = until(&mut client, "\r\n\r\nno").await;
        assert!(answer.starts_with("HTTP/1.1 417"), "{:?}: {answer}", stage.way);
        assert!(answer.contains("connection: close"), "{:?}: {answer}", stage.way);
        let _ = client.write_all(SMUGGLED.as_bytes()).await;
        assert_eq!(to_end(&mut client).await, "", "{:?}", stage.way);
        let got = soon("the end", told.recv()).await.unwrap();
        assert_eq!(got, "", "{:?}", stage.way);
    }
}

#[tokio::test]
async fn s62_a_body_that_was_refused_late_is_followed_by_nothing() {
    for stage in Stage::all() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let _app = Server::tcp(stage.app, move |mut stream| {
            let tell = tell.clone();
            async move {
                until(&mut stream, SMUGGLED).await;
                let refusal = b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 2\r\n\r\nno";
                let _ = stream.write_all(refusal).await;
                tell.send(to_end(&mut stream).await).unwrap();
            }
        })
        .await;
        let mut client = TcpStream::connect(stage.address).await.unwrap();
        let length = SMUGGLED.len();
        let whole = format!(
            "POST / HTTP/1.1\r\nhost: web\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n{SMUGGLED}"
        );
        client.write_all(whole.as_bytes()).await.unwrap();
        let answer = until(&mut client, "\r\n\r\nno").await;
        assert!(answer.contains("HTTP/1.1 417"), "{:?}: {answer}", stage.way);
        if stage.proxies.len() == 1 {
            // A proxy in between may have said 100 in the place of the server.
            assert!(answer.contains("connection: close"), "{:?}: {answer}", stage.way);
            assert_eq!(to_end(&mut client).await, "", "{:?}", stage.way);
        }
        let got = soon("the end", told.recv()).await.unwrap();
        assert_eq!(got, "", "{:?}", stage.way);
    }
}

#[tokio::test]
async fn s62_an_expectation_that_is_not_known_reaches_nobody() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for expectation in [
            "expect: 100-continue, x\r\n",
            "expect: 100-continue,\r\n",
            "expect: x\r\nexpect: 100-continue\r\n",
            "expect: 100-continue\r\nexpect: x\r\n",
            "expect: x\r\n",
        ] {
            let answer = half_closed(&stage, &post(&format!("{expectation}content-length: 2\r\n"), "")).await;
            assert!(
                answer.starts_with("HTTP/1.1 417"),
                "{expectation:?}: {:?}: {answer}",
                stage.way
            );
            assert!(
                answer.contains("connection: close"),
                "{expectation:?}: {:?}: {answer}",
                stage.way
            );
        }
        assert_eq!(app.seen(), "", "{:?}", stage.way);
    }
}

#[tokio::test]
async fn s62_an_expectation_of_http_1_0_is_ignored() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for expectation in ["100-continue", "x"] {
            let request = format!(
                "POST / HTTP/1.0\r\nhost: web\r\nexpect: {expectation}\r\ncontent-length: 2\r\n\r\nhi"
            );
            let answer = half_closed(&stage, &request).await;
            assert!(answer.contains(" 200 "), "{:?}: {answer}", stage.way);
        }
        assert!(!app.seen().contains("expect"), "{:?}: {}", stage.way, app.seen());
    }
}

#[tokio::test]
async fn s59_an_expectation_over_http2_holds_nothing_up() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let mut raw = Raw::connect(stage.address).await;
        let headers = block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "web"),
            ("expect", "100-continue"),
            ("content-length", "2"),
        ]);
        raw.say(&frame(HEADERS, END_HEADERS, 1, &headers)).await;
        raw.say(&frame(DATA, END_STREAM, 1, b"hi")).await;
        assert!(raw.until(HEADERS).await.is_some(), "{:?}", stage.way);
        assert_eq!(app.whole(), 1, "{:?}", stage.way);
    }
}
