//! A: where one request of HTTP/1 ends and the next begins. A further payload is a line.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper::body::Frame;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::stage::{Recorder, Stage, Way};
use crate::support::client::{Http2, exchange, get, to_end};
use crate::support::server::{Server, frames};
use crate::support::{Net, TestProxy};

/// What must never reach an application as a request.
pub(super) const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nhost: web\r\n\r\n";

pub(super) fn post(headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: web\r\n{headers}\r\n{body}")
}

/// Holds that each payload is answered with one of its statuses, that its connection ends, and that no application gets
/// a whole request of it.
pub(super) async fn refused<'a>(payloads: impl IntoIterator<Item = (String, &'a [u16])>) {
    let payloads: Vec<_> = payloads.into_iter().collect();
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for (payload, statuses) in &payloads {
            let answer = exchange(stage.address, payload.as_bytes()).await;
            let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
            assert!(
                status.is_some_and(|status: u16| statuses.contains(&status)),
                "{:?}: {payload:?}: {answer:?}",
                stage.way
            );
            assert_eq!(
                answer.matches("HTTP/1.1 ").count(),
                1,
                "{:?}: {payload:?}: {answer:?}",
                stage.way
            );
            assert_eq!(app.whole(), 0, "{:?}: {payload:?}", stage.way);
        }
        assert!(
            !app.seen().contains("smuggled"),
            "{:?}: {}",
            stage.way,
            app.seen()
        );
        assert_eq!(get(stage.address, "/").await.text, "ok", "{:?}", stage.way);
    }
}

/// What comes back when the client says no more.
pub(super) async fn half_closed(stage: &Stage, payload: &str) -> String {
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(payload.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    to_end(&mut stream).await
}

/// Holds that each payload is so many whole requests, which are answered.
async fn passed(payloads: &[(String, usize)]) {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let mut before = 0;
        for (payload, requests) in payloads {
            let answer = half_closed(&stage, payload).await;
            let answers = answer.matches("HTTP/1.1 200").count();
            assert_eq!(answers, *requests, "{:?}: {payload:?}: {answer:?}", stage.way);
            assert_eq!(app.whole() - before, *requests, "{:?}: {payload:?}", stage.way);
            before = app.whole();
        }
    }
}

#[tokio::test]
async fn a1_a_length_and_an_encoding_together_are_refused() {
    let lengths = ["content-length: 5\r\n", "Content-Length:45\r\n"];
    let encoding = "Transfer-Encoding: chunked\r\n";
    let body = format!("0\r\n\r\n{SMUGGLED}");
    refused(lengths.iter().flat_map(|length| {
        [
            format!("{length}{encoding}"),
            format!("{encoding}x: y\r\n{length}"),
        ]
        .map(|headers| (post(&headers, &body), &[400][..]))
    }))
    .await;
}

