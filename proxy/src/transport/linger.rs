//! Closing a connection whose client may still be sending (RFC 9112 section 9.6).
//!
//! A socket that is closed with bytes unread is reset, and a reset takes with it what the client has not read of the
//! response. So the client is told first that nothing more comes, and what it still sends is thrown away for a while.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Stream;

/// How long a client may be silent meanwhile. As nginx's `lingering_timeout`.
const SILENCE: Duration = Duration::from_secs(5);
/// How long it may go on sending. As nginx's `lingering_time`.
const MOST_TIME: Duration = Duration::from_secs(30);
/// How much it may send: a client that has not read the response by now will not.
const MOST_BYTES: usize = 256 * 1024 * 1024;
/// Bytes thrown away at once.
const BUFFER_BYTES: usize = 16 * 1024;
/// How often that is done before others have their turn.
const ROUNDS: usize = 64;

/// How far the closing is.
#[derive(Default)]
pub(super) struct Linger {
    draining: Option<Draining>,
}

struct Draining {
    silence: Pin<Box<Sleep>>,
    end: Instant,
    bytes: usize,
}

impl Linger {
    /// Tells the client that nothing more comes, and throws away what it sends until it finishes or takes too long.
    pub(super) fn poll(&mut self, stream: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.draining.is_none() {
            ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
        }
        let draining = self.draining.get_or_insert_with(Draining::new);
        let mut buffer = [0; BUFFER_BYTES];
        for _ in 0..ROUNDS {
            let mut buffer = ReadBuf::new(&mut buffer);
            match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Pending if draining.silence.as_mut().poll(cx).is_ready() => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
                // A client that is gone needs no more care.
                Poll::Ready(Err(_)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(())) => draining.bytes += buffer.filled().len(),
            }
            if !draining.goes_on() {
                return Poll::Ready(Ok(()));
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Draining {
    fn new() -> Self {
        Self {
            silence: Box::pin(tokio::time::sleep(SILENCE)),
            end: Instant::now() + MOST_TIME,
            bytes: 0,
        }
    }

    /// Something has come. Whether more of it may.
    fn goes_on(&mut self) -> bool {
        let now = Instant::now();
        self.silence.as_mut().reset((now + SILENCE).min(self.end));
        now < self.end && self.bytes < MOST_BYTES
    }
}
