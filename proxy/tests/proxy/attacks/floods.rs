//! S36 and S37: floods of bytes that are no request, and A21 over HTTP/2.

use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::StreamBody;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::raw_http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, Raw, SETTINGS,
    WINDOW_UPDATE, frame, get,
};
use super::resources::{BRIEF, application, proxy};
use super::stage::{Recorder, Stage, Way};
use crate::support::client::{self, Http1, Http2, exchange};
use crate::support::server::{Server, empty};
use crate::support::{Net, TestProxy, soon};

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: web\r\n\r\n";
/// A kind of frames that nobody knows.
const UNKNOWN: u8 = 0xfa;
/// `ENHANCE_YOUR_CALM` (RFC 9113 section 7).
const CALM: [u8; 4] = [0, 0, 0, 11];

/// What is answered to these bytes until the connection ends, sent piece by piece.
async fn answers(stage: &Stage, pieces: impl Iterator<Item = &[u8]>) -> String {
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    for piece in pieces {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    soon("the connection ends", client::to_end(&mut stream)).await
}

#[tokio::test]
async fn s36_blank_lines_without_end_are_answered_400_and_concern_nobody_else() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let blank = || std::iter::repeat_n(&b"\r\n\r\n"[..], 200);
        let answer = answers(&stage, std::iter::once(REQUEST.as_bytes()).chain(blank())).await;
        let [ok, refused] = ["HTTP/1.1 200", "HTTP/1.1 400"].map(|status| answer.matches(status).count());
        assert_eq!((ok, refused), (1, 1), "{:?}: {answer}", stage.way);
        assert_eq!(
            client::get(stage.address, "/").await.text,
            "ok",
            "{:?}",
            stage.way
        );
        assert_eq!(app.whole(), 2, "{:?}", stage.way);
    }
}

