//! B: HTTP/2 that no client should speak.

use std::time::Duration;

use http::{Request, StatusCode};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::raw_http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, Raw, SETTINGS,
    WINDOW_UPDATE, block, frame, get,
};
use super::stage::{Recorder, Stage, Way};
use crate::support::client::{self, Http2};
use crate::support::server::empty;
use crate::support::soon;

const WHOLE: u8 = END_STREAM | END_HEADERS;

/// Says frames until the other side ends the connection; `None` if it never does. Otherwise how many were said.
async fn flood(stage: &Stage, begin: &[u8], mut next: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
    let mut raw = Raw::connect(stage.address).await;
    raw.say(begin).await;
    for number in 0..20_000 {
        if !raw.say(&next(number)).await {
            return Some(number);
        }
        let mut byte = [0; 4096];
        if matches!(raw.0.try_read(&mut byte), Ok(0)) {
            return Some(number);
        }
    }
    raw.ends().await.then_some(20_000)
}

/// Holds that a flood ends its connection, and concerns nobody else.
async fn ends(begin: &[u8], next: impl Fn(u32) -> Vec<u8>) {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let said = flood(&stage, begin, &next).await;
        assert!(said.is_some(), "{:?}: it never ended", stage.way);
        let answer = client::get(stage.address, "/").await;
        assert_eq!(answer.text, "ok", "{:?}", stage.way);
        assert!(app.whole() < 2_000, "{:?}: {} requests", stage.way, app.whole());
    }
}

fn stream(number: u32) -> u32 {
    number * 2 + 1
}

/// Holds that requests without end, each spoilt at once by this frame, end their connection.
async fn spoilt(flags: u8, kind: u8, code: u32) {
    let block = get(&[]);
    ends(&[], |number| {
        let spoils = frame(kind, 0, stream(number), &code.to_be_bytes());
        [frame(HEADERS, flags, stream(number), &block), spoils].concat()
    })
    .await;
}

/// `CANCEL` (RFC 9113 section 7).
const CANCEL: u32 = 8;

#[tokio::test]
async fn b1_requests_that_are_reset_at_once_end_the_connection() {
    spoilt(WHOLE, RST_STREAM, CANCEL).await;
}

#[tokio::test]
async fn b2_headers_without_end_end_the_connection() {
    let begin = frame(HEADERS, 0, 1, &get(&[]));
    let more = block(&[("x", &"a".repeat(1000))]);
    ends(&begin, |_| frame(CONTINUATION, 0, 1, &more)).await;
    ends(&begin, |_| frame(CONTINUATION, 0, 1, &[])).await;
}

#[tokio::test]
async fn b3_resets_that_the_proxy_is_made_to_send_end_the_connection() {
    // A window that grows by nothing is an error of its stream.
    spoilt(END_HEADERS, WINDOW_UPDATE, 0).await;
}

#[tokio::test]
async fn b4_settings_and_pings_without_end_are_not_piled_up() {
    for kind in [SETTINGS, PING] {
        let payload: &[u8] = if kind == PING { &[0; 8] } else { &[] };
        for stage in Stage::all() {
            let _app = Recorder::at(stage.app).await;
            let mut raw = Raw::connect(stage.address).await;
            // Nothing of what the proxy answers is read: it must stop reading, or end the connection.
            let many = frame(kind, 0, 0, payload).repeat(1000);
            let mut said = 0;
            while said < 100_000 && raw.say(&many).await {
                said += 1000;
            }
            assert_eq!(
                client::get(stage.address, "/").await.text,
                "ok",
                "{:?}: {said}",
                stage.way
            );
        }
    }
}

#[tokio::test]
async fn b5_empty_frames_without_end_are_not_piled_up() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let mut raw = Raw::connect(stage.address).await;
        raw.say(&frame(HEADERS, END_HEADERS, 1, &get(&[]))).await;
        let many = frame(DATA, 0, 1, &[]).repeat(1000);
        for _ in 0..200 {
            if !raw.say(&many).await {
                break;
            }
        }
        assert_eq!(
            client::get(stage.address, "/").await.text,
            "ok",
            "{:?}",
            stage.way
        );
        assert_eq!(app.whole(), 1, "{:?}", stage.way);
    }
}

#[tokio::test]
async fn b6_headers_that_unpack_to_much_are_refused() {
    // One header of 4,000 bytes goes into the table, and a byte each names it again.
    let mut bomb = get(&[]);
    bomb.extend([0x40, 1, b'x', 127, 0xa1, 0x1e]);
    bomb.extend([b'a'; 4000]);
    bomb.extend([0xbe; 10_000]);
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let mut raw = Raw::connect(stage.address).await;
        raw.say(&frame(HEADERS, WHOLE, 1, &bomb)).await;
        while let Some(frame) = raw.frame().await {
            match frame.kind {
                HEADERS => assert!(
                    !frame.payload.starts_with(&[0x88]),
                    "{:?}: it was answered 200",
                    stage.way
                ),
                RST_STREAM | GOAWAY => {}
                _ => continue,
            }
            break;
        }
        assert_eq!(app.whole(), 0, "{:?}", stage.way);
        assert_eq!(
            client::get(stage.address, "/").await.text,
            "ok",
            "{:?}",
            stage.way
        );
    }
}

