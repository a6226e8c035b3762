//! B11 and S23: servers of HTTP/2 that lie.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use http::{Request, StatusCode};
use http_body_util::BodyExt as _;

use super::raw_http2::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Raw, SETTINGS, block,
    frame,
};
use super::stage::{Stage, Way};
use crate::support::client::Http2;
use crate::support::server::{Server, empty};
use crate::support::{Net, TestProxy, soon};
use smilax_core::config::Protocol;

/// Answers the first request of each connection with these frames, once settings are said.
async fn liar(
    address: SocketAddr,
    settings: &'static [u8],
    lie: impl Fn(u32) -> Vec<u8> + Clone + Send + Sync + 'static,
) -> Server {
    Server::tcp(address, move |stream| {
        let lie = lie.clone();
        async move {
            let mut raw = Raw::serve(stream, settings).await;
            while let Some(got) = raw.frame().await {
                let is_there = match got.kind {
                    HEADERS => raw.say(&lie(got.stream)).await,
                    SETTINGS if got.flags & 1 == 0 => raw.say(&frame(SETTINGS, 1, 0, &[])).await,
                    _ => true,
                };
                if !is_there {
                    return;
                }
            }
        }
    })
    .await
}

fn ok(stream: u32) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_HEADERS, stream, &[0x88]);
    bytes.extend(frame(DATA, END_STREAM, stream, b"ok"));
    bytes
}

/// Frames that a server says to a request on a stream.
type Lie = fn(u32) -> Vec<u8>;

const LIES: &[(&str, Lie)] = &[
    ("GOAWAY at once", |_| {
        frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 0])
    }),
    ("GOAWAY in the middle", |stream| {
        let mut goaway = stream.to_be_bytes().to_vec();
        goaway.extend([0, 0, 0, 2]);
        [
            frame(HEADERS, END_HEADERS, stream, &[0x88]),
            frame(GOAWAY, 0, 0, &goaway),
            frame(RST_STREAM, 0, stream, &[0, 0, 0, 2]),
        ]
        .concat()
    }),
    ("resets in a storm", |stream| {
        frame(RST_STREAM, 0, stream, &[0, 0, 0, 7]).repeat(1000)
    }),
    ("a frame that is too large", |stream| {
        frame(DATA, 0, stream, &vec![0; 1 << 20])
    }),
    ("a frame that is malformed", |_| frame(PING, 0, 0, &[0; 3])),
    ("settings that are malformed", |_| frame(SETTINGS, 0, 0, &[0; 5])),
    ("headers that are malformed", |stream| {
        frame(
            HEADERS,
            END_HEADERS,
            stream,
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        )
    }),
    ("headers without a status", |stream| {
        frame(HEADERS, END_HEADERS, stream, &block(&[("x", "y")]))
    }),
    ("a line break in a header", |stream| {
        frame(
            HEADERS,
            END_HEADERS,
            stream,
            &block(&[(":status", "200"), ("x", "a\r\nb: c")]),
        )
    }),
    ("DATA without HEADERS", |stream| {
        frame(DATA, END_STREAM, stream, b"no")
    }),
    ("HEADERS on a stream that nobody opened", |stream| {
        frame(HEADERS, END_HEADERS, stream + 100, &[0x88])
    }),
    ("more than the window", |stream| {
        let mut bytes = frame(HEADERS, END_HEADERS, stream, &[0x88]);
        bytes.extend(frame(DATA, 0, stream, &[0; 16_384]).repeat(1000));
        bytes
    }),
    ("early hints without end", |stream| {
        frame(HEADERS, END_HEADERS, stream, &block(&[(":status", "103")])).repeat(20_000)
    }),
    ("CONTINUATION without end", |stream| {
        [
            frame(HEADERS, 0, stream, &[0x88]),
            frame(CONTINUATION, 0, stream, &block(&[("x", &"a".repeat(1000))])).repeat(1000),
        ]
        .concat()
    }),
    ("settings in a flood", |_| {
        [
            frame(SETTINGS, 0, 0, &[]).repeat(100_000),
            frame(GOAWAY, 0, 0, &[0; 8]),
        ]
        .concat()
    }),
    ("a push", |stream| {
        frame(5, END_HEADERS, stream, &[0, 0, 0, 2, 0x82, 0x84, 0x86])
    }),
    ("a length that is not kept", |stream| {
        [
            frame(
                HEADERS,
                END_HEADERS,
                stream,
                &block(&[(":status", "200"), ("content-length", "9")]),
            ),
            frame(DATA, END_STREAM, stream, b"no"),
        ]
        .concat()
    }),
];

