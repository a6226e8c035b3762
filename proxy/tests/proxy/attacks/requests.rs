//! A: requests of HTTP/1 that are none, or that are for nobody.

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::framing::{SMUGGLED, half_closed, refused};
use super::stage::{Recorder, Stage, Way};
use crate::support::client::{exchange, to_end};

fn with(line: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: web\r\n{line}\r\n\r\n{SMUGGLED}")
}

fn first(line: &str) -> String {
    format!("{line}\r\nhost: web\r\n\r\n")
}

fn for_host(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n{SMUGGLED}")
}

#[tokio::test]
async fn a13_characters_that_no_header_may_have_are_refused() {
    refused(
        [
            "x: a\rb",
            "x: a\0b",
            "x y: a",
            ": a",
            "(x): a",
            "x\0: a",
            "x\ty: a",
            "no header",
            "x: a\u{7f}b",
        ]
        .map(|line| (with(line), &[400][..])),
    )
    .await;
}

#[tokio::test]
async fn a14_bare_line_feeds_end_lines_and_go_on_as_what_they_should_be() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let answer = half_closed(&stage, "GET / HTTP/1.1\nhost: web\nx: y\n\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        assert!(!app.seen().replace("\r\n", "").contains('\n'), "{:?}", stage.way);
    }
}

#[tokio::test]
async fn a15_a_request_line_that_is_none_is_refused_and_methods_are_as_written() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for line in [
            "GET /",
            "GET / HTTP/2.0",
            "GET / HTTP/1.9",
            "GET\t/ HTTP/1.1",
            "GET  / HTTP/1.1",
            "G\u{e9}T / HTTP/1.1",
            "GET / HTTP/1.1 x",
        ] {
            // Where the protocol is told from the first bytes, what is no request of HTTP/1 is carried as bytes.
            if stage.way == Way::Inbound && !line.contains(" HTTP/1.") {
                continue;
            }
            let answer = half_closed(&stage, &first(line)).await;
            let refused = answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 505");
            assert!(
                refused || stage.way == Way::Inbound && app.whole() == 0,
                "{:?}: {line}: {answer}",
                stage.way
            );
            assert_eq!(app.whole(), 0, "{:?}: {line}", stage.way);
        }
        let answer = half_closed(&stage, &first("get / HTTP/1.1")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        assert!(
            app.seen().contains("get / HTTP/1.1\r\n"),
            "{:?}: {}",
            stage.way,
            app.seen()
        );
    }
}

#[tokio::test]
async fn a16_s16_a_host_that_is_none_is_refused() {
    let hosts = [
        "a b",
        "a/b",
        "u@a",
        "",
        "a:b",
        "a:80:80",
        "[::1",
        "a\\b",
        "a?b",
        "a, b\r\nhost: c",
    ];
    let none = "GET / HTTP/1.1\r\n\r\n".to_owned();
    refused(
        hosts
            .map(for_host)
            .into_iter()
            .chain([none])
            .map(|payload| (payload, &[400][..])),
    )
    .await;
    for stage in Stage::all() {
        let _app = Recorder::at(stage.app).await;
        for host in ["web", "web.shop:8080", "10.0.0.1", "[::1]:80", "a_b", "web."] {
            let answer = half_closed(&stage, &format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")).await;
            assert!(
                answer.starts_with("HTTP/1.1 200"),
                "{:?}: {host}: {answer}",
                stage.way
            );
        }
    }
}

#[tokio::test]
async fn a17_a_host_that_differs_from_the_target_is_refused() {
    refused(
        [
            "GET http://evil/ HTTP/1.1\r\nhost: web\r\n\r\n",
            "GET http://web@evil/ HTTP/1.1\r\nhost: web\r\n\r\n",
            "GET http://u@web/ HTTP/1.1\r\nhost: u@web\r\n\r\n",
            "GET http:///a HTTP/1.1\r\nhost: web\r\n\r\n",
        ]
        .map(|payload| (payload.to_owned(), &[400][..])),
    )
    .await;
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let answer = half_closed(&stage, "GET http://web/a HTTP/1.1\r\nhost: WEB\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        assert!(
            app.seen().contains("http://web/a"),
            "{:?}: {}",
            stage.way,
            app.seen()
        );
    }
}

#[tokio::test]
async fn a18_s18_trace_and_targets_that_only_options_is_for_are_refused() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let ask = async |line: &str| half_closed(&stage, &first(line)).await;
        let answer = ask("TRACE / HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{:?}: {answer}", stage.way);
        assert!(answer.ends_with("smilax: TRACE is not served\n"), "{answer}");
        let answer = ask("GET * HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 405"), "{:?}: {answer}", stage.way);
        assert!(answer.contains("allow: OPTIONS\r\n"), "{answer}");
        assert_eq!(app.whole(), 0, "{:?}", stage.way);
        assert_eq!(stage.counted(405).await, 2, "{:?}", stage.way);
        let answer = ask("OPTIONS * HTTP/1.1").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        assert!(
            app.seen().contains("OPTIONS * HTTP/1.1\r\n"),
            "{:?}: {}",
            stage.way,
            app.seen()
        );
    }
}