#[tokio::test]
async fn b7_streams_beyond_the_limit_are_refused_and_priorities_mean_nothing() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let mut raw = Raw::connect(stage.address).await;
        let block = get(&[]);
        for number in 0..2_000 {
            if !raw
                .say(&frame(HEADERS, END_HEADERS, stream(number), &block))
                .await
            {
                break;
            }
        }
        for number in 0..10_000 {
            if !raw
                .say(&frame(PRIORITY, 0, stream(number), &[0, 0, 0, 0, 1]))
                .await
            {
                break;
            }
        }
        let refused = async {
            while let Some(frame) = raw.frame().await {
                // No request is whole, so that what is answered is answered by a proxy that has no memory for more.
                let answered = frame.kind == HEADERS;
                let reset = frame.kind == RST_STREAM && frame.payload == 7u32.to_be_bytes();
                if frame.kind == GOAWAY || answered || reset {
                    return true;
                }
            }
            false
        };
        assert!(refused.await, "{:?}", stage.way);
        // Its address has had its share of the memory for requests until it ends them.
        drop(raw);
        let served = async {
            while client::get(stage.address, "/").await.text != "ok" {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("it is served again", served).await;
        assert_eq!(app.whole(), 1, "{:?}", stage.way);
    }
}

#[tokio::test]
async fn b9_a_request_that_is_malformed_reaches_nobody() {
    let faults: Vec<Vec<u8>> = vec![
        block(&[(":scheme", "http"), (":path", "/"), (":authority", "web")]),
        block(&[(":method", "GET"), (":path", "/"), (":authority", "web")]),
        block(&[(":method", "GET"), (":scheme", "http"), (":authority", "web")]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", ""),
            (":authority", "web"),
        ]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "admin"),
            (":authority", "web"),
        ]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/ HTTP/1.1\r\nx: y"),
            (":authority", "web"),
        ]),
        block(&[
            (":method", "GET / HTTP/1.1\r\nx: "),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "web"),
        ]),
        block(&[
            (":method", "GET"),
            ("x", "y"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "web"),
        ]),
        get(&[(":path", "/other")]),
        get(&[(":status", "200")]),
        get(&[(":x", "y")]),
        get(&[("X-Upper", "y")]),
        get(&[("x", "a\r\nb: c")]),
        get(&[("x", "a\nb")]),
        get(&[("x", "a\0b")]),
        get(&[("x y", "z")]),
        get(&[("x:", "z")]),
        get(&[("connection", "close")]),
        get(&[("keep-alive", "5")]),
        get(&[("proxy-connection", "x")]),
        get(&[("transfer-encoding", "chunked")]),
        get(&[("upgrade", "websocket")]),
        get(&[("te", "gzip")]),
        get(&[("content-length", "5")]),
        get(&[("content-length", "0"), ("content-length", "1")]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "u@web"),
        ]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "a b"),
        ]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", ""),
        ]),
        block(&[
            (":method", "TRACE"),
            (":scheme", "http"),
            (":path", "/"),
            (":authority", "web"),
        ]),
        block(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "*"),
            (":authority", "web"),
        ]),
        block(&[(":method", "CONNECT"), (":authority", "web:80")]),
    ];
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for (number, fault) in faults.iter().enumerate() {
            let mut raw = Raw::connect(stage.address).await;
            raw.say(&frame(HEADERS, WHOLE, 1, fault)).await;
            loop {
                let got = raw.frame().await;
                match got.as_ref().map(|frame| (frame.kind, frame.stream)) {
                    None | Some((HEADERS | RST_STREAM, 1) | (GOAWAY, _)) => break,
                    Some(_) => {}
                }
            }
            assert_eq!(app.whole(), 0, "{:?}: fault {number}: {}", stage.way, app.seen());
        }
        // The body is shorter, or longer, than was said.
        for data in ["abc", "abcdefgh"] {
            let mut raw = Raw::connect(stage.address).await;
            raw.say(&frame(HEADERS, END_HEADERS, 1, &get(&[("content-length", "5")])))
                .await;
            raw.say(&frame(DATA, END_STREAM, 1, data.as_bytes())).await;
            let _ = tokio::time::timeout(Duration::from_millis(500), raw.until(RST_STREAM)).await;
            assert_eq!(app.whole(), 0, "{:?}: {data}", stage.way);
        }
    }
}

