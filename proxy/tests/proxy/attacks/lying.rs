//! A12 and B11: servers that say what is not so.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::stage::Stage;
use crate::support::client::{exchange, until};
use crate::support::server::Server;

/// Answers requests for `/lie` with a lie, and others with `ok`.
async fn liar(address: SocketAddr, lie: Vec<u8>) -> Server {
    Server::tcp(address, move |mut stream| {
        let lie = lie.clone();
        async move {
            loop {
                let Ok(request) =
                    tokio::time::timeout(Duration::from_secs(30), until_head(&mut stream)).await
                else {
                    return;
                };
                let Some(request) = request else { return };
                let answer = if request.contains("/lie") {
                    &lie[..]
                } else {
                    b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
                };
                if stream.write_all(answer).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

async fn until_head(stream: &mut tokio::net::TcpStream) -> Option<String> {
    stream.readable().await.ok()?;
    let mut first = [0; 1];
    if stream.peek(&mut first).await.ok()? == 0 {
        return None;
    }
    Some(until(stream, "\r\n\r\n").await)
}

/// What a client may get of a lie.
enum Gets {
    /// This status, with a reason.
    Status(u16),
    /// The beginning of a response, and no end.
    NoEnd,
}

use Gets::{NoEnd, Status};

fn lies() -> Vec<(&'static str, Vec<u8>, Gets)> {
    let head = |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}").into_bytes();
    let leftover = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nleftover";
    let bare = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 8\r\n\r\nleftover").into_bytes();
    let many = "x: 1\r\n".repeat(1_100);
    vec![
        ("both lengths", head("content-length: 2\r\ntransfer-encoding: chunked\r\n", "2\r\nno\r\n0\r\n\r\n"), Status(502)),
        ("two lengths", head("content-length: 2\r\ncontent-length: 3\r\n", "nono"), Status(502)),
        ("a length with a sign", head("content-length: +2\r\n", "no"), Status(502)),
        ("204 with a body", bare("204 No Content"), Status(204)),
        ("304 with a body", bare("304 Not Modified"), Status(304)),
        ("bytes behind the response", head("content-length: 2\r\n", &format!("ok{leftover}")), Status(200)),
        ("early hints without number", [b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(20_000), head("content-length: 2\r\n", "ok")].concat(), Status(502)),
        ("some early hints", [b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1_000), head("content-length: 2\r\n", "ok")].concat(), Status(200)),
        ("NUL in a header", head("x: a\0b\r\ncontent-length: 2\r\n", "no"), Status(502)),
        ("a bare CR in a header", head("x: a\rb\r\ncontent-length: 2\r\n", "no"), Status(502)),
        ("a bad chunk", head("transfer-encoding: chunked\r\n", "zz\r\nno\r\n"), Status(502)),
        ("a body that is too short", head("content-length: 20\r\n", "no"), NoEnd),
        ("TLS", b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03".to_vec(), Status(502)),
        ("a header of 1 MiB", head(&format!("x: {}\r\n", "a".repeat(1 << 20)), ""), Status(502)),
        ("1,100 headers", head(&many, ""), Status(502)),
        ("101 that was not asked for", format!("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n{leftover}").into_bytes(), Status(502)),
        ("HTTP/0.9", b"<html>no</html>\r\n\r\n".to_vec(), Status(502)),
        ("a coding that is not decoded", head("transfer-encoding: gzip, chunked\r\n", "2\r\nno\r\n0\r\n\r\n"), Status(502)),
        ("chunked twice", head("transfer-encoding: chunked, chunked\r\n", "2\r\nno\r\n0\r\n\r\n"), Status(502)),
        ("chunks over HTTP/1.0", b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n".to_vec(), Status(502)),
        ("a status that is none", b"HTTP/1.1 99999 No\r\ncontent-length: 2\r\n\r\nno".to_vec(), Status(502)),
    ]
}

#[tokio::test]
async fn a12_s19_what_a_lying_server_says_reaches_nobody_as_a_response() {
    for (name, lie, gets) in lies() {
        for stage in Stage::all() {
            let ends = matches!(gets, Gets::NoEnd) || name == "TLS";
            let server = liar(stage.app, lie.clone()).await;
            let request =
                |path: &str| format!("GET {path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
            let lie = request("/lie");
            let asked = exchange(stage.address, lie.as_bytes());
            let answer = if ends {
                // The server ends it.
                let stop = async {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    server.stop().await;
                };
                tokio::join!(asked, stop).0
            } else {
                let answer = asked.await;
                // Neither this client nor the next sees what was behind it.
                for _ in 0..6 {
                    let next = exchange(stage.address, request("/").as_bytes()).await;
                    assert!(
                        next.starts_with("HTTP/1.1 200") && next.ends_with("\r\n\r\nok"),
                        "{name}: {:?}: {next}",
                        stage.way
                    );
                }
                drop(server);
                answer
            };
            let status: u16 = answer
                .split(' ')
                .nth(1)
                .and_then(|status| status.parse().ok())
                .unwrap_or_default();
            match gets {
                Gets::Status(expected) => {
                    assert_eq!(status, expected, "{name}: {:?}: {answer:.200}", stage.way);
                }
                Gets::NoEnd => assert!(
                    answer.contains("content-length: 20") && answer.ends_with("no"),
                    "{name}: {:?}: {answer}",
                    stage.way
                ),
            }
            assert!(!answer.contains("leftover"), "{name}: {:?}: {answer}", stage.way);
            if status == 502 {
                assert!(answer.contains("smilax: "), "{name}: {:?}: {answer}", stage.way);
            }
        }
    }
}

#[tokio::test]
async fn a12_a_length_that_is_none_is_refused_where_no_body_follows() {
    for stage in Stage::all() {
        let lie = b"HTTP/1.1 200 OK\r\ncontent-length: PRI9\r\n\r\n".to_vec();
        let _server = liar(stage.app, lie).await;
        let request = b"HEAD /lie HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n";
        let answer = exchange(stage.address, request).await;
        assert!(answer.starts_with("HTTP/1.1 502"), "{:?}: {answer}", stage.way);
        assert!(!answer.contains("PRI9"), "{:?}: {answer}", stage.way);
    }
}
