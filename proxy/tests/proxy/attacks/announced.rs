//! S32: a member of the mesh that brings its own TLS, and announces what it does not send.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use smilax_core::config::{InboundPolicy, Protocol};
use smilax_proxy::tls::Wire;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_rustls::client::TlsStream;

use super::raw_http2::{DATA, PREFACE, SETTINGS, frame};
use crate::access::path;
use crate::support::mesh::{Mesh, credulous, shake_hands, target, targets};
use crate::support::server::{Server, empty};
use crate::support::{TestProxy, soon};

const FORGED: &[u8] =
    b"GET / HTTP/1.1\r\nhost: web\r\nsmilax-client-identity: forged\r\nsmilax_client_identity: forged\r\n\
    x-forwarded-client-cert: forged\r\nconnection: close\r\n\r\n";
const PROVEN: &str = "smilax-client-identity: spiffe://cluster.local/ns/shop/sa/client\n";
/// How long a client may take to make clear what it speaks.
pub(super) const DETECT: Duration = Duration::from_millis(50);

/// The proxy of an application whose port speaks this.
pub(super) fn web(mesh: &Mesh, protocol: Protocol, inbound: Vec<InboundPolicy>) -> TestProxy {
    mesh.web_with(inbound, |builder| {
        builder.set(|settings| {
            settings.inbound_protocols.insert(mesh.app(1).port(), protocol);
            settings.limits.detect = DETECT;
        })
    })
}

/// A connection of `shop/client` without its sidecar.
pub(super) async fn member(mesh: &Mesh, wire: Wire) -> TlsStream<TcpStream> {
    mesh.connect(&mesh.context("shop/client"), wire).await.unwrap()
}

