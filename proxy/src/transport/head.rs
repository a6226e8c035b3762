//! How long an HTTP/1 client may take over its headers, and between two requests; and how it may end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Stream;
use super::defect::{self, DefectCell, HeadDefect};
use super::departure::Watch;
use super::few;
use super::large_head::LargeHead;
use super::lengths::Lengths;
use super::linger::Linger;
use crate::http::limits::{HEADER_BYTES, TARGET_BYTES};
use crate::http::raw_target::{self, RawTarget};
use crate::overload::{Admitted, Way};

/// A client's connection as an HTTP/1 server reads it. It bounds how long headers may take from their first byte on,
/// and how long a connection may be unused; between two requests a client may wait, in the middle of one it may not.
/// While a request is answered, it notices that the client goes away or has finished sending.
pub struct ClientStream {
    io: TokioIo<Stream>,
    clock: Arc<HeadClock>,
    limits: HeadLimits,
    timer: Option<Timer>,
    watch: Watch,
    linger: Linger,
    original: SocketAddr,
    /// A request line that is not complete.
    line: Vec<u8>,
    lengths: Lengths,
    large: LargeHead,
    head_bytes: usize,
}

/// How long an HTTP/1 client may take.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// From the first byte of a request to the end of its headers.
    pub head: Duration,
    /// Between two requests.
    pub idle: Duration,
    /// Between two pieces of a body that is waited for.
    pub body: Duration,
}

/// What an HTTP/1 connection is doing; shared between the stream, which sees bytes, and the service, which sees
/// requests.
#[derive(Debug, Default)]
pub struct HeadClock {
    phase: AtomicU8,
    turns: AtomicU32,
    finished: AtomicBool,
    unread: AtomicBool,
    waker: AtomicWaker,
    replaced: AtomicBool,
    target: Mutex<Option<RawTarget>>,
    /// What is wrong with the request that begins.
    pub defect: DefectCell,
}

/// Whether a request has a body that is yet to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestRest {
    /// All of it is here.
    None,
    /// Its body.
    Body,
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
    Body,
    Idle,
}

/// Bytes read at once where a request begins.
const FIRST_BYTES: usize = 8 * 1024;
const IDLE: u8 = 0;
const HEAD: u8 = 1;
/// A request's body is read.
const BODY: u8 = 2;
/// A request is here, and its response is not complete.
const BUSY: u8 = 3;

impl HeadClock {
    /// A request's headers are complete.
    pub fn request_begins(&self, rest: RequestRest) {
        self.turn_to(match rest {
            RequestRest::None => BUSY,
            RequestRest::Body => BODY,
        });
    }

    /// Its body is complete, or is not wanted any more.
    pub fn body_ends(&self) {
        if self.phase.load(Ordering::Relaxed) == BODY {
            self.turn_to(BUSY);
            // Only now is it watched whether the client goes away.
            self.waker.wake();
        }
    }

    /// Its response is complete. Whatever is unread of the request may still come.
    pub fn request_ends(&self) {
        if !self.unread.load(Ordering::Relaxed) {
            self.turn_to(IDLE);
        }
    }

    /// The response has begun before the request was read; the connection ends with it.
    pub fn leaves_unread(&self) {
        self.unread.store(true, Ordering::Relaxed);
    }

    /// The target of the request that begins, where the library got another for it.
    pub fn raw_target(&self) -> Option<RawTarget> {
        // Nobody waits for the lock: it is only taken for such requests, in one task.
        let replaced = self.replaced.load(Ordering::Relaxed) && self.replaced.swap(false, Ordering::Relaxed);
        replaced.then(|| self.target.lock().take()).flatten()
    }

    fn set_raw_target(&self, target: RawTarget) {
        *self.target.lock() = Some(target);
        self.replaced.store(true, Ordering::Relaxed);
    }

    /// Whether the client has finished sending while its request is answered. It may still read.
    pub fn client_has_finished(&self) -> bool {
        self.finished.load(Ordering::Relaxed)
    }

    /// Bytes have come.
    fn body_goes_on(&self) {
        if self.phase.load(Ordering::Relaxed) == BODY {
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn turn_to(&self, phase: u8) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.phase.store(phase, Ordering::Relaxed);
    }
}

impl ClientStream {
    /// The stream of a client that connected to `original`. It keeps to `limits`, told by `clock` when requests begin
    /// and end. What it sends counts for `admitted`.
    pub fn new(
        stream: Stream,
        original: SocketAddr,
        clock: Arc<HeadClock>,
        limits: HeadLimits,
        admitted: Arc<Admitted>,
    ) -> Self {
        Self {
            io: TokioIo::new(stream),
            clock,
            limits,
            timer: None,
            watch: Watch::default(),
            linger: Linger::default(),
            original,
            line: Vec::new(),
            lengths: Lengths::default(),
            large: LargeHead::new(admitted),
            head_bytes: 0,
        }
    }

    /// The stream itself, once HTTP is over, and what was read of it and not asked for yet.
    pub fn into_parts(self) -> (Stream, Bytes) {
        (self.io.into_inner(), self.watch.into_ahead())
    }

