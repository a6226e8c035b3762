//! How long an HTTP/1 client may take over its headers, and between two requests.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep};

use super::Stream;

/// A client's connection as an HTTP/1 server reads it. It bounds how long headers may take from their first byte on,
/// and how long a connection may be unused; between two requests a client may wait, in the middle of one it may not.
pub struct ClientStream {
    io: TokioIo<Stream>,
    clock: Arc<HeadClock>,
    limits: HeadLimits,
    timer: Option<Timer>,
}

/// How long an HTTP/1 client may take.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// From the first byte of a request to the end of its headers.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
}

/// What an HTTP/1 connection is doing; shared between the stream, which sees bytes, and the service, which sees
/// requests.
#[derive(Debug, Default)]
pub struct HeadClock {
    phase: AtomicU8,
    turns: AtomicU32,
}

struct Timer {
    sleep: Pin<Box<Sleep>>,
    kind: Kind,
    turns: u32,
}

/// What a timer measures.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Head,
    Idle,
}

const IDLE: u8 = 0;
const HEAD: u8 = 1;
const BUSY: u8 = 2;

impl HeadClock {
    /// A request's headers are complete.
    pub fn request_begins(&self) {
        self.turn_to(BUSY);
    }

    /// Its response is complete.
    pub fn request_ends(&self) {
        self.turn_to(IDLE);
    }

    fn turn_to(&self, phase: u8) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }
}

impl ClientStream {
    /// A stream that keeps to `limits`, told by `clock` when requests begin and end.
    pub fn new(stream: Stream, clock: Arc<HeadClock>, limits: HeadLimits) -> Self {
        Self {
            io: TokioIo::new(stream),
            clock,
            limits,
            timer: None,
        }
    }

    /// The stream itself, once HTTP is over.
    pub fn into_inner(self) -> Stream {
        self.io.into_inner()
    }

    /// Whether the client has taken too long. Called when there is nothing to read.
    fn poll_too_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let phase = self.clock.phase.load(Ordering::Relaxed);
            let turns = self.clock.turns.load(Ordering::Relaxed);
            let (kind, limit) = match phase {
                HEAD => (Kind::Head, self.limits.head),
                // A request may take as long as it likes. Its time is measured all the same, as nobody calls here when
                // it ends; that spares setting a timer for each request.
                _ => (Kind::Idle, self.limits.idle),
            };
            let timer = self.timer.get_or_insert_with(|| Timer {
                sleep: Box::pin(tokio::time::sleep(limit)),
                kind,
                turns,
            });
            if timer.kind != kind {
                timer.restart(limit, kind, turns);
            }
            if timer.sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if phase != BUSY && timer.turns == turns {
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            timer.restart(limit, kind, turns);
        }
    }
}

impl Timer {
    fn restart(&mut self, limit: Duration, kind: Kind, turns: u32) {
        self.sleep.as_mut().reset(Instant::now() + limit);
        self.kind = kind;
        self.turns = turns;
    }
}

impl Read for ClientStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match Pin::new(&mut this.io).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                // At the end of the stream this is wrong and harmless.
                let idle = this.clock.phase.load(Ordering::Relaxed) == IDLE;
                if idle {
                    this.clock.phase.store(HEAD, Ordering::Relaxed);
                }
                Poll::Ready(result)
            }
            Poll::Pending => this.poll_too_late(cx).map(Err),
        }
    }
}

impl Write for ClientStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}
