//! Request targets that hyper's types cannot hold.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The line that hyper writes for a GET of `/`.
const WRITTEN: &[u8] = b"GET / HTTP/1.1\r\n";

/// A stream on which the first line written is another one.
pub(super) struct RequestLine<S> {
    stream: S,
    line: Vec<u8>,
    sent: usize,
    /// How much of [`WRITTEN`] is still to come.
    skip: usize,
}

impl<S> RequestLine<S> {
    /// Asks for `target` where hyper asks for `/`. `target` holds no control characters: a URL has none.
    pub(super) fn new(stream: S, target: &[u8]) -> Self {
        Self {
            stream,
            line: [b"GET ", target, b" HTTP/1.1\r\n"].concat(),
            sent: 0,
            skip: WRITTEN.len(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RequestLine<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RequestLine<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        while let Some(rest) = this.line.get(this.sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut this.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => this.sent += sent,
            }
        }
        if this.skip > 0 {
            let skipped = this.skip.min(buffer.len());
            this.skip -= skipped;
            return Poll::Ready(Ok(skipped));
        }
        Pin::new(&mut this.stream).poll_write(cx, buffer)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
