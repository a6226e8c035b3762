//! Where bytes enter and leave: the one place that makes a connection upstream, and the one type that every connection
//! has, secured or not. Nothing above needs to know which it is.

mod blank_lines;
mod boxed;
mod defect;
mod departure;
mod few;
mod frames;
mod head;
mod hpack;
mod large_head;
mod lengths;
mod linger;
pub mod liveness;
mod local;
mod owner;
mod response_heads;
mod secure;
mod secured;
mod server;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

pub(crate) use boxed::BoxedStream;
pub use defect::HeadDefect;
pub use frames::Http2Stream;
pub use head::{ClientStream, HeadClock, HeadLimits, Next, RequestRest};
pub use local::connect_to_application;
pub use secure::{Expected, fits, secure};
pub use secured::SecuredStream;
pub use server::{ServerSignals, ServerStream, Unacknowledged};

use crate::tls::{Peer, PeerError};

/// Bytes taken at once from a server that speaks first.
const GREETING_BYTES: usize = 4096;

/// A connection, with a client or upstream.
#[derive(Debug)]
pub enum Stream {
    /// As the other side sends it.
    Plain(TcpStream),
    /// In TLS between proxies.
    Tls(Box<SecuredStream>),
}

/// A connection upstream, and who is there, where that was proven.
#[derive(Debug)]
pub struct Upstream {
    /// The connection.
    pub stream: Stream,
    /// Who is at its other end.
    pub peer: Option<Arc<Peer>>,
}

/// Why no connection upstream came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody there, or no way there.
    #[error("cannot connect to {0}: {1}")]
    Refused(SocketAddr, io::Error),
    /// Nobody there a moment ago; it is tried again aside.
    #[error("cannot connect to {0}: connection refused a moment ago")]
    Absent(SocketAddr),
    /// No answer.
    #[error("{0} did not answer within {1:?}")]
    TimedOut(SocketAddr, Duration),
    /// It must be secured, and is not.
    #[error("no secure connection to {0}: {1}")]
    Insecure(SocketAddr, TlsFailure),
}

/// Why a connection between proxies is not secured. It is given up then: nothing goes on in plaintext.
#[derive(Debug, thiserror::Error)]
pub enum TlsFailure {
    /// This proxy cannot prove who it is.
    #[error("this proxy has no certificate yet")]
    NoIdentity,
    /// Nobody there can, as the operator knows, and their namespace takes no plaintext.
    #[error(
        "no pod there has a sidecar, and its namespace accepts nothing but mutual TLS (smilax.dev/tls-mode: strict); \
         pods on the host network and pods that opted out have none"
    )]
    NoSidecar,
    /// The other side cannot, or belongs to nobody's mesh.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The other side is somebody, and not who is meant.
    #[error("{found} is there, which is none of the accounts behind this Service")]
    Unexpected {
        /// Who is there.
        found: Box<str>,
    },
    /// The other side does not believe who this proxy says it is, or wants to end.
    #[error("the other side ended it: {0}")]
    Disbelieved(String),
    /// The other side breaks off, or does not speak TLS.
    #[error("the handshake failed: {0}")]
    Handshake(io::Error),
    /// The other side does not speak what proxies speak.
    #[error("no protocol of the mesh was negotiated")]
    Protocol,
    /// It took too long.
    #[error("the handshake did not complete within {0:?}")]
    TimedOut(Duration),
    /// Too many are under way.
    #[error("too many handshakes are under way")]
    TooMany,
}

impl TlsFailure {
    /// One word of few, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoIdentity => "no_identity",
            Self::NoSidecar => "no_sidecar",
            Self::Peer(error) => error.reason(),
            Self::Unexpected { .. } => "unexpected_peer",
            Self::Disbelieved(_) => "disbelieved",
            Self::Handshake(_) => "handshake",
            Self::Protocol => "protocol",
            Self::TimedOut(_) => "timeout",
            Self::TooMany => "too_many",
        }
    }

    /// What a failed handshake was about.
    pub fn of_handshake(error: io::Error) -> Self {
        let peer = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>())
            .and_then(PeerError::of);
        match peer {
            Some(peer) => Self::Peer(peer.clone()),
            None => Self::Handshake(error),
        }
    }
}

/// Connects to `target`, in plaintext as yet.
///
/// # Errors
/// [`ConnectError`]; after `limit` at the latest.
pub async fn connect(target: SocketAddr, limit: Duration) -> Result<TcpStream, ConnectError> {
    match tokio::time::timeout(limit, TcpStream::connect(target)).await {
        Ok(Ok(stream)) => {
            // Only latency is at stake when this fails.
            let _ = stream.set_nodelay(true);
            Ok(stream)
        }
        Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
            Err(ConnectError::TimedOut(target, limit))
        }
        Ok(Err(error)) => Err(ConnectError::Refused(target, error)),
        Err(_) => Err(ConnectError::TimedOut(target, limit)),
    }
}

impl Stream {
    /// One in TLS, after its handshake.
    pub fn secured(stream: impl Into<TlsStream<TcpStream>>) -> Self {
        Self::Tls(Box::new(stream.into().into()))
    }

    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.socket(),
        }
    }

    /// Returns once the other side has said something, or has finished. What had to be taken from the connection to
    /// know that is returned: of a secured one only what comes out of it says anything.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn speaks(&mut self) -> io::Result<Bytes> {
        match self {
            Self::Plain(stream) => stream.readable().await.map(|()| Bytes::new()),
            Self::Tls(stream) => {
                let mut greeting = Vec::with_capacity(GREETING_BYTES);
                stream.read_buf(&mut greeting).await?;
                Ok(greeting.into())
            }
        }
    }
}

impl From<TcpStream> for Upstream {
    fn from(stream: TcpStream) -> Self {
        Self {
            stream: Stream::Plain(stream),
            peer: None,
        }
    }
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_shutdown(cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(&mut **stream).poll_write_vectored(cx, slices),
        }
    }
}