#[tokio::test]
async fn s36_a_connection_that_begins_with_blank_lines_without_end_is_answered_400() {
    let stage = Stage::of(Way::Outbound);
    let answer = answers(&stage, std::iter::repeat_n(&b"\r\n\r\n"[..], 200)).await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn s36_some_blank_lines_before_each_request_are_skipped() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        for _ in 0..10 {
            for piece in ["\r\n", "\r", "\n\n", REQUEST] {
                stream.write_all(piece.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let answer = soon("an answer", client::until(&mut stream, "ok")).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        }
        assert_eq!(app.whole(), 10, "{:?}", stage.way);
    }
}

#[tokio::test]
async fn s36_blank_lines_that_come_while_a_request_is_answered_count_too() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, |_| ());
    let late = "GET /late HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
    for piece in [late, "\r\n\r\n", late] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(BRIEF / 4).await;
    }
    for _ in 0..2 {
        soon("an answer", client::until(&mut stream, "late")).await;
    }
    drop(stream);
    let mut stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
    stream.write_all(late.as_bytes()).await.unwrap();
    tokio::time::sleep(BRIEF / 4).await;
    stream.write_all("\r\n".repeat(100).as_bytes()).await.unwrap();
    let answer = soon("the connection ends", client::to_end(&mut stream)).await;
    assert!(answer.contains("\r\n\r\nlateHTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn s36_blank_lines_of_a_server_are_bounded_and_some_are_skipped() {
    for stage in [
        Stage::of(Way::Outbound),
        Stage::of(Way::Inbound),
        Stage::of(Way::Both),
    ] {
        let _app = Server::tcp(stage.app, |mut stream| async move {
            let head = client::until(&mut stream, "\r\n\r\n").await;
            let flood = head.starts_with("GET /flood");
            for _ in 0..if flood { 2000 } else { 4 } {
                if stream.write_all(b"\r\n\r\n").await.is_err() {
                    return;
                }
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            let _ = stream.write_all(answer).await;
        })
        .await;
        assert_eq!(
            client::get(stage.address, "/").await.text,
            "ok",
            "{:?}",
            stage.way
        );
        let flooded = client::get(stage.address, "/flood").await.status;
        assert!(flooded.is_server_error(), "{:?}: {flooded}", stage.way);
    }
}

#[tokio::test]
async fn s36_blank_lines_to_a_port_of_administration_end_their_connection() {
    let proxy = TestProxy::builder().start();
    for address in [
        proxy.metrics_address(),
        proxy.probe_address(),
        proxy.admin_address(),
    ] {
        let answer = exchange(address, &b"\r\n\r\n".repeat(10_000)).await;
        assert!(!answer.contains("200"), "{answer}");
    }
}

/// Says these frames again and again, and reads what is answered, until the connection ends: the code of the last GOAWAY.
async fn flooded(mut stream: TcpStream, begin: &[u8], frames: &[u8]) -> Option<[u8; 4]> {
    const ROUNDS: usize = 100;
    let (mut read, mut write) = stream.split();
    let say = async {
        let _ = write.write_all(begin).await;
        let many = frames.repeat(1000);
        for _ in 0..ROUNDS {
            if write.write_all(&many).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut heard = Vec::new();
    let hear = async {
        let mut bytes = vec![0; 8192];
        while let Ok(length @ 1..) = read.read(&mut bytes).await {
            heard.extend_from_slice(&bytes[..length]);
        }
    };
    let both = async {
        tokio::pin!(say, hear);
        tokio::select! {
            () = &mut hear => {}
            () = &mut say => hear.await,
        }
    };
    soon("the connection ends", both).await;
    let goaway = [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0];
    let last = heard.windows(goaway.len()).rposition(|bytes| bytes == goaway)?;
    heard.get(last + 13..last + 17)?.try_into().ok()
}

/// Frames of a kind each, which carry nothing, and what has to come before them on stream 1.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("windows of a stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("settings", frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])),
        ("acknowledged settings", frame(SETTINGS, 1, 0, &[])),
        ("pings", frame(PING, 0, 0, &[0; 8])),
        ("answered pings", frame(PING, 1, 0, &[0; 8])),
        ("empty data", frame(DATA, 0, 1, &[])),
        ("data that is padding", frame(DATA, 8, 1, &[3, 0, 0, 0])),
        ("unknown frames", frame(UNKNOWN, 0, 0, &[0; 20])),
    ]
}

#[tokio::test]
async fn s37_frames_without_end_that_carry_nothing_end_the_connection_of_a_client() {
    for (name, frames) in floods() {
        for stage in [Stage::of(Way::Outbound), Stage::of(Way::Inbound)] {
            let _app = Recorder::at(stage.app).await;
            let raw = Raw::connect(stage.address).await;
            let begin = frame(HEADERS, END_HEADERS, 1, &get(&[]));
            flooded(raw.0, &begin, &frames).await;
            assert_eq!(
                client::get(stage.address, "/").await.text,
                "ok",
                "{:?}: {name}",
                stage.way
            );
        }
    }
}

#[tokio::test]
async fn s37_a_client_is_told_why_its_connection_ends() {
    let stage = Stage::of(Way::Inbound);
    let _app = Recorder::at(stage.app).await;
    let raw = Raw::connect(stage.address).await;
    let code = flooded(raw.0, &[], &frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])).await;
    assert_eq!(code, Some(CALM));
}

#[tokio::test]
async fn s37_frames_without_end_that_carry_nothing_end_the_connection_of_a_server() {
    for (name, frames) in floods() {
        for way in [Way::Outbound, Way::Both] {
            let stage = Stage::of(way);
            let (ended, mut end) = tokio::sync::mpsc::unbounded_channel();
            let frames = frames.clone();
            let _app = Server::tcp(stage.app, move |stream| {
                let (ended, frames) = (ended.clone(), frames.clone());
                async move {
                    let mut raw = Raw::serve(stream, &[]).await;
                    raw.until(HEADERS).await;
                    let begin = frame(HEADERS, END_HEADERS, 1, &[0x88]);
                    flooded(raw.0, &begin, &frames).await;
                    let _ = ended.send(());
                }
            })
            .await;
            let mut client = Http2::connect(stage.address).await;
            let request = Request::get("http://web/").body(empty()).unwrap();
            if let Ok(response) = client.start(request).await {
                drop(response);
            }
            assert!(
                soon("the flood ends", end.recv()).await.is_some(),
                "{way:?}: {name}"
            );
        }
    }
}