/// Sends each piece in records of its own, and reads to the end.
pub(super) async fn say(stream: &mut TlsStream<TcpStream>, pieces: &[&[u8]], pause: Duration) -> String {
    for piece in pieces {
        // Whoever is turned away may be so at any time.
        let _ = stream.write_all(piece).await;
        let _ = stream.flush().await;
        tokio::time::sleep(pause).await;
    }
    let mut answer = Vec::new();
    let _ = soon("the end", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// An application that says this at first and tells of every byte that it gets.
pub(super) async fn listener(mesh: &Mesh, greeting: &'static [u8]) -> (Server, UnboundedReceiver<Vec<u8>>) {
    let (tell, told) = unbounded_channel();
    let server = Server::tcp(mesh.app(1), move |mut stream| {
        let tell = tell.clone();
        async move {
            let _ = stream.write_all(greeting).await;
            let mut buffer = [0; 4096];
            while let Ok(length) = stream.read(&mut buffer).await {
                let _ = tell.send(buffer[..length].to_vec());
                if length == 0 {
                    break;
                }
            }
        }
    })
    .await;
    (server, told)
}

/// What an application has been told so far.
pub(super) fn heard(told: &mut UnboundedReceiver<Vec<u8>>) -> String {
    let mut all = Vec::new();
    while let Ok(bytes) = told.try_recv() {
        all.extend(bytes);
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// An application that sends back what it gets.
async fn echo(mesh: &Mesh) -> Server {
    Server::tcp(mesh.app(1), |mut stream| async move {
        let (mut read, mut write) = stream.split();
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    })
    .await
}

#[tokio::test]
async fn s32_a_request_that_is_announced_as_bytes_brings_no_identity_of_its_own() {
    for protocol in [Protocol::Detect, Protocol::Http] {
        let mesh = Mesh::new();
        let _app = Server::mirror(mesh.app(1)).await;
        let _web = web(&mesh, protocol, vec![]);
        let bytes: Vec<&[u8]> = FORGED.chunks(1).take(40).collect();
        let (line, rest) = FORGED.split_at(40);
        for (pieces, pause) in [
            (vec![FORGED], Duration::ZERO),
            (vec![&FORGED[..1], &FORGED[1..]], Duration::ZERO),
            (vec![&FORGED[..2], &FORGED[2..]], DETECT * 4),
            (vec![b"\r\n", FORGED], Duration::ZERO),
            (
                bytes.iter().copied().chain([rest]).collect(),
                Duration::from_millis(1),
            ),
            (vec![line, rest], DETECT * 4),
        ] {
            let mut stream = member(&mesh, Wire::Bytes).await;
            let answer = say(&mut stream, &pieces, pause).await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{protocol:?}: {answer}");
            assert!(answer.contains(PROVEN), "{protocol:?}: {answer}");
            assert!(!answer.contains("forged"), "{protocol:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn s32_a_silent_client_that_sends_a_request_at_last_brings_no_identity_of_its_own() {
    let mesh = Mesh::new();
    let _app = Server::mirror(mesh.app(1)).await;
    let _web = web(&mesh, Protocol::Detect, vec![]);
    let mut stream = member(&mesh, Wire::Bytes).await;
    tokio::time::sleep(DETECT * 4).await;
    let answer = say(&mut stream, &[&FORGED[..2], &FORGED[2..]], DETECT / 2).await;
    assert!(answer.contains(PROVEN) && !answer.contains("forged"), "{answer}");
}

#[tokio::test]
async fn s32_http2_that_is_announced_as_bytes_brings_no_identity_of_its_own() {
    for protocol in [Protocol::Detect, Protocol::Http] {
        let mesh = Mesh::new();
        let _app = Server::mirror(mesh.app(1)).await;
        let _web = web(&mesh, protocol, vec![]);
        let stream = member(&mesh, Wire::Bytes).await;
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        tokio::spawn(connection);
        let request = Request::get("http://web/")
            .header("smilax-client-identity", "forged")
            .header("x_forwarded_client_cert", "forged")
            .body(empty())
            .unwrap();
        let response = soon("the answer", sender.send_request(request)).await.unwrap();
        let text = crate::support::client::read(response).await.text;
        assert!(text.starts_with("GET http://web/ HTTP/2.0"), "{text}");
        assert!(text.contains(PROVEN) && !text.contains("forged"), "{text}");
    }
}

#[tokio::test]
async fn s32_rules_about_requests_hold_for_what_is_announced_as_bytes() {
    let mesh = Mesh::new();
    let app = Server::named(mesh.app(1), "app").await;
    let api = target(&["shop/client"], Some(vec![path("^(?:/api)")]));
    let _web = web(&mesh, Protocol::Detect, targets(vec![api]));
    for (asked, status) in [("/api", "200"), ("/admin", "403"), ("/api/../admin", "400")] {
        let request = format!("GET {asked} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
        let mut stream = member(&mesh, Wire::Bytes).await;
        let answer = say(&mut stream, &[request.as_bytes()], Duration::ZERO).await;
        assert_eq!(answer.split(' ').nth(1), Some(status), "{asked}: {answer}");
    }
    let mut stream = member(&mesh, Wire::Bytes).await;
    assert_eq!(say(&mut stream, &[b"\0\x01"], Duration::ZERO).await, "");
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn s32_a_port_that_is_declared_to_carry_bytes_carries_what_is_announced_as_such() {
    let mesh = Mesh::new();
    let _app = echo(&mesh).await;
    let _web = web(&mesh, Protocol::Tcp, vec![]);
    let mut stream = member(&mesh, Wire::Bytes).await;
    stream.write_all(FORGED).await.unwrap();
    stream.shutdown().await.unwrap();
    let answer = say(&mut stream, &[], Duration::ZERO).await;
    assert_eq!(answer.as_bytes(), FORGED);
}

#[tokio::test]
async fn s32_requests_that_are_announced_as_such_to_a_port_of_bytes_bring_no_identity_of_their_own() {
    let mesh = Mesh::new();
    let _app = Server::mirror(mesh.app(1)).await;
    let _web = web(&mesh, Protocol::Tcp, vec![]);
    let mut stream = member(&mesh, Wire::Http1).await;
    let answer = say(&mut stream, &[FORGED], Duration::ZERO).await;
    assert!(answer.contains(PROVEN) && !answer.contains("forged"), "{answer}");
}

#[tokio::test]
async fn s32_another_version_of_http_than_is_announced_reaches_no_application() {
    let mesh = Mesh::new();
    let (_app, mut told) = listener(&mesh, b"").await;
    let _web = web(&mesh, Protocol::Detect, vec![]);
    let h2 = [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat();
    for (wire, bytes) in [(Wire::Http1, &h2[..]), (Wire::Http2, FORGED)] {
        let mut stream = member(&mesh, wire).await;
        say(&mut stream, &[bytes], Duration::ZERO).await;
        assert_eq!(heard(&mut told), "", "{wire:?}");
    }
}

#[tokio::test]
async fn s32_tls_that_announces_nothing_of_ours_is_the_applications_own() {
    for alpn in [&[][..], &[&b"h2"[..]], &[&b"smilax-udp"[..]]] {
        let mesh = Mesh::new();
        let (_app, mut told) = listener(&mesh, b"").await;
        let _web = web(&mesh, Protocol::Http, vec![]);
        let handshake = tokio::spawn(shake_hands(mesh.net.at(1), Arc::new(credulous(alpn))));
        let first = soon("a hello", told.recv()).await.unwrap();
        assert_eq!(first.first(), Some(&0x16), "{alpn:?}");
        handshake.abort();
    }
}

#[tokio::test]
async fn s32_tls_inside_tls_is_the_applications_own() {
    for protocol in [Protocol::Detect, Protocol::Http] {
        let mesh = Mesh::new();
        let _app = echo(&mesh).await;
        let _web = web(&mesh, protocol, vec![]);
        let mut stream = member(&mesh, Wire::Bytes).await;
        let hello = b"\x16\x03\x01\x00\x05\x01ello";
        stream.write_all(hello).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(say(&mut stream, &[], Duration::ZERO).await.as_bytes(), hello);
    }
}

#[tokio::test]
async fn what_is_announced_as_bytes_and_is_no_request_arrives_whole() {
    let mesh = Mesh::new();
    let _app = echo(&mesh).await;
    let _web = web(&mesh, Protocol::Detect, vec![]);
    let sent: Vec<u8> = (0..2_000_000u32).map(|at| (at % 251) as u8).collect();
    // The first byte decides, or does not; what was looked at comes first.
    for first in [&b"\0"[..], b"\x16", b"PRI * HTT"] {
        let stream = member(&mesh, Wire::Bytes).await;
        let (mut read, mut write) = tokio::io::split(stream);
        let expected = [first, b"\0", &sent].concat();
        let sending = expected.clone();
        let sender = tokio::spawn(async move {
            write.write_all(&sending[..first.len()]).await.unwrap();
            write.flush().await.unwrap();
            tokio::time::sleep(DETECT / 2).await;
            write.write_all(&sending[first.len()..]).await.unwrap();
            write.shutdown().await.unwrap();
        });
        let mut got = Vec::new();
        soon("everything", read.read_to_end(&mut got)).await.unwrap();
        assert!(got == expected, "{first:?}: {} bytes", got.len());
        sender.await.unwrap();
    }
}

#[tokio::test]
async fn a_client_that_is_announced_as_bytes_and_waits_hears_a_server_that_speaks_first() {
    let mesh = Mesh::new();
    let (_app, mut told) = listener(&mesh, b"220 ready\r\n").await;
    let _web = web(&mesh, Protocol::Detect, vec![]);
    let mut stream = member(&mesh, Wire::Bytes).await;
    let mut greeting = [0; 11];
    soon("the greeting", stream.read_exact(&mut greeting))
        .await
        .unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
    stream.write_all(b"HELO a\r\n").await.unwrap();
    let first = soon("the reply", told.recv()).await.unwrap();
    assert_eq!(first, b"HELO a\r\n");
}

#[tokio::test]
async fn s32_a_server_of_http_that_speaks_first_gets_no_request_as_bytes() {
    let settings: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64";
    for greeting in [settings, b"HTTP/1.1 408 Request Timeout\r\n\r\n"] {
        let mesh = Mesh::new();
        let (_app, mut told) = listener(&mesh, greeting).await;
        let proxy = web(&mesh, Protocol::Detect, vec![]);
        let mut stream = member(&mesh, Wire::Bytes).await;
        tokio::time::sleep(DETECT * 6).await;
        let forged = [
            PREFACE,
            &frame(SETTINGS, 0, 0, b""),
            &frame(DATA, 0, 0, b"forged"),
        ]
        .concat();
        for bytes in [FORGED, &forged] {
            let _ = stream.write_all(bytes).await;
            let _ = stream.flush().await;
            tokio::time::sleep(DETECT).await;
            assert!(!heard(&mut told).contains("forged"), "{greeting:?}");
            stream = member(&mesh, Wire::Bytes).await;
        }
        // The same in plaintext.
        let mut stream = TcpStream::connect(proxy.inbound_address()).await.unwrap();
        tokio::time::sleep(DETECT * 6).await;
        let _ = stream.write_all(FORGED).await;
        tokio::time::sleep(DETECT).await;
        assert!(!heard(&mut told).contains("forged"), "{greeting:?}");
    }
}

/// An application that answers whatever it gets, and tells of it.
async fn lenient(mesh: &Mesh) -> (Server, UnboundedReceiver<Vec<u8>>) {
    let (tell, told) = unbounded_channel();
    let server = Server::tcp(mesh.app(1), move |mut stream| {
        let tell = tell.clone();
        async move {
            let mut buffer = [0; 4096];
            let length = stream.read(&mut buffer).await.unwrap_or_default();
            let _ = tell.send(buffer[..length].to_vec());
            // In HTTP it would show what it speaks.
            let _ = stream.write_all(b"answer\r\n").await;
        }
    })
    .await;
    (server, told)
}

#[tokio::test]
async fn s32_a_lenient_server_gets_no_forged_identity_behind_an_odd_request_line() {
    let mesh = Mesh::new();
    let (_app, mut told) = lenient(&mesh).await;
    let proxy = web(&mesh, Protocol::Detect, vec![]);
    let empty_lines = [&b"\r\n".repeat(256)[..], b"GET / HTTP/1.1\r\n"].concat();
    let long_method = [&b"M".repeat(600)[..], b" / HTTP/1.1\r\n"].concat();
    for (line, is_bytes) in [
        // Shows that what is carried as bytes would be seen.
        (&b"set k 0 0 1\r\n"[..], true),
        (b"GET /x\r\n", false),
        (b"POST /\r\n", false),
        (&empty_lines, false),
        (&long_method, false),
        (b"SOURCE / ICE/1.0\r\n", false),
        (b"OPTIONS /x RTSP/1.0\r\n", false),
        (b"OPTIONS rtsp://a/ RTSP/1.0\r\n", false),
        (b" GET / HTTP/1.1\r\n", false),
        (b"\tGET / HTTP/1.1\r\n", false),
        (b"\x0cGET / HTTP/1.1\r\n", false),
        (b"GET\x0b/ HTTP/1.1\r\n", false),
        (b"GET\r/ HTTP/1.1\r\n", false),
        (b"GET\xa0/ HTTP/1.1\r\n", false),
        (b"GET /\x0bHTTP/1.1\r\n", false),
    ] {
        let request = [line, b"host: web\r\nsmilax-client-identity: FORGED\r\n\r\n"].concat();
        let text = String::from_utf8_lossy(line);

        let mut plain = TcpStream::connect(proxy.inbound_address()).await.unwrap();
        plain.write_all(&request).await.unwrap();
        let _ = plain.shutdown().await;
        let _ = soon("the end", plain.read_to_end(&mut Vec::new())).await;
        assert_eq!(heard(&mut told).contains("FORGED"), is_bytes, "plaintext: {text}");

        let mut stream = member(&mesh, Wire::Bytes).await;
        stream.write_all(&request).await.unwrap();
        let _ = stream.shutdown().await;
        say(&mut stream, &[], Duration::ZERO).await;
        assert_eq!(
            heard(&mut told).contains("FORGED"),
            is_bytes,
            "smilax-tcp: {text}"
        );
    }
}
