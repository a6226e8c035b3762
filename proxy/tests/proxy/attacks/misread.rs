//! S51: what a lenient server of HTTP takes for a request, and the sidecar for something else.

use std::time::Duration;

use smilax_core::config::Protocol;
use smilax_core::probe::{Check, Probe, ProbeTable, Scheme};
use smilax_proxy::tls::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::announced::{DETECT, heard, listener, member, say, web};
use crate::support::client::{exchange, get, to_end};
use crate::support::mesh::Mesh;
use crate::support::server::Server;
use crate::support::{TestProxy, over_both, soon};

const FORGED: &[u8] = b"x-forwarded-client-cert: FORGED\r\n\r\n";

/// A request behind this first line, with its sender's own word about who calls.
fn forged(line: &[u8]) -> Vec<u8> {
    [line, FORGED].concat()
}

/// How a server answers its first bytes.
#[derive(Clone, Copy)]
enum Answers {
    /// With a status line, whatever they are.
    Always,
    /// With a status line where they name a version, and with the body alone where not, as in HTTP/0.9.
    AsAsked,
    /// In its own protocol, and with a status line where it is asked in HTTP, as MongoDB.
    AsMongo,
}

impl Answers {
    fn to(self, first: &[u8]) -> &'static [u8] {
        let is_versioned = first.windows(7).any(|part| part == b"HTTP/1.");
        match self {
            Self::Always => b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\napp",
            Self::AsAsked | Self::AsMongo if is_versioned => {
                b"HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\napp"
            }
            Self::AsAsked => b"app",
            Self::AsMongo => b"\x05\0\0\0\x01",
        }
    }
}

/// A server that answers once and tells of what it got.
async fn server(mesh: &Mesh, answers: Answers) -> (Server, UnboundedReceiver<Vec<u8>>) {
    let (tell, told) = unbounded_channel();
    let server = Server::tcp(mesh.app(1), move |mut stream| {
        let tell = tell.clone();
        async move {
            let mut first = [0; 4096];
            let length = stream.read(&mut first).await.unwrap_or_default();
            let _ = tell.send(first[..length].to_vec());
            let _ = stream.write_all(answers.to(&first[..length])).await;
            let _ = stream.shutdown().await;
        }
    })
    .await;
    (server, told)
}

/// The proxy of an application at whose port kubelet probes this.
fn probed(mesh: &Mesh, check: Check) -> TestProxy {
    mesh.web_with(vec![], |builder| {
        builder.set(|settings| {
            settings.probes = ProbeTable(vec![Probe {
                path: "/key/app/livez".to_owned(),
                port: mesh.app(1).port(),
                timeout_seconds: 1,
                check,
            }]);
        })
    })
}

/// Sends pieces without waiting for an answer between them.
async fn say_plainly(proxy: &TestProxy, pieces: &[&[u8]], pause: Duration) -> String {
    let mut stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for piece in pieces {
        let _ = stream.write_all(piece).await;
        tokio::time::sleep(pause).await;
    }
    to_end(&mut stream).await
}

#[tokio::test]
async fn s51_a_request_line_that_is_completed_after_a_pause_never_reaches_the_application() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let (_app, mut told) = listener(&mesh, b"").await;
        let proxy = web(&mesh, Protocol::Detect, vec![]);
        for [begun, rest] in [
            [&b"FOO"[..], &forged(b" / HTTP/1.1\r\n")],
            [b"FOO x", &forged(b" HTTP/1.1\r\n")],
            [b"f@o", &forged(b" / HTTP/1.1\r\n")],
            [
                &[b'M'; 400],
                &forged(&[&[b'M'; 400][..], b" / HTTP/1.1\r\n"].concat()),
            ],
        ] {
            assert_eq!(say_plainly(&proxy, &[begun, rest], DETECT * 4).await, "");
            let mut stream = member(&mesh, Wire::Bytes).await;
            assert_eq!(say(&mut stream, &[begun, rest], DETECT * 4).await, "");
            let heard = heard(&mut told);
            // Nothing was held back meanwhile.
            assert!(heard.contains(std::str::from_utf8(begun).unwrap()), "{heard}");
            assert!(!heard.contains("HTTP") && !heard.contains("FORGED"), "{heard}");
        }
    })
    .await;
}

#[tokio::test]
async fn s51_a_server_that_answers_bytes_in_http_is_not_heard_and_its_client_not_carried_again() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let (_app, mut told) = server(&mesh, Answers::Always).await;
        let proxy = web(&mesh, Protocol::Detect, vec![]);
        for line in [&b"GET /admin FOO\r\n"[..], b"\x01 / HTTP/1.1\r\n"] {
            let answer = exchange(proxy.inbound_address(), &forged(line)).await;
            let reached = heard(&mut told).contains("FORGED");
            if line.starts_with(b"GET") {
                assert_eq!((answer.as_str(), reached), ("", true), "the first of them all");
            } else {
                assert!(answer.starts_with("HTTP/1.1 400") && !reached, "{answer}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn s51_where_requests_were_answered_text_that_is_none_gets_400() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let (_app, mut told) = server(&mesh, Answers::AsAsked).await;
        let proxy = web(&mesh, Protocol::Detect, vec![]);
        assert_eq!(get(proxy.inbound_address(), "/").await.text, "app");
        heard(&mut told);
        for line in [&b"GET x\r\n"[..], b"GET /admin FOO\r\n", b"f@o / HTTP/1.1\r\n"] {
            let request = forged(line);
            let answer = exchange(proxy.inbound_address(), &request).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
            let mut stream = member(&mesh, Wire::Bytes).await;
            let answer = say(&mut stream, &[&request], Duration::ZERO).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "smilax-tcp: {answer}");
            // After a silence, when the application has a connection.
            let answer = say_plainly(&proxy, &[b"", &request], DETECT * 4).await;
            assert!(answer.starts_with("HTTP/1.1 400"), "silent: {answer}");
        }
        assert_eq!(heard(&mut told).replace('\0', ""), "");
    })
    .await;
}