async fn whole(address: SocketAddr) -> Option<(StatusCode, String)> {
    let mut application = Http2::connect(address).await;
    let request = Request::get("http://web/").body(empty()).unwrap();
    let limit = Duration::from_secs(50);
    let response = tokio::time::timeout(limit, application.start(request))
        .await
        .ok()?
        .ok()?;
    let status = response.status();
    let body = tokio::time::timeout(limit, response.into_body().collect())
        .await
        .ok()?
        .ok()?;
    Some((status, String::from_utf8_lossy(&body.to_bytes()).into_owned()))
}

#[tokio::test]
async fn b11_what_a_lying_server_of_http2_says_is_never_a_whole_response() {
    for (name, lie) in LIES {
        for way in [Way::Outbound, Way::Inbound] {
            let stage = Stage::of(way);
            let server = liar(stage.app, &[], *lie).await;
            let asked = whole(stage.address);
            let answer =
                if *name == "early hints without end" || *name == "HEADERS on a stream that nobody opened" {
                    let stop = async {
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        server.stop().await;
                    };
                    tokio::join!(asked, stop).0
                } else {
                    let answer = asked.await;
                    server.stop().await;
                    answer
                };
            if let Some((status, text)) = answer {
                assert!(status.is_server_error(), "{name}: {way:?}: {status} {text}");
                assert!(text.starts_with("smilax: "), "{name}: {way:?}: {text}");
            }
            // The proxy lives, and goes on with a server that does not lie.
            let _honest = liar(stage.app, &[], ok).await;
            let next = whole(stage.address).await;
            assert_eq!(next, Some((StatusCode::OK, "ok".to_owned())), "{name}: {way:?}");
        }
    }
}

#[tokio::test]
async fn b11_what_follows_the_end_of_a_stream_is_nobodys() {
    for way in [Way::Outbound, Way::Inbound] {
        let stage = Stage::of(way);
        let _server = liar(stage.app, &[], |stream| {
            [ok(stream), frame(DATA, 0, stream, b"leftover")].concat()
        })
        .await;
        for _ in 0..3 {
            let got = whole(stage.address).await;
            assert!(got.is_none_or(|(_, text)| !text.contains("leftover")), "{way:?}");
        }
    }
}

/// `SETTINGS_MAX_CONCURRENT_STREAMS` is 0.
const NO_STREAMS: &[u8] = &[0, 3, 0, 0, 0, 0];

#[tokio::test]
async fn s23_a_server_that_allows_no_streams_is_answered_for_within_bounds() {
    let net = Net::new();
    let server = liar(net.at(1), NO_STREAMS, |_| vec![]).await;
    let proxy = TestProxy::builder()
        .outbound(net.at(1))
        .config(&net.config(1, Protocol::Http, vec![]))
        .set(|settings| {
            settings.limits.handshake = Duration::from_millis(700);
            settings.limits.upstream_handshake = Duration::from_millis(700);
        })
        .start();
    let mut application = Http2::connect(proxy.outbound_address()).await;
    for number in 0..8 {
        let began = Instant::now();
        let request = Request::get("http://web/").body(empty()).unwrap();
        let answer = soon("an answer", application.send(request)).await;
        assert_eq!(
            answer.status,
            StatusCode::SERVICE_UNAVAILABLE,
            "{number}: {}",
            answer.text
        );
        assert!(
            answer.text.contains("allows no streams"),
            "{number}: {}",
            answer.text
        );
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{number}: {:?}",
            began.elapsed()
        );
    }
    assert!(server.connections() > 1, "no other connection was tried");
    assert!(server.connections() <= 8, "{} connections", server.connections());
}