    /// Notices whether the client goes away or has finished sending. hyper reads nothing while a request is answered, as
    /// it allows the client to finish first, but flushes each time that it is woken.
    fn watch(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let phase = self.clock.phase.load(Ordering::Relaxed);
        if phase == BODY {
            self.clock.waker.register(cx.waker());
        }
        if phase == BUSY && self.watch.finishes(self.io.inner_mut(), self.original, cx)? {
            self.clock.finished.store(true, Ordering::Relaxed);
            // Whoever waits for the response asks for it in the same task.
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Whether the client may still be sending what nobody reads.
    fn is_unread(&self) -> bool {
        self.clock.unread.load(Ordering::Relaxed) || self.clock.phase.load(Ordering::Relaxed) == HEAD
    }

    /// Reads the first line of a request, to see whether the library takes its target.
    fn poll_line(&mut self, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut space = [0; FIRST_BYTES];
            let mut read = ReadBuf::new(&mut space);
            let polled = Pin::new(self.io.inner_mut()).poll_read(cx, &mut read);
            match polled {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.poll_too_late(cx).map(Err),
            }
            // At the end of the stream this is wrong and harmless.
            self.head_begins();
            let bytes = read.filled();
            let end = memchr::memchr(b'\n', bytes);
            if end.is_none() && !bytes.is_empty() && self.line.len() < TARGET_BYTES {
                self.line.extend_from_slice(bytes);
                self.large.grows(self.line.len(), HEADER_BYTES)?;
                continue;
            }
            if self.line.is_empty() {
                self.hand_over(bytes, &mut buffer);
            } else {
                let mut line = std::mem::take(&mut self.line);
                let length = line.len() + end.unwrap_or(bytes.len());
                line.extend_from_slice(bytes);
                if length > TARGET_BYTES && defect::names_method(&line) {
                    self.hand_over(defect::STAND_IN, &mut buffer);
                    self.clock.defect.set(Some(HeadDefect::TargetTooLong));
                    return Poll::Ready(Ok(()));
                }
                self.hand_over(&line, &mut buffer);
            }
            return Poll::Ready(Ok(()));
        }
    }

    /// Reads more of a head.
    fn poll_head(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; FIRST_BYTES];
        let most = buffer.remaining().min(FIRST_BYTES);
        let mut read = ReadBuf::new(space.get_mut(..most).unwrap_or_default());
        ready!(Pin::new(self.io.inner_mut()).poll_read(cx, &mut read))?;
        self.look_at(read.filled());
        self.head_bytes += read.filled().len();
        self.large.grows(self.head_bytes, HEADER_BYTES)?;
        buffer.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }

    fn look_at(&mut self, bytes: &[u8]) {
        self.lengths.pass(bytes);
        if self.lengths.are_two() {
            self.clock.defect.set(Some(HeadDefect::TwoLengths));
        }
    }

    fn hand_over(&mut self, bytes: &[u8], buffer: &mut ReadBufCursor<'_>) {
        self.clock.defect.set(None);
        self.head_bytes = bytes.len();
        self.large.ends();
        self.lengths.begin();
        self.look_at(bytes);
        let replaced = raw_target::replace(bytes);
        let bytes = match &replaced {
            Some(replaced) => &replaced.bytes,
            None => bytes,
        };
        let (now, later) = bytes.split_at(bytes.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.watch.put_ahead(later);
        if let Some(replaced) = replaced {
            self.clock.set_raw_target(replaced.target);
        }
    }

    fn head_begins(&self) {
        if self.clock.phase.load(Ordering::Relaxed) == IDLE {
            self.clock.phase.store(HEAD, Ordering::Relaxed);
        }
    }

    /// Whether the client has taken too long. Called when there is nothing to read.
    fn poll_too_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let phase = self.clock.phase.load(Ordering::Relaxed);
            let turns = self.clock.turns.load(Ordering::Relaxed);
            let (kind, limit) = match phase {
                HEAD => (Kind::Head, self.limits.head),
                BODY => (Kind::Body, self.limits.body),
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
            if phase <= BODY && timer.turns == turns {
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
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let ahead = this.watch.take_ahead(buffer.remaining());
        if !ahead.is_empty() {
            buffer.put_slice(&ahead);
            this.head_begins();
            return Poll::Ready(Ok(()));
        }
        if this.clock.phase.load(Ordering::Relaxed) == IDLE || !this.line.is_empty() {
            return this.poll_line(cx, buffer);
        }
        let polled = if this.lengths.is_in_head() {
            this.poll_head(cx, &mut buffer)
        } else {
            this.large.ends();
            let budget = this.large.admitted().budget(Way::Request);
            few::poll_read(&mut this.io, budget, cx, buffer)
        };
        match polled {
            Poll::Ready(result) => {
                this.clock.body_goes_on();
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
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.watch(cx)?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_unread() {
            this.linger.poll(this.io.inner_mut(), cx)
        } else {
            Pin::new(&mut this.io).poll_shutdown(cx)
        }
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
