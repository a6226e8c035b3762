//! Connections of HTTP/1 that wait for a request without a server.
//!
//! A server of hyper keeps two buffers of 8 KiB and its own state for as long as its connection lasts, which is most of what
//! an idle connection costs. So a connection that has been idle for a while is parked: the server is dropped, and another
//! begins with the next request. The same holds before the first request: a head that trickles costs its own bytes only.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::Write as _;
use tokio::io::{AsyncRead as _, ReadBuf};

use super::ClientStream;
use crate::transport::blank_lines::BlankLines;

/// Bytes of a head that are taken while parked; what is larger needs a server.
const PARKED_BYTES: usize = 4 * 1024;
/// Bytes of a head that usually is in one piece.
const PIECE: usize = 2 * 1024;

/// What comes next on a parked connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A request, or bytes that only a server can answer.
    Request,
    /// Nothing: the client has ended the connection.
    End,
}

/// Whether and when a connection may be parked.
#[derive(Debug, Default)]
pub(super) struct Parking {
    state: State,
    unflushed: Unflushed,
}

/// Who reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nobody but this.
    #[default]
    Parked,
    /// A server, which is put away after so long without a request.
    Served(Duration),
}

/// Whether a server may still have something to write. hyper flushes whenever it has written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Unflushed {
    #[default]
    Nothing,
    Something,
}

impl Parking {
    /// How long a server is kept without a request; `None` when it does not matter before the connection is over.
    pub(super) fn after(&self, idle: Duration) -> Option<Duration> {
        match self.state {
            State::Served(after) if after < idle => Some(after),
            State::Served(_) | State::Parked => None,
        }
    }

    /// Whether a server need not be kept at all.
    pub(super) fn is_immediate(&self) -> bool {
        self.state == State::Served(Duration::ZERO) && self.is_flushed()
    }

    pub(super) fn is_flushed(&self) -> bool {
        self.unflushed == Unflushed::Nothing
    }

    pub(super) fn wrote(&mut self) {
        self.unflushed = Unflushed::Something;
    }

    pub(super) fn flushed(&mut self) {
        self.unflushed = Unflushed::Nothing;
    }
}

impl ClientStream {
    /// A server reads from now on. After so long without a request, [`HeadClock::takes_park`](super::HeadClock::takes_park)
    /// says that it may be put away.
    #[must_use]
    pub fn served(mut self, park_after: Duration) -> Self {
        self.parking.state = State::Served(park_after);
        self
    }

    /// No server reads any more. `unread` is what it has read and not used.
    #[must_use]
    pub fn parked(mut self, unread: &[u8]) -> Self {
        self.parking.state = State::Parked;
        // All that there is of what may follow is here, so that it begins with a message or with blank lines.
        self.blank = BlankLines::default();
        if let Some(begun) = self.blank.pass(unread).request() {
            self.watch.put_ahead(begun);
        }
        self
    }

    /// Waits for a request without a server.
    ///
    /// # Errors
    /// When the connection breaks, or when its client takes too long.
    pub async fn next_request(&mut self) -> io::Result<Next> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Ends the connection in good order.
    pub async fn end(mut self) -> io::Result<()> {
        poll_fn(|cx| Pin::new(&mut self).poll_shutdown(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Next>> {
        if self.watch.is_ahead() {
            return Poll::Ready(Ok(Next::Request));
        }
        loop {
            let mut space = [0; PIECE];
            let mut read = ReadBuf::new(&mut space);
            match Pin::new(self.io.inner_mut()).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.poll_too_late(cx).map(Err),
            }
            match read.filled() {
                [] if self.begun.is_empty() => return Poll::Ready(Ok(Next::End)),
                // A server says what it thinks of half a request.
                [] => return Poll::Ready(Ok(Next::Request)),
                bytes if self.begun.is_empty() => match self.blank.pass(bytes).request() {
                    None => continue,
                    Some(begun) => self.begun.extend_from_slice(begun),
                },
                bytes => self.begun.extend_from_slice(bytes),
            }
            self.clock.head_begins();
            if needs_server(&self.begun) {
                return Poll::Ready(Ok(Next::Request));
            }
        }
    }
}

/// Whether there is something to do about these bytes: they are a whole head, or much, or do not begin as a request does.
fn needs_server(begun: &[u8]) -> bool {
    if begun.len() > PARKED_BYTES {
        return true;
    }
    let Some(end) = memchr::memchr(b'\n', begun) else {
        return false;
    };
    let (line, rest) = begun.split_at(end);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    // A server answers at once what is no HTTP/1.
    if !line.ends_with(b" HTTP/1.1") && !line.ends_with(b" HTTP/1.0") {
        return true;
    }
    memchr::memmem::find(rest, b"\n\r\n").is_some() || memchr::memmem::find(rest, b"\n\n").is_some()
}

#[cfg(test)]
mod tests {
    use super::needs_server;

    #[test]
    fn a_head_waits_without_a_server_until_it_is_whole() {
        for head in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "GET / HTTP/1.0\nhost: a\n\n"] {
            for length in 0..head.len() {
                assert!(!needs_server(&head.as_bytes()[..length]), "{length} of {head:?}");
            }
            assert!(needs_server(head.as_bytes()), "{head:?}");
        }
    }

    #[test]
    fn a_body_that_came_with_the_head_does_not_hide_its_end() {
        assert!(needs_server(b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc"));
    }

    #[test]
    fn what_is_no_request_is_not_waited_for() {
        for bytes in [
            "\r\n",
            "hello\r\n",
            "GET /\r\n",
            "GET / HTTP/2.0\r\n",
            "PRI * HTTP/1.2\n",
        ] {
            assert!(needs_server(bytes.as_bytes()), "{bytes:?}");
        }
    }

    #[test]
    fn a_large_head_is_left_to_the_server() {
        assert!(needs_server(&[b'a'; super::PARKED_BYTES + 1]));
    }
}
