//! What h2 does not bound of HTTP/2.
//!
//! h2 leaves out of trailers what is above its limit and says nothing, so that a message would arrive without them and
//! look complete. Its limit is therefore above what is taken of any message, and a block that could exceed it ends the
//! connection here, before h2 sees its end. The same holds for a block of more headers than are taken of any message: h2
//! takes them apart as they come, and each costs many times the byte that it may be sent in.
//!
//! A block of headers that does not come to its end within the time for headers ends its connection, and so do floods of
//! frames that carry nothing ([`allowance`]). Frames are taken a few hundred at a time, whatever they are.

mod allowance;
mod header;
mod scan;
mod sent;

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use self::header::PREFACE;
use self::scan::{Abuse, BLOCK_MEMORY, BlockEnds, Opens, Scan};
use self::sent::Sent;
use super::Stream;
use super::large_head::LargeHead;
use super::liveness::{Progress, Sending};
use crate::overload::Admitted;

/// A connection of HTTP/2.
#[derive(Debug)]
pub struct Http2Stream {
    stream: Stream,
    scan: Scan,
    sent: Sent,
    head: HeadTimer,
    /// Only of servers is it asked whether they live.
    progress: Option<Progress>,
    sending: Sending,
    /// Only of clients it is bounded what they may begin.
    large: Option<LargeHead>,
}

/// How long a block of headers has been coming.
#[derive(Debug)]
struct HeadTimer {
    limit: Duration,
    /// Number of the block that it was set for. There is none where blocks come in one piece.
    running: Option<(u32, Pin<Box<Sleep>>)>,
}

impl HeadTimer {
    fn new(limit: Duration) -> Self {
        Self { limit, running: None }
    }

    /// Ready when the block of this number has been coming for too long.
    fn poll(&mut self, block: u32, cx: &mut Context<'_>) -> Poll<()> {
        let limit = self.limit;
        let (number, sleep) = self
            .running
            .get_or_insert_with(|| (block, Box::pin(tokio::time::sleep(limit))));
        if *number != block {
            *number = block;
            sleep.as_mut().reset(Instant::now() + limit);
        }
        sleep.as_mut().poll(cx)
    }
}

/// Says when the other side has said its settings. The library tells nobody; how many streams they allow can only be asked.
#[derive(Debug, Default)]
pub struct SettingsSignal {
    came: AtomicBool,
    waker: AtomicWaker,
}

impl SettingsSignal {
    /// Whether any have come. The task of `cx` is woken whenever some come.
    pub fn have_come(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.came.load(Ordering::Relaxed)
    }

    fn come(&self) {
        self.came.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

impl Http2Stream {
    /// A connection with a client, whose headers may take so long.
    pub fn of_client(stream: Stream, admitted: Arc<Admitted>, head: Duration) -> Self {
        Self {
            stream,
            scan: Scan::new(Opens::They),
            sent: Sent::default(),
            head: HeadTimer::new(head),
            progress: None,
            sending: Sending::default(),
            large: Some(LargeHead::new(admitted)),
        }
    }

    /// A connection with a server, whose headers may take so long from their first byte on, and whose signs of life go to
    /// `progress`.
    pub fn of_server(stream: Stream, progress: Progress, head: Duration) -> Self {
        Self {
            stream,
            scan: Scan::new(Opens::We),
            sent: Sent::after(PREFACE),
            head: HeadTimer::new(head),
            progress: Some(progress),
            sending: Sending::default(),
            large: None,
        }
    }

    /// What says when settings come.
    pub fn settings(&self) -> Arc<SettingsSignal> {
        Arc::clone(&self.scan.settings)
    }

    fn offered<T>(&mut self, taken: &Poll<io::Result<T>>, cx: &mut Context<'_>) -> io::Result<()> {
        if let Some(progress) = &self.progress {
            progress.offered(&mut self.sending, taken);
        }
        if taken.is_pending() {
            self.head_goes_on(cx)?;
        }
        Ok(())
    }

    /// Whether a block of headers may go on coming. Called when there is something to wait for: h2 reads nothing while it
    /// cannot write.
    fn head_goes_on(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.scan.unfinished_block() {
            None => self.head.running = None,
            Some(block) if self.head.poll(block, cx).is_ready() => return Err(io::ErrorKind::TimedOut.into()),
            Some(_) => {}
        }
        Ok(())
    }

    /// Tells the other side why its connection ends, if it takes that at once.
    fn give_up(&mut self, abuse: Abuse, cx: &mut Context<'_>) -> io::Error {
        if self.sent.is_between_frames() {
            let goodbye = sent::goodbye(self.scan.last_stream);
            if Pin::new(&mut self.stream).poll_write(cx, &goodbye).is_ready() {
                let _ = Pin::new(&mut self.stream).poll_flush(cx);
            }
        }
        io::Error::other(abuse)
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.scan.is_turn_over() {
            // Requests that are here are looked at first, and so is everybody else: h2 would take as many frames as the
            // kernel holds.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if polled.is_pending() {
            this.scan.begin_turn();
            this.head_goes_on(cx)?;
        }
        ready!(polled)?;
        if let Some(progress) = &this.progress {
            progress.made();
        }
        let read = buffer.filled().get(before..).unwrap_or_default();
        if let Err(abuse) = this.scan.pass(read) {
            return Poll::Ready(Err(this.give_up(abuse, cx)));
        }
        if let Some(large) = &mut this.large {
            match this.scan.block_ends {
                BlockEnds::Later => large.grows(this.scan.memory(), BLOCK_MEMORY)?,
                BlockEnds::WithThisFrame => large.ends(),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.stream).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = taken {
            let earned = this.sent.pass(bytes.get(..count).unwrap_or_default());
            this.scan.allowance.earn(earned);
        }
        this.offered(&taken, cx)?;
        taken
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.stream).poll_flush(cx);
        this.offered(&taken, cx)?;
        taken
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let taken = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(count)) = taken {
            let earned = this.sent.pass_slices(slices, count);
            this.scan.allowance.earn(earned);
        }
        this.offered(&taken, cx)?;
        taken
    }
}
