//! S59 and S60: requests that change their meaning between HTTP/1 and HTTP/2, or from one connection to the next.

use std::time::Duration;

use smilax_proxy::tls::Wire;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::framing::{SMUGGLED, half_closed};
use super::raw_http2::{DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, Raw, block, frame};
use super::stage::{Recorder, Stage, Way};
use crate::support::client::{self, exchange, until};
use crate::support::mesh::Mesh;
use crate::support::server::Server;

fn request<'a>(method: &'a str, path: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut headers = vec![
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "web"),
    ];
    headers.extend_from_slice(more);
    headers
}

/// Requests of HTTP/2 that are none in HTTP/1, or another one.
fn deceitful() -> Vec<Vec<(&'static str, &'static str)>> {
    vec![
        request("GET", "http://evil/", &[]),
        request("GET", "evil:80", &[]),
        request("GET", "evil", &[]),
        request("GET", "@evil/", &[]),
        request("GET", "?evil", &[]),
        request("OPTIONS", "*evil", &[]),
        request("GET", "/ HTTP/1.1\r\nevil: evil", &[]),
        request("GET", "/ evil", &[]),
        request("GET / HTTP/1.1\r\nevil: evil", "/", &[]),
        request("GET /evil", "/", &[]),
        request("POST", "/", &[("content-length", "")]),
        request("POST", "/", &[("content-length", "5"), ("content-length", "05")]),
        request("POST", "/", &[("content-length", "5, 5")]),
        request("POST", "/", &[("content-length", "+5")]),
        request("POST", "/", &[("transfer-encoding", "chunked")]),
        request("GET", "/", &[(":protocol", "websocket")]),
        request("CONNECT", "/", &[(":protocol", "websocket")]),
    ]
}

/// Says a request with a body of five bytes, or none, and holds that no application gets it whole.
async fn reaches_nobody<S>(raw: &mut Raw<S>, headers: &[(&str, &str)], app: &Recorder)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let has_body = headers.contains(&(":method", "POST"));
    let flags = if has_body {
        END_HEADERS
    } else {
        END_HEADERS | END_STREAM
    };
    raw.say(&frame(HEADERS, flags, 1, &block(headers))).await;
    if has_body {
        raw.say(&frame(DATA, END_STREAM, 1, b"hello")).await;
    }
    loop {
        let got = raw.frame().await;
        match got.as_ref().map(|frame| (frame.kind, frame.stream)) {
            None | Some((HEADERS | RST_STREAM, 1) | (GOAWAY, _)) => break,
            Some(_) => {}
        }
    }
    assert_eq!(app.whole(), 0, "{headers:?}: {}", app.seen());
    assert!(!app.seen().contains("evil"), "{headers:?}: {}", app.seen());
}

#[tokio::test]
async fn s59_what_is_another_request_in_http1_reaches_no_application_over_http2() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for headers in deceitful() {
            let mut raw = Raw::connect(stage.address).await;
            reaches_nobody(&mut raw, &headers, &app).await;
        }
    }
}

#[tokio::test]
async fn s59_what_a_mesh_peer_says_is_the_same_request_in_the_form_of_the_application() {
    for form in ["1.1", "1.1-absolute", "1.1-raw", "2"] {
        let mesh = Mesh::new();
        let app = Recorder::at(mesh.app(1)).await;
        let _web = mesh.web(vec![]);
        for mut headers in deceitful() {
            // `http://web?evil` says what it means.
            if form == "1.1-absolute" && headers.contains(&(":path", "?evil")) {
                continue;
            }
            headers.extend([("smilax-form", form), ("smilax-target", "/evil")]);
            let context = mesh.context("shop/client");
            let stream = mesh.connect(&context, Wire::Http2).await.unwrap();
            reaches_nobody(&mut Raw::over(stream).await, &headers, &app).await;
        }
    }
}

#[tokio::test]
async fn s59_a_target_without_a_path_is_refused() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for target in ["web", "web:80", "?evil"] {
            let host = target.trim_start_matches('?');
            let payload = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n");
            let answer = half_closed(&stage, &payload).await;
            assert!(
                answer.starts_with("HTTP/1.1 400"),
                "{:?}: {target}: {answer}",
                stage.way
            );
        }
        assert_eq!(app.whole(), 0, "{:?}: {}", stage.way, app.seen());
    }
}

/// A server that answers a request of `/early` before its body, and takes the body for the next request.
async fn careless(stage: &Stage) -> Server {
    Server::tcp(stage.app, |mut stream| async move {
        loop {
            let readable = stream.readable().await.is_ok();
            if !readable || !matches!(stream.peek(&mut [0]).await, Ok(1..)) {
                return;
            }
            let head = until(&mut stream, "\r\n\r\n").await;
            if head.contains("GET /smuggled") {
                // In time for whoever is next.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let path = head.split(' ').nth(1).unwrap();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{path}", path.len());
            if stream.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await
}

#[tokio::test]
async fn s60_a_connection_on_which_an_answer_came_early_serves_nobody_else() {
    for way in [Way::Outbound, Way::Inbound, Way::Both] {
        let stage = Stage::of(way);
        let _server = careless(&stage).await;
        for _ in 0..5 {
            let mut attacker = TcpStream::connect(stage.address).await.unwrap();
            let length = SMUGGLED.len();
            let head = format!("POST /early HTTP/1.1\r\nhost: web\r\ncontent-length: {length}\r\n\r\n");
            attacker.write_all(head.as_bytes()).await.unwrap();
            until(&mut attacker, "/early").await;
            attacker.write_all(SMUGGLED.as_bytes()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
            for victim in ["/a", "/b"] {
                assert_eq!(client::get(stage.address, victim).await.text, victim, "{way:?}");
            }
        }
    }
}

#[tokio::test]
async fn s59_content_where_none_may_be_is_nobodys_response() {
    for stage in Stage::all() {
        let _server = Server::tcp(stage.app, |mut stream| async move {
            loop {
                let readable = stream.readable().await.is_ok();
                if !readable || !matches!(stream.peek(&mut [0]).await, Ok(1..)) {
                    return;
                }
                let head = until(&mut stream, "\r\n\r\n").await;
                let leftover = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nleftover";
                let answer = match head.split(' ').nth(1) {
                    Some("/204") => {
                        format!("HTTP/1.1 204 No Content\r\ncontent-length: 48\r\n\r\n{leftover}")
                    }
                    Some("/304") => {
                        format!("HTTP/1.1 304 Not Modified\r\ncontent-length: 48\r\n\r\n{leftover}")
                    }
                    _ if head.starts_with("HEAD") => {
                        format!("HTTP/1.1 200 OK\r\ncontent-length: 48\r\n\r\n{leftover}")
                    }
                    _ => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned(),
                };
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        })
        .await;
        for line in ["HEAD / HTTP/1.1", "GET /204 HTTP/1.1", "GET /304 HTTP/1.1"] {
            for _ in 0..5 {
                let both = format!(
                    "{line}\r\nhost: web\r\n\r\nGET /next HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n"
                );
                let answer = exchange(stage.address, both.as_bytes()).await;
                assert!(
                    answer.ends_with("\r\n\r\nok"),
                    "{:?}: {line}: {answer}",
                    stage.way
                );
                assert!(!answer.contains("leftover"), "{:?}: {line}: {answer}", stage.way);
            }
        }
    }
}