#[tokio::test]
async fn s18_a_target_that_is_too_long_is_told_from_headers_that_are_too_large() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for length in [64 * 1024, 65_534, 70_000, 1_000_000] {
            let payload = first(&format!("GET /{} HTTP/1.1", "a".repeat(length)));
            let answer = exchange(stage.address, payload.as_bytes()).await;
            assert!(
                answer.starts_with("HTTP/1.1 414"),
                "{:?}: {length}: {answer}",
                stage.way
            );
            assert!(answer.contains("connection: close"), "{answer}");
        }
        assert_eq!(app.whole(), 0);
        assert_eq!(stage.counted(414).await, 4, "{:?}", stage.way);
        let long = first(&format!("GET /{} HTTP/1.1", "a".repeat(60_000)));
        let answer = half_closed(&stage, &long).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        let large = format!("GET / HTTP/1.1\r\nhost: web\r\nx: {}\r\n\r\n", "a".repeat(70_000));
        let answer = exchange(stage.address, large.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431"), "{:?}: {answer}", stage.way);
    }
}

#[tokio::test]
async fn a19_what_concerns_one_connection_ends_with_it_and_takes_nothing_else_along() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        let answer = half_closed(
            &stage,
            "GET / HTTP/1.1\r\nhost: web\r\nconnection: X-Foo, host, smilax-client-identity, x-forwarded-client-cert, \
             close\r\nx-foo: 1\r\nkeep-alive: 5\r\nproxy-connection: x\r\nte: gzip\r\nx-bar: 2\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        let seen = app.seen();
        for gone in ["x-foo", "keep-alive", "proxy-connection", "te: gzip"] {
            assert!(!seen.contains(gone), "{:?}: {seen}", stage.way);
        }
        for stays in ["host: web", "x-bar: 2"] {
            assert!(seen.contains(stays), "{:?}: {seen}", stage.way);
        }
        let named = seen.matches("smilax-client-identity: spiffe://").count();
        assert_eq!(
            named,
            usize::from(stage.way == Way::Both),
            "{:?}: {seen}",
            stage.way
        );
    }
}

/// What a client without a further request sends, with bytes that no text has.
async fn ask(stage: &Stage, headers: &[u8]) -> String {
    let payload = [b"GET / HTTP/1.1\r\nhost: web\r\n", headers, b"\r\n"].concat();
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(&payload).await.unwrap();
    stream.shutdown().await.unwrap();
    to_end(&mut stream).await
}

#[tokio::test]
async fn s33_a_byte_above_ascii_hides_nothing_that_concerns_one_connection() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for headers in [
            &b"connection: x-foo, \xff\r\nx-foo: 1\r\n"[..],
            b"connection: \xff, x-foo\r\nx-foo: 1\r\n",
            b"connection: upgrade, \xff, x-foo\r\nx-foo: 1\r\nupgrade: h2c, \xff\r\n",
            b"connection: upgrade\r\nupgrade: \xff\r\nupgrade: h2c\r\n",
        ] {
            let answer = ask(&stage, headers).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        }
        for gone in ["x-foo", "h2c", "upgrade"] {
            assert!(!app.seen().contains(gone), "{:?}: {}", stage.way, app.seen());
        }
    }
}

#[tokio::test]
async fn s33_a_byte_above_ascii_in_what_frames_a_request_is_refused() {
    for stage in Stage::all() {
        let app = Recorder::at(stage.app).await;
        for headers in [
            &b"transfer-encoding: chunked, \xff\r\n"[..],
            b"transfer-encoding: \xff, chunked\r\n",
            b"transfer-encoding: \xff\r\ntransfer-encoding: chunked\r\n",
            b"content-length: 0\xff\r\n",
            b"host: web\xff\r\n",
        ] {
            let answer = ask(&stage, headers).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{:?}: {answer}", stage.way);
        }
        assert_eq!(app.whole(), 0, "{:?}", stage.way);
    }
}

#[tokio::test]
async fn s14_every_spelling_of_an_identity_that_cgi_takes_for_one_is_taken_away() {
    for stage in [Stage::of(Way::Inbound), Stage::of(Way::Both)] {
        let app = Recorder::at(stage.app).await;
        let forged: String = ["-", "_", ".", "!", "~", "+", "'", "`", "|", "$"]
            .iter()
            .flat_map(|mark| {
                ["x-forwarded-client-cert", "Smilax-Client-Identity", "smilax-form"]
                    .map(|name| format!("{}: forged\r\n", name.replace('-', mark)))
            })
            .collect();
        let answer = half_closed(&stage, &format!("GET / HTTP/1.1\r\nhost: web\r\n{forged}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{:?}: {answer}", stage.way);
        assert!(!app.seen().contains("forged"), "{:?}: {}", stage.way, app.seen());
    }
}