#[tokio::test]
async fn s37_a_client_may_open_its_windows_for_each_small_frame_that_it_gets() {
    const FRAMES: usize = 30_000;
    let net = Net::new();
    let _app = Server::http(net.at(1), |_| async {
        let frames = (0..FRAMES).map(|_| Ok(Frame::data("0123456789".into())));
        let body = StreamBody::new(futures::stream::iter(frames));
        Response::new(http_body_util::BodyExt::boxed(body))
    })
    .await;
    let proxy = TestProxy::inbound(net.at(1));
    let mut raw = Raw::connect(proxy.inbound_address()).await;
    raw.say(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &get(&[])))
        .await;
    let mut length = 0;
    while let Some(got) = raw.frame().await {
        length += if got.kind == DATA { got.payload.len() } else { 0 };
        if got.kind == DATA && got.flags & END_STREAM != 0 {
            break;
        }
        if got.kind == DATA {
            let opened = u32::try_from(got.payload.len().max(1)).unwrap().to_be_bytes();
            let windows = [
                frame(WINDOW_UPDATE, 0, 0, &opened),
                frame(WINDOW_UPDATE, 0, 1, &opened),
            ];
            assert!(raw.say(&windows.concat()).await);
        }
    }
    assert_eq!(length, 10 * FRAMES);
}

#[tokio::test]
async fn a21_headers_of_http2_that_do_not_come_to_an_end_end_their_connection() {
    let block = get(&[]);
    let whole = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
    let begun = [
        frame(HEADERS, END_STREAM, 1, &block),
        frame(HEADERS, END_STREAM, 1, &[]),
        whole[..whole.len() - 1].to_vec(),
    ];
    for (case, begun) in begun.into_iter().enumerate() {
        let net = Net::new();
        let _app = application(net.at(1)).await;
        let proxy = proxy(net, |settings| settings.limits.header_read = BRIEF);
        let mut raw = Raw::connect(proxy.inbound_address()).await;
        raw.say(&begun).await;
        assert!(raw.ends().await, "{case}");
        let mut healthy = Http1::connect(proxy.inbound_address()).await;
        assert_eq!(healthy.get("/").await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a21_headers_of_http2_have_their_time_in_all_however_they_trickle_and_each_has_its_own() {
    let net = Net::new();
    let _app = application(net.at(1)).await;
    let proxy = proxy(net, |settings| settings.limits.header_read = 5 * BRIEF);
    let mut patient = Raw::connect(proxy.inbound_address()).await;
    for stream in [1, 3, 5, 7] {
        patient.say(&frame(HEADERS, END_STREAM, stream, &get(&[]))).await;
        tokio::time::sleep(2 * BRIEF).await;
        patient.say(&frame(CONTINUATION, END_HEADERS, stream, &[])).await;
        assert!(patient.until(HEADERS).await.is_some(), "{stream}");
    }
    let mut endless = Raw::connect(proxy.inbound_address()).await;
    endless.say(&frame(HEADERS, END_STREAM, 1, &get(&[]))).await;
    let (mut read, mut write) = endless.0.into_split();
    let trickle = tokio::spawn(async move {
        let header = frame(CONTINUATION, 0, 1, &[0; 200]);
        let rest = [&header[..9], &b"\x00\x7f\x49"[..], &[b'x'; 197]].concat();
        for byte in rest {
            if write.write_all(&[byte]).await.is_err() {
                return;
            }
            tokio::time::sleep(BRIEF / 4).await;
        }
        // What is sent must not end before the proxy ends it.
        std::future::pending::<()>().await;
    });
    let mut rest = Vec::new();
    let _ = soon("the connection ends", read.read_to_end(&mut rest)).await;
    trickle.abort();
}
