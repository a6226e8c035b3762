//! TLS between proxies, which can be looked into before it is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncBufRead as _, AsyncBufReadExt as _, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

/// A connection in TLS.
#[derive(Debug)]
pub struct SecuredStream {
    tls: TlsStream<TcpStream>,
    /// What had to be taken out of TLS to see what follows it. It is read first.
    ahead: Bytes,
}

impl SecuredStream {
    /// The socket below.
    pub fn socket(&self) -> &TcpStream {
        self.tls.get_ref().0
    }

    /// Everything that has come and was not read, once that is more than `known` bytes, or once the other side has finished
    /// and no more comes. What comes in one piece is not copied.
    ///
    /// # Errors
    /// When the connection breaks.
    pub async fn look(&mut self, known: usize) -> io::Result<&[u8]> {
        if known == 0 && self.ahead.is_empty() {
            return self.tls.fill_buf().await;
        }
        while self.ahead.len() <= known {
            let piece = self.tls.fill_buf().await?;
            if piece.is_empty() {
                break;
            }
            let taken = piece.len();
            self.ahead = [&self.ahead, piece].concat().into();
            Pin::new(&mut self.tls).consume(taken);
        }
        Ok(&self.ahead)
    }

    /// What had come before the last [`Self::look`] that was given up.
    pub fn seen(&self) -> &[u8] {
        &self.ahead
    }
}

impl From<TlsStream<TcpStream>> for SecuredStream {
    fn from(tls: TlsStream<TcpStream>) -> Self {
        Self {
            tls,
            ahead: Bytes::new(),
        }
    }
}

impl AsyncRead for SecuredStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            return Pin::new(&mut self.tls).poll_read(cx, buffer);
        }
        let length = buffer.remaining().min(self.ahead.len());
        buffer.put_slice(self.ahead.get(..length).unwrap_or_default());
        self.ahead.advance(length);
        if self.ahead.is_empty() {
            // A slice without bytes keeps what it was cut from.
            self.ahead = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SecuredStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tls).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tls).poll_write_vectored(cx, slices)
    }
}
