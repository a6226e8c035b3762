//! HTTP/2, frame by frame, as no library would say it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A block of headers, each a literal that is not indexed (RFC 7541 section 6.2.2).
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            length(text.len(), &mut bytes);
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// RFC 7541 section 5.1, with a prefix of 7 bits.
fn length(length: usize, bytes: &mut Vec<u8>) {
    if length < 127 {
        return bytes.push(u8::try_from(length).unwrap());
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// Headers of an ordinary request, and more.
pub(crate) fn get(more: &[(&str, &str)]) -> Vec<u8> {
    let mut headers = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "web"),
    ];
    headers.extend_from_slice(more);
    block(&headers)
}

/// A frame that came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A connection.
pub(crate) struct Raw<S = TcpStream>(pub(crate) S);

impl Raw {
    /// As a client, with empty settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap()).await
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// As a server that says these settings.
    pub(crate) async fn serve(mut stream: S, settings: &[u8]) -> Self {
        let mut preface = [0; PREFACE.len()];
        let _ = stream.read_exact(&mut preface).await;
        let mut raw = Self(stream);
        raw.say(&frame(SETTINGS, 0, 0, settings)).await;
        raw
    }

    /// As a client with empty settings, over a connection that is there.
    pub(crate) async fn over(mut stream: S) -> Self {
        stream.write_all(PREFACE).await.unwrap();
        let mut raw = Self(stream);
        raw.say(&frame(SETTINGS, 0, 0, &[])).await;
        raw
    }

    /// `false` once the other side is gone.
    pub(crate) async fn say(&mut self, bytes: &[u8]) -> bool {
        let written = tokio::time::timeout(Duration::from_secs(5), self.0.write_all(bytes)).await;
        matches!(written, Ok(Ok(())))
    }

    /// The next frame. `None` when the connection ends, or nothing comes for long.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        let read = async {
            let mut header = [0; 9];
            self.0.read_exact(&mut header).await.ok()?;
            let [high, middle, low, kind, flags, stream @ ..] = header;
            let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.ok()?;
            Some(Frame {
                kind,
                flags,
                stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
                payload,
            })
        };
        tokio::time::timeout(Duration::from_secs(10), read).await.ok()?
    }

    /// Reads until a frame of this kind comes.
    pub(crate) async fn until(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.frame().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }

    /// Reads until the connection ends; whether it did within some seconds.
    pub(crate) async fn ends(&mut self) -> bool {
        let end = async {
            let mut bytes = [0; 8192];
            while !matches!(self.0.read(&mut bytes).await, Ok(0) | Err(_)) {}
        };
        tokio::time::timeout(Duration::from_secs(20), end).await.is_ok()
    }
}
