//! A connection to an HTTP/1 server as its client reads and writes it.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use futures::task::AtomicWaker;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use socket2::SockRef;

use super::response_heads::ResponseHeads;
use super::{Stream, few, liveness};
use crate::http::limits::HEADER_BYTES;
use crate::http::raw_target::{self, RawTarget};
use crate::overload::Budget;

/// Bytes of a request that every server has room for before it reads any: less than the window that Linux, Windows and the
/// BSDs begin with.
const SMALL_REQUEST: usize = 32 * 1024;
/// Bytes that a server may send before its response begins, with that of the response itself and what is read of its body
/// meanwhile. Interim responses (RFC 9110 section 15.2) could go on without end, and a response costs no more.
const UNANSWERED_BYTES: usize = 8 * HEADER_BYTES;

/// A connection to an HTTP/1 server. It notices an end that the kernel knows of before the runtime does, still reads
/// what a server said that takes no more, and passes on that the client has finished sending.
pub struct ServerStream {
    io: TokioIo<Stream>,
    signals: Arc<ServerSignals>,
    budget: Arc<Budget>,
    sending: Sending,
    /// The beginning of a head, with another target than the library wrote.
    head: Bytes,
    unacknowledged: Unacknowledged,
    /// Bytes that came since the response to the last request was awaited.
    unanswered: usize,
    heads: ResponseHeads,
}

/// How long a server may leave what it is sent unacknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unacknowledged {
    /// As long as the kernel has it.
    Unlimited,
    /// As long as [`liveness`] says, as any server has room for this request, of which so many bytes were written.
    Limited(usize),
    /// As the first, for this request: a server may take its time over a body, and has no room for more until then.
    Suspended,
}

/// What is asked of a [`ServerStream`] by whoever uses the connection.
#[derive(Debug, Default)]
pub struct ServerSignals {
    verify: AtomicBool,
    finish: AtomicBool,
    waker: AtomicWaker,
    replaced: AtomicBool,
    target: Mutex<Option<RawTarget>>,
    answered: AtomicBool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    /// The last byte has gone, and the server was told.
    Finished,
    /// The server takes nothing more.
    Broken,
}

impl ServerSignals {
    /// The connection was idle and is about to be used: the kernel is asked whether the server has closed it. The
    /// runtime hears of that only when it next looks at all its sockets.
    pub fn verify(&self) {
        self.verify.store(true, Ordering::Relaxed);
    }

    /// The same of a connection that stays idle.
    pub fn look(&self) {
        self.verify();
        self.waker.wake();
    }

    /// Whether the kernel is yet to be asked.
    pub fn is_verifying(&self) -> bool {
        self.verify.load(Ordering::Relaxed)
    }

    /// The client has sent its request and finished sending. The server is told once it has the request: some give up
    /// what they do for a client that is gone.
    pub fn finish(&self) {
        if !self.finish.swap(true, Ordering::Relaxed) {
            self.waker.wake();
        }
    }

    /// The next request has this target.
    pub fn set_raw_target(&self, target: RawTarget) {
        *self.target.lock() = Some(target);
        self.replaced.store(true, Ordering::Relaxed);
    }

    fn raw_target(&self) -> Option<RawTarget> {
        let replaced = self.replaced.load(Ordering::Relaxed) && self.replaced.swap(false, Ordering::Relaxed);
        replaced.then(|| self.target.lock().take()).flatten()
    }

    /// A response is awaited.
    pub fn awaits(&self) {
        self.answered.store(false, Ordering::Relaxed);
    }

    /// It has begun.
    pub fn answers(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether the server was told, or will be, that nothing more is sent.
    pub fn is_finished(&self) -> bool {
        self.finish.load(Ordering::Relaxed)
    }
}

impl ServerStream {
    /// A stream that heeds `signals`, and of which less is read at once while `budget` is short.
    pub fn new(
        stream: Stream,
        signals: Arc<ServerSignals>,
        unacknowledged: Unacknowledged,
        budget: Arc<Budget>,
    ) -> Self {
        if unacknowledged != Unacknowledged::Unlimited {
            liveness::limit_unacknowledged(stream.socket());
        }
        Self {
            io: TokioIo::new(stream),
            signals,
            budget,
            sending: Sending::Open,
            head: Bytes::new(),
            unacknowledged,
            unanswered: 0,
            heads: ResponseHeads::default(),
        }
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>) {
        if let (Poll::Ready(Ok(count)), Unacknowledged::Limited(written)) = (polled, self.unacknowledged) {
            let written = written + count;
            self.unacknowledged = if written > SMALL_REQUEST {
                liveness::unlimit_unacknowledged(self.io.inner().socket());
                Unacknowledged::Suspended
            } else {
                Unacknowledged::Limited(written)
            };
        }
    }