#[tokio::test]
async fn s51_where_kubelet_probes_with_http_text_that_is_no_request_gets_400_from_the_start() {
    for (check, is_http) in [
        (Some(Scheme::Http), true),
        (Some(Scheme::Https), false),
        (None, false),
    ] {
        let mesh = Mesh::new();
        let (_app, mut told) = server(&mesh, Answers::AsAsked).await;
        let check = check.map_or(Check::Tcp, |scheme| Check::Http {
            path: "/healthz".to_owned(),
            scheme,
            headers: vec![],
        });
        let proxy = probed(&mesh, check.clone());
        let answer = exchange(proxy.inbound_address(), &forged(b"GET x\r\n")).await;
        assert_eq!(answer.starts_with("HTTP/1.1 400"), is_http, "{check:?}: {answer}");
        assert_eq!(heard(&mut told).contains("FORGED"), !is_http, "{check:?}");
    }
}

#[tokio::test]
async fn s51_what_begins_like_tls_and_is_no_hello_gets_400_where_http_is_declared() {
    over_both(async |family| {
        let mesh = Mesh::of(family);
        let (_app, mut told) = server(&mesh, Answers::Always).await;
        let proxy = web(&mesh, Protocol::Http, vec![]);
        let client = mesh.client(Protocol::Http);
        for line in [
            &b"\x16\x03 /admin HTTP/1.1\r\n"[..],
            b"\x16\x03\x01GET /admin HTTP/1.1\r\n",
            b"\x16\x03\x01\x01\x01\x02 /admin HTTP/1.1\r\n",
        ] {
            let request = forged(line);
            let plain = exchange(proxy.inbound_address(), &request).await;
            let slow = say_plainly(&proxy, &[&request[..2], &request[2..]], DETECT * 4).await;
            let mut stream = member(&mesh, Wire::Bytes).await;
            let announced = say(&mut stream, &[&request], Duration::ZERO).await;
            let meshed = exchange(client.outbound_address(), &request).await;
            for answer in [plain, slow, announced, meshed] {
                assert!(answer.starts_with("HTTP/1.1 400"), "{line:?}: {answer}");
            }
        }
        assert_eq!(heard(&mut told), "");
    })
    .await;
}

#[tokio::test]
async fn s51_a_hello_that_is_a_request_line_too_never_reaches_the_application() {
    let request = forged(b"\x16\x03\x01\x01\x01\x01 /admin HTTP/1.1\r\n");
    for protocol in [Protocol::Http, Protocol::Detect] {
        let mesh = Mesh::new();
        let (_app, mut told) = server(&mesh, Answers::Always).await;
        let proxy = web(&mesh, protocol, vec![]);
        assert_eq!(exchange(proxy.inbound_address(), &request).await, "");
        let mut stream = member(&mesh, Wire::Bytes).await;
        assert_eq!(say(&mut stream, &[&request], Duration::ZERO).await, "");
        assert!(!heard(&mut told).contains("FORGED"), "{protocol:?}");
    }
}

#[tokio::test]
async fn s51_a_server_that_answers_a_hello_in_http_is_not_heard() {
    for protocol in [Protocol::Http, Protocol::Detect] {
        let mesh = Mesh::new();
        let _app = server(&mesh, Answers::Always).await;
        let proxy = web(&mesh, protocol, vec![]);
        let request = forged(b"\x16\x03\x01\x01\x01\x01 /admin\r\n");
        assert_eq!(
            exchange(proxy.inbound_address(), &request).await,
            "",
            "{protocol:?}"
        );
    }
}

#[tokio::test]
async fn a_binary_protocol_whose_server_answers_requests_too_is_carried_all_the_same() {
    let mesh = Mesh::new();
    let _app = server(&mesh, Answers::AsMongo).await;
    let proxy = web(&mesh, Protocol::Detect, vec![]);
    for _ in 0..2 {
        assert_eq!(get(proxy.inbound_address(), "/").await.text, "app");
        let hello = b"\x41\x20\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\n";
        let answer = exchange(proxy.inbound_address(), hello).await;
        assert_eq!(answer.as_bytes(), b"\x05\0\0\0\x01");
    }
}

#[tokio::test]
async fn text_protocols_are_carried_as_they_come_however_slow() {
    let mesh = Mesh::new();
    let _app = Server::tcp(mesh.app(1), |mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await;
    let proxy = web(&mesh, Protocol::Detect, vec![]);
    let long = "12 ".repeat(400);
    for pieces in [
        &[&b"PI"[..], b"NG\r\n"][..],
        &[b"GET key\r\n", b"GET / HTTP/1.1\r\n"],
        &[b"EHLO", b" a\r\n"],
        &[b"<13>1 \"GET /", b" HTTP/1.1\" 200\n"],
        &[&long.as_bytes()[..90], &long.as_bytes()[90..]],
    ] {
        let mut stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
        for piece in pieces {
            stream.write_all(piece).await.unwrap();
            let mut back = vec![0; piece.len()];
            soon("the echo", stream.read_exact(&mut back)).await.unwrap();
            assert_eq!(&back, piece);
        }
    }
}
