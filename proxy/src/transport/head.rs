//! How long an HTTP/1 client may take over its headers, and between two requests; and how it may end.

mod clock;
mod parking;

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead as _, ReadBuf};
use tokio::time::{Instant, Sleep};

use self::clock::Phase;
pub use self::clock::{HeadClock, RequestRest};
pub use self::parking::Next;
use self::parking::Parking;
use super::Stream;
use super::blank_lines::{BlankLines, Follows, NO_REQUEST};
use super::defect::{self, HeadDefect};
use super::departure::Watch;
use super::few;
use super::large_head::LargeHead;
use super::lengths::Lengths;
use super::linger::Linger;
use crate::http::limits::{HEADER_BYTES, TARGET_BYTES};
use crate::http::raw_target;
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
    /// What came before a request begins.
    blank: BlankLines,
    /// A request that has begun, and that the server has not seen yet.
    begun: Vec<u8>,
    parking: Parking,
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
    /// How long the server is kept for the next request.
    Park,
    Idle,
}

/// Bytes read at once where a request begins.
const FIRST_BYTES: usize = 8 * 1024;

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
            blank: BlankLines::default(),
            begun: Vec::new(),
            parking: Parking::default(),
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
        let phase = self.clock.phase();
        if phase == Phase::Body {
            self.clock.waker().register(cx.waker());
        }
        if phase == Phase::Busy && self.watch.finishes(self.io.inner_mut(), self.original, cx)? {
            self.clock.client_finishes();
            // Whoever waits for the response asks for it in the same task.
            cx.waker().wake_by_ref();
        }
        Ok(())
    }

    /// Whether the client may still be sending what nobody reads.
    fn is_unread(&self) -> bool {
        self.clock.is_unread() || self.clock.phase() == Phase::Head
    }

    /// Reads the first line of a request, to see whether the library takes its target.
    fn poll_line(&mut self, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        // What came while the connection was parked.
        if memchr::memchr(b'\n', &self.begun).is_some() {
            let begun = std::mem::take(&mut self.begun);
            self.hand_over(&begun, &mut buffer);
            return Poll::Ready(Ok(()));
        }
        loop {
            let mut space = [0; FIRST_BYTES];
            let mut read = ReadBuf::new(&mut space);
            let polled = Pin::new(self.io.inner_mut()).poll_read(cx, &mut read);
            match polled {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return self.poll_too_late(cx).map(Err),
            }
            let mut bytes = read.filled();
            if self.begun.is_empty() && !bytes.is_empty() {
                let Some(begun) = self.beginning(bytes) else {
                    self.put(bytes, &mut buffer);
                    return Poll::Ready(Ok(()));
                };
                bytes = begun;
            }
            // At the end of the stream this is wrong and harmless.
            self.clock.head_begins();
            let end = memchr::memchr(b'\n', bytes);
            if end.is_none() && !bytes.is_empty() && self.begun.len() < TARGET_BYTES {
                self.begun.extend_from_slice(bytes);
                self.large.grows(self.begun.len(), HEADER_BYTES)?;
                continue;
            }
            if self.begun.is_empty() {
                self.hand_over(bytes, &mut buffer);
            } else {
                let mut line = std::mem::take(&mut self.begun);
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
        ready!(self.large.poll_turn(cx));
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

    /// What the library gets of bytes with which a request may begin; `None` while they are blank lines alone.
    ///
    /// It gets those as well. It may have the beginning of a head already, which came behind the request before: only it can
    /// tell a blank line from the end of that head. It looks at all blank lines again for each further one, so they are
    /// counted.
    fn beginning<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        match self.blank.pass(bytes) {
            Follows::Nothing => None,
            Follows::Message(_) => Some(bytes),
            Follows::Refused => Some(NO_REQUEST),
        }
    }

    fn begin_head(&mut self, bytes: &[u8]) {
        self.clock.defect.set(None);
        self.head_bytes = bytes.len();
        self.large.ends();
        self.lengths.begin();
        self.look_at(bytes);
    }

    fn hand_over(&mut self, bytes: &[u8], buffer: &mut ReadBufCursor<'_>) {
        self.begin_head(bytes);
        let replaced = raw_target::replace(bytes);
        let bytes = match &replaced {
            Some(replaced) => &replaced.bytes,
            None => bytes,
        };
        self.put(bytes, buffer);
        if let Some(replaced) = replaced {
            self.clock.set_raw_target(replaced.target);
        }
    }

    /// Hands over as much as there is room for, and keeps the rest for the next time.
    fn put(&mut self, bytes: &[u8], buffer: &mut ReadBufCursor<'_>) {
        let (now, later) = bytes.split_at(bytes.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.watch.put_ahead(later);
    }

    /// Hands over what was read before it was asked for, for which there is room.
    fn hand_over_ahead(&mut self, mut ahead: &[u8], buffer: &mut ReadBufCursor<'_>) -> io::Result<()> {
        if self.clock.phase() == Phase::Idle {
            match self.blank.pass(ahead) {
                Follows::Message(_) => {}
                Follows::Refused => ahead = NO_REQUEST,
                Follows::Nothing => {
                    buffer.put_slice(ahead);
                    return Ok(());
                }
            }
            // A head begins here, or goes on; what follows of it is counted like that of any other.
            self.clock.defect.set(None);
            self.large.ends();
            self.lengths.begin();
            self.look_at(ahead);
            self.head_bytes = ahead.len();
            self.large.grows(self.head_bytes, HEADER_BYTES)?;
        }
        buffer.put_slice(ahead);
        self.clock.head_begins();
        Ok(())
    }

    /// Whether the client has taken too long. Called when there is nothing to read.
    fn poll_too_late(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let (phase, turns) = (self.clock.phase(), self.clock.turns());
            let (kind, limit) = match phase {
                Phase::Head => (Kind::Head, self.limits.head),
                Phase::Body => (Kind::Body, self.limits.body),
                // A request may take as long as it likes. Its time is measured all the same, as nobody calls here when
                // it ends; that spares setting a timer for each request.
                Phase::Idle if self.parking.is_immediate() => {
                    self.clock.park();
                    return Poll::Pending;
                }
                Phase::Idle | Phase::Busy => match self.parking.after(self.limits.idle) {
                    Some(after) => (Kind::Park, after),
                    None => (Kind::Idle, self.limits.idle),
                },
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
            match (kind, phase) {
                (_, Phase::Busy) => {}
                _ if timer.turns != turns => {}
                (Kind::Park, _) if self.parking.is_flushed() => {
                    // The server is put away by whoever polls it, in this very turn.
                    self.clock.park();
                    return Poll::Pending;
                }
                (Kind::Park, _) => {}
                (Kind::Head | Kind::Body | Kind::Idle, _) => {
                    return Poll::Ready(io::ErrorKind::TimedOut.into());
                }
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
            return Poll::Ready(this.hand_over_ahead(&ahead, &mut buffer));
        }
        if this.clock.phase() == Phase::Idle || !this.begun.is_empty() {
            return this.poll_line(cx, buffer);
        }
        // The rest of a head that the library took with the request before it is not known to end.
        let polled = if this.lengths.is_in_head() && this.clock.phase() == Phase::Head {
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
        self.parking.wrote();
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(cx))?;
        self.parking.flushed();
        self.watch(cx)?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.large.ends();
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
        self.parking.wrote();
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }
}