#[tokio::test]
async fn a1_a_head_that_comes_in_pieces_is_refused_too() {
    let stage = Stage::of(Way::Outbound);
    let app = Recorder::at(stage.app).await;
    let payload = post("content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n");
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in payload.as_bytes().chunks(3) {
        if stream.write_all(byte).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let answer = to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(
        answer.contains("both Content-Length and Transfer-Encoding"),
        "{answer}"
    );
    assert_eq!(app.whole(), 0);
    assert_eq!(stage.counted(400).await, 1);
}

#[tokio::test]
async fn a2_transfer_codings_other_than_chunked_are_refused() {
    let body = format!("2\r\nhi\r\n0\r\n\r\n{SMUGGLED}");
    refused(
        [
            ("chunked, chunked", 400),
            ("chunked\r\ntransfer-encoding: chunked", 400),
            ("identity, chunked", 400),
            ("x, chunked", 400),
            (", chunked", 400),
            ("gzip, chunked", 501),
            ("gzip\r\ntransfer-encoding: chunked", 501),
        ]
        .map(|(coding, status)| {
            let statuses: &[u16] = if status == 400 { &[400] } else { &[501] };
            (post(&format!("transfer-encoding: {coding}\r\n"), &body), statuses)
        }),
    )
    .await;
}

#[tokio::test]
async fn a3_an_encoding_in_disguise_is_refused() {
    let body = format!("0\r\n\r\n{SMUGGLED}");
    refused(
        [
            "transfer-encoding : chunked",
            "transfer-encoding: \u{b}chunked",
            "transfer-encoding: \"chunked\"",
            "transfer-encoding: xchunked",
            "transfer-encoding:\r\n chunked",
            "transfer-encoding: chunked, identity",
            "transfer-encoding: chunked;q=1",
        ]
        .map(|line| (post(&format!("{line}\r\n"), &body), &[400][..])),
    )
    .await;
}

#[tokio::test]
async fn a4_a_length_that_is_none_is_refused_and_one_said_twice_is_one() {
    refused(
        [
            "+3",
            "-1",
            "0x3",
            "3_0",
            "",
            "3 3",
            "18446744073709551616",
            "3\r\ncontent-length: 4",
            "3, 4",
        ]
        .map(|length| {
            (
                post(
                    &format!("content-length: {length}\r\n"),
                    &format!("abc{SMUGGLED}"),
                ),
                &[400][..],
            )
        }),
    )
    .await;
    passed(&[(post("content-length: 3\r\ncontent-length: 3\r\n", "abc"), 1)]).await;
}

const BAD_CHUNKS: [&str; 11] = [
    "0x3\r\nabc\r\n0\r\n\r\n",
    "+3\r\nabc\r\n0\r\n\r\n",
    "-1\r\nabc\r\n0\r\n\r\n",
    "10000000000000003\r\nabc\r\n0\r\n\r\n",
    "g\r\nabc\r\n0\r\n\r\n",
    "\r\nabc\r\n0\r\n\r\n",
    "3\nabc\r\n0\r\n\r\n",
    "3;a\nb\r\nabc\r\n0\r\n\r\n",
    "3\r\nabcd\r\n0\r\n\r\n",
    "3\r\nabc0\r\n\r\n",
    "0\n\n",
];

#[tokio::test]
async fn a5_s15_a_bad_chunk_is_the_clients_fault_and_ends_both_connections() {
    let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(64 * 1024));
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for chunk in BAD_CHUNKS.iter().copied().chain([long.as_str()]) {
            let before = app.connections();
            let payload = post("transfer-encoding: chunked\r\n", &format!("{chunk}{SMUGGLED}"));
            let answer = exchange(stage.address, payload.as_bytes()).await;
            assert!(
                answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
                "{:?}: {chunk:.40?}: {answer:?}",
                stage.way
            );
            assert_eq!(
                answer.matches("HTTP/1.1 ").count(),
                1,
                "{:?}: {chunk:.40?}",
                stage.way
            );
            // Whatever connection it had begun on is not used again.
            assert_eq!(get(stage.address, "/").await.text, "ok");
            assert!(app.connections() > before, "{:?}: {chunk:.40?}", stage.way);
        }
        assert!(
            !app.seen().contains("smuggled"),
            "{:?}: {}",
            stage.way,
            app.seen()
        );
        // The same of a chunk that comes after the request has begun upstream.
        for chunk in BAD_CHUNKS {
            let mut stream = TcpStream::connect(stage.address).await.unwrap();
            let head = post("transfer-encoding: chunked\r\nx-late: yes\r\n", "2\r\nhi\r\n");
            let before = app.seen().matches("x-late").count();
            stream.write_all(head.as_bytes()).await.unwrap();
            crate::support::eventually("the request begins", || {
                app.seen().matches("x-late").count() > before
            })
            .await;
            stream.write_all(chunk.as_bytes()).await.unwrap();
            let answer = to_end(&mut stream).await;
            assert!(
                answer.starts_with("HTTP/1.1 400"),
                "{:?}: {chunk:?}: {answer:?}",
                stage.way
            );
        }
        for proxy in &stage.proxies {
            assert_eq!(
                proxy.metric_sum("smilax_proxy_tls_failures_total", &[]).await,
                0,
                "{:?}",
                stage.way
            );
        }
    }
}

#[tokio::test]
async fn a6_trailers_that_none_may_be_are_left_out() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let trailers = "content-length: 9\r\nhost: evil\r\ntransfer-encoding: gzip\r\nauthorization: evil\r\n\
            smilax-client-identity: evil\r\nx_forwarded_client_cert: evil\r\nx-sum: 7\r\n";
        let payload = post(
            "te: trailers\r\nconnection: te\r\ntransfer-encoding: chunked\r\ntrailer: content-length, host, \
             transfer-encoding, authorization, smilax-client-identity, x_forwarded_client_cert, x-sum\r\n",
            &format!("2\r\nhi\r\n0\r\n{trailers}\r\n"),
        );
        let answer = half_closed(&stage, &payload).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        let got = app.trailers();
        assert_eq!(
            got.keys()
                .map(http::HeaderName::as_str)
                .filter(|&name| name != "x_forwarded_client_cert" || stage.way != Way::Outbound)
                .filter(|&name| name != "smilax-client-identity" || stage.way != Way::Outbound)
                .collect::<Vec<_>>(),
            ["x-sum"],
            "{:?}",
            stage.way
        );
    }
}

#[tokio::test]
async fn a7_http_1_0_has_no_chunks_and_no_end_by_closing() {
    let old = |headers: &str, body: &str| format!("POST / HTTP/1.0\r\nhost: web\r\n{headers}\r\n{body}");
    let chunked = old("transfer-encoding: chunked\r\n", &format!("0\r\n\r\n{SMUGGLED}"));
    refused([(chunked, &[400][..])]).await;
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let answer = half_closed(&stage, &old("", SMUGGLED)).await;
        assert_eq!(answer.matches("HTTP/1.").count(), 1, "{:?}: {answer}", stage.way);
        assert!(!app.seen().contains("smuggled"), "{:?}", stage.way);
    }
}