#[tokio::test]
async fn b10_s20_a_host_that_differs_from_the_authority_is_refused() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let mut application = Http2::connect(stage.address).await;
        let ask = |host: &str| {
            let request = Request::get("http://web/").header("host", host);
            request.body(empty()).unwrap()
        };
        let answer = application.send(ask("evil")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{:?}", stage.way);
        assert_eq!(app.whole(), 0);
        assert_eq!(
            application.send(ask("web")).await.status,
            StatusCode::OK,
            "{:?}",
            stage.way
        );
    }
}

#[tokio::test]
async fn s20_a_mesh_peer_cannot_hide_another_host_behind_the_form_of_the_application() {
    let mesh = crate::support::mesh::Mesh::new();
    let app = Recorder::at(mesh.app(1)).await;
    let _web = mesh.web(vec![]);
    for form in ["1.1", "1.1-raw", "1.1-absolute", "2"] {
        let stream = mesh
            .connect(&mesh.context("shop/client"), smilax_proxy::tls::Wire::Http2)
            .await
            .unwrap();
        let executor = hyper_util::rt::TokioExecutor::new();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://web/")
            .header("host", "evil")
            .header("smilax-form", form)
            .body(empty())
            .unwrap();
        let response = crate::support::soon("the answer", sender.send_request(request))
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{form}");
    }
    assert_eq!(app.whole(), 0, "{}", app.seen());
}

#[tokio::test]
async fn s21_trailers_that_none_may_be_do_not_reach_a_server_of_http2() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let mut raw = Raw::connect(stage.address).await;
        let trailers = block(&[
            ("content-length", "9"),
            ("host", "evil"),
            ("authorization", "evil"),
            ("x-sum", "7"),
        ]);
        raw.say(&frame(HEADERS, END_HEADERS, 1, &get(&[("te", "trailers")])))
            .await;
        raw.say(&frame(DATA, 0, 1, b"hi")).await;
        raw.say(&frame(HEADERS, WHOLE, 1, &trailers)).await;
        assert!(raw.until(HEADERS).await.is_some(), "{:?}", stage.way);
        let got = app.trailers();
        let names: Vec<_> = got.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["x-sum"], "{:?}", stage.way);
    }
}

#[tokio::test]
async fn b12_odd_metadata_of_grpc_goes_through_and_a_call_that_is_given_up_is_given_up_there() {
    for stage in Stage::all() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let _app = crate::support::server::Server::http(stage.app, move |request| {
            let tell = tell.clone();
            async move {
                if request.uri().path() == "/never" {
                    return crate::support::server::Cancelled::told(tell).await;
                }
                let mut response = crate::support::server::text("");
                let headers = response.headers_mut();
                let timeout = request.headers().get("grpc-timeout").cloned();
                headers.insert("x-timeout", timeout.unwrap_or_else(|| "none".parse().unwrap()));
                headers.insert("content-type", "application/grpc".parse().unwrap());
                headers.insert("grpc-status", "5".parse().unwrap());
                headers.insert(
                    "grpc-message",
                    http::HeaderValue::from_bytes(b"\xff\xfe").unwrap(),
                );
                response
            }
        })
        .await;
        let mut application = Http2::connect(stage.address).await;
        let ask = |path: &str| {
            Request::post(format!("http://web{path}"))
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .header("grpc-timeout", "99999999999999999999H")
                .body(empty())
                .unwrap()
        };
        let answer = application.send(ask("/")).await;
        assert_eq!(answer.headers["grpc-status"], "5", "{:?}", stage.way);
        assert_eq!(
            answer.headers["grpc-message"].as_bytes(),
            b"\xff\xfe",
            "{:?}",
            stage.way
        );
        assert_eq!(
            answer.headers["x-timeout"], "99999999999999999999H",
            "{:?}",
            stage.way
        );
        let given_up = tokio::time::timeout(
            Duration::from_millis(500),
            application.0.send_request(ask("/never")),
        )
        .await;
        assert!(given_up.is_err(), "{:?}", stage.way);
        let heard = tokio::time::timeout(Duration::from_secs(5), told.recv()).await;
        assert!(heard.is_ok(), "{:?}: the server was not told", stage.way);
    }
}

#[tokio::test]
async fn b14_first_bytes_that_are_no_protocol_never_hang() {
    for stage in [Stage::of(Way::Outbound), Stage::of(Way::Both)] {
        let app = Recorder::at(stage.app).await;
        for bytes in [
            &b"\0\0\0\0"[..],
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
            b"PRI * HTTP/3.0\r\n\r\n",
        ] {
            let mut stream = TcpStream::connect(stage.address).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, bytes)
                .await
                .unwrap();
            let mut answer = Vec::new();
            let end = tokio::time::timeout(Duration::from_secs(15), stream.read_to_end(&mut answer)).await;
            assert!(end.is_ok(), "{:?}: {bytes:?} hangs", stage.way);
        }
        assert_eq!(app.whole(), 0, "{:?}", stage.way);
    }
}
