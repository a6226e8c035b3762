//! Noticing that an HTTP/1 client goes away, or has finished sending, while its request is answered.
//!
//! A client that closes its connection and one that only finishes sending look alike: both send a FIN (RFC 9293
//! section 3.6). The second must get its answer. Of an application of this pod the kernel says which it is; one
//! elsewhere is not given up for a FIN. Once it is gone, its kernel answers what it is sent with a reset, and after a
//! minute the probes of keepalive too.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use socket2::SockRef;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Stream;
use super::owner::{self, Owner};

/// Bytes of a further request that are taken in advance, to see what is behind the first.
const AHEAD_BYTES: usize = 512;
/// How often it is looked whether a client that has finished is gone, or has reset its connection. Reading does not say
/// so: it says again that the client has finished.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is seen of a client that waits for an answer.
#[derive(Default)]
pub(super) struct Watch {
    ahead: Bytes,
    finished: Option<Pin<Box<Sleep>>>,
}

impl Watch {
    /// Whether the client finishes now, which is said once. `original` is whom it connected to.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) fn finishes(
        &mut self,
        stream: &mut Stream,
        original: SocketAddr,
        cx: &mut Context<'_>,
    ) -> io::Result<bool> {
        if let Some(look) = &mut self.finished {
            while look.as_mut().poll(cx).is_ready() {
                is_present(stream, original)?;
                look.as_mut().reset(Instant::now() + LOOK_AGAIN);
            }
            return Ok(false);
        }
        if !self.ahead.is_empty() {
            return Ok(false);
        }
        let mut bytes = [0; AHEAD_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Ok(false),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                is_present(stream, original)?;
                let mut look = Box::pin(tokio::time::sleep(LOOK_AGAIN));
                // Registers it; nothing is due yet.
                let _ = look.as_mut().poll(cx);
                self.finished = Some(look);
                Ok(true)
            }
            Poll::Ready(Ok(())) => {
                self.ahead = Bytes::copy_from_slice(buffer.filled());
                Ok(false)
            }
        }
    }

    /// Takes as many of the bytes that were read in advance.
    pub(super) fn take_ahead(&mut self, most: usize) -> Bytes {
        let ahead = self.ahead.slice(..most.min(self.ahead.len()));
        self.ahead.advance(ahead.len());
        ahead
    }

    /// Whether bytes were read in advance.
    pub(super) fn is_ahead(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// Keeps bytes that there was no room for.
    pub(super) fn put_ahead(&mut self, bytes: &[u8]) {
        self.ahead = Bytes::copy_from_slice(bytes);
    }

    pub(super) fn into_ahead(self) -> Bytes {
        self.ahead
    }
}

fn is_present(stream: &Stream, original: SocketAddr) -> io::Result<()> {
    let socket = stream.socket();
    if let Some(error) = SockRef::from(socket).take_error()? {
        return Err(error);
    }
    match owner::of(socket.peer_addr()?, [original, socket.local_addr()?]) {
        Owner::Gone => Err(io::ErrorKind::NotConnected.into()),
        Owner::Present | Owner::Unknown => Ok(()),
    }
}