#[tokio::test]
async fn s34_the_body_of_a_get_in_chunks_arrives_and_is_never_a_request() {
    let length = SMUGGLED.len();
    for method in ["GET", "HEAD", "DELETE"] {
        let head = format!("{method} / HTTP/1.1\r\nhost: web\r\n");
        let chunks = format!("{head}transfer-encoding: chunked\r\n\r\n{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n");
        let whole = format!("{head}content-length: {length}\r\n\r\n{SMUGGLED}");
        for stage in Stage::all() {
            let app = Recorder::at(stage.app).await;
            for payload in [&chunks, &whole] {
                let payload = format!("{payload}GET /next HTTP/1.1\r\nhost: web\r\n\r\n");
                let before = app.whole();
                let answer = half_closed(&stage, &payload).await;
                assert_eq!(
                    answer.matches("HTTP/1.1 200").count(),
                    2,
                    "{method}, {:?}: {answer}",
                    stage.way
                );
                assert_eq!(app.whole() - before, 2, "{method}, {:?}", stage.way);
            }
            let seen = app.seen();
            assert_eq!(
                seen.matches("/smuggled").count(),
                2,
                "{method}, {:?}: {seen}",
                stage.way
            );
        }
    }
}

#[tokio::test]
async fn s34_the_body_of_a_get_without_a_length_arrives_over_http2() {
    for stage in Stage::all() {
        let _app = Server::mirror(stage.app).await;
        let body = frames(vec![Frame::data(Bytes::from_static(b"the body"))]);
        let request = Request::get("http://web/").body(body).unwrap();
        let answer = Http2::connect(stage.address).await.send(request).await;
        assert!(
            answer.text.ends_with("\nthe body"),
            "{:?}: {}",
            stage.way,
            answer.text
        );
    }
}

#[tokio::test]
async fn a8_what_follows_an_upgrade_that_was_not_granted_is_a_request() {
    let upgrade = "GET / HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    passed(&[(format!("{upgrade}GET /next HTTP/1.1\r\nhost: web\r\n\r\n"), 2)]).await;
}

#[tokio::test]
async fn a9_the_body_of_an_upgrade_stays_a_body() {
    let length = SMUGGLED.len();
    let headers = format!("connection: upgrade\r\nupgrade: websocket\r\ncontent-length: {length}\r\n");
    passed(&[(post(&headers, SMUGGLED), 1)]).await;
}

#[tokio::test]
async fn a10_an_upgrade_to_cleartext_http2_is_not_passed_on() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let answer = half_closed(
            &stage,
            "GET / HTTP/1.1\r\nhost: web\r\nconnection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\n\
             http2-settings: AAMAAABkAAQAAP__\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        for gone in ["h2c", "upgrade", "http2-settings"] {
            assert!(!app.seen().contains(gone), "{:?}: {}", stage.way, app.seen());
        }
    }
}

#[tokio::test]
async fn a11_the_body_of_a_request_that_the_proxy_answers_is_never_a_request() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let body = SMUGGLED.repeat(10);
        let length = body.len();
        let payload = format!("TRACE / HTTP/1.1\r\nhost: web\r\ncontent-length: {length}\r\n\r\n{body}");
        let answer = half_closed(
            &stage,
            &format!("{payload}GET /next HTTP/1.1\r\nhost: web\r\n\r\n"),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{:?}: {answer}", stage.way);
        let long = SMUGGLED.repeat(10_000);
        let length = long.len();
        let payload = format!("TRACE / HTTP/1.1\r\nhost: web\r\ncontent-length: {length}\r\n\r\n{long}");
        let answer = exchange(stage.address, payload.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{:?}: {answer}", stage.way);
        assert!(answer.contains("connection: close"), "{:?}: {answer}", stage.way);
        assert!(
            !app.seen().contains("smuggled"),
            "{:?}: {}",
            stage.way,
            app.seen()
        );
    }
}

#[tokio::test]
async fn s36_pipelined_requests_stay_what_they_are_wherever_they_are_cut() {
    const SECOND: &str = "GET /2 HTTP/1.1\r\nhost: web\r\nx-a: b\r\nx-user: c\r\nconnection: close\r\n\r\n";
    let first = "GET /1 HTTP/1.1\r\nhost: web\r\n\r\n";
    let both = format!("{first}{SECOND}");
    let net = Net::new();
    let _app = Server::mirror(net.at(1)).await;
    let proxy = TestProxy::inbound(net.at(1));
    for cut in first.len()..both.len() {
        let mut stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
        let (begins, rest) = both.as_bytes().split_at(cut);
        stream.write_all(begins).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.write_all(rest).await.unwrap();
        let answers = to_end(&mut stream).await;
        assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 2, "{cut}: {answers}");
        for line in ["GET /1 ", "GET /2 ", "x-a: b\n", "x-user: c\n"] {
            assert_eq!(answers.matches(line).count(), 1, "{cut}: {line}: {answers}");
        }
    }
}