    fn next_request(&mut self) {
        self.unanswered = 0;
        self.heads = ResponseHeads::default();
        match self.unacknowledged {
            Unacknowledged::Unlimited => {}
            Unacknowledged::Limited(_) => self.unacknowledged = Unacknowledged::Limited(0),
            Unacknowledged::Suspended => {
                liveness::limit_unacknowledged(self.io.inner().socket());
                self.unacknowledged = Unacknowledged::Limited(0);
            }
        }
    }

    /// The stream itself, once HTTP is over.
    pub fn into_inner(self) -> Stream {
        self.io.into_inner()
    }

    /// Writes what is left of a head that was changed, and takes the next one that is to be. `Some`: so many of these
    /// bytes, of which the head is the first, were taken.
    fn poll_head(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<Option<usize>>> {
        while !self.head.is_empty() {
            let written = Pin::new(&mut self.io).poll_write(cx, &self.head);
            match ready!(self.tolerate(written))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.head.advance(written),
            }
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(None));
        }
        let Some(target) = self.signals.raw_target() else {
            return Poll::Ready(Ok(None));
        };
        let head = raw_target::put_back(bytes, &target).ok_or(io::ErrorKind::InvalidInput)?;
        self.head = head.into();
        Poll::Ready(Ok(Some(bytes.len())))
    }

    /// Reads, and ends the connection of a server that says too much without answering.
    fn poll_bounded(&mut self, cx: &mut Context<'_>, mut buffer: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.signals.answered.load(Ordering::Relaxed) {
            return few::poll_read(&mut self.io, &self.budget, cx, buffer);
        }
        let (unanswered, heads) = (&mut self.unanswered, &mut self.heads);
        few::poll_few(&mut self.io, cx, &mut buffer, |bytes| {
            *unanswered += bytes.len();
            if *unanswered > UNANSWERED_BYTES {
                return Err(io::Error::other("the server says much and does not answer"));
            }
            // No more blank lines than of a client before its request: the library looks at all of them again for each
            // further one.
            heads.pass(bytes).map_err(io::Error::other)
        })
    }

    /// Whether anything came on a connection on which nothing may come. Of TLS it does not matter what it was: a new
    /// connection costs less than finding out.
    fn is_quiet(&self) -> io::Result<bool> {
        let socket = SockRef::from(self.io.inner().socket());
        match socket.peek(&mut [MaybeUninit::uninit()]) {
            Ok(0) => Ok(false),
            Ok(_) => Err(io::ErrorKind::ConnectionReset.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// A server may answer before it has read the whole request, and close. What it said lies in the socket's buffer
    /// and is read as ever (RFC 9112 section 9.6); only nothing more is sent.
    fn tolerate<T>(&mut self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &written {
            tracing::debug!(%error, "a server takes no more of a request");
            self.sending = Sending::Broken;
            return Poll::Pending;
        }
        written
    }
}

impl Read for ServerStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let verify =
            this.signals.verify.load(Ordering::Relaxed) && this.signals.verify.swap(false, Ordering::Relaxed);
        if verify {
            this.next_request();
        }
        match this.poll_bounded(cx, buffer) {
            Poll::Pending if verify => match this.is_quiet() {
                Ok(true) => Poll::Pending,
                Ok(false) => Poll::Ready(Ok(())),
                Err(error) => Poll::Ready(Err(error)),
            },
            polled => polled,
        }
    }
}

impl Write for ServerStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.sending == Sending::Broken {
            return Poll::Pending;
        }
        if let Some(taken) = ready!(this.poll_head(cx, bytes))? {
            return Poll::Ready(Ok(taken));
        }
        let written = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.wrote(&written);
        this.tolerate(written)
    }

    /// hyper calls this when it has nothing left to write, and each time that it is woken.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.sending == Sending::Broken {
            return Poll::Pending;
        }
        ready!(this.poll_head(cx, &[]))?;
        let flushed = Pin::new(&mut this.io).poll_flush(cx);
        ready!(this.tolerate(flushed))?;
        if this.sending == Sending::Open {
            this.signals.waker.register(cx.waker());
            if this.signals.is_finished() {
                let finished = Pin::new(&mut this.io).poll_shutdown(cx);
                ready!(this.tolerate(finished))?;
                this.sending = Sending::Finished;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.sending {
            Sending::Open => Pin::new(&mut this.io).poll_shutdown(cx),
            Sending::Finished | Sending::Broken => Poll::Ready(Ok(())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.sending == Sending::Broken {
            return Poll::Pending;
        }
        let first = slices.iter().find(|slice| !slice.is_empty());
        if let Some(taken) = ready!(this.poll_head(cx, first.map_or(&[], |slice| slice)))? {
            return Poll::Ready(Ok(taken));
        }
        let written = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.wrote(&written);
        this.tolerate(written)
    }
}
