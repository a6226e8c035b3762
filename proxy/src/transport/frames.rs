//! A bound for blocks of headers in HTTP/2, where h2 has none that is told.
//!
//! h2 leaves out of trailers what is above its limit and says nothing, so that a message would arrive without them and
//! look complete. Its limit is therefore above what is taken of any message, and a block that could exceed it ends the
//! connection here, before h2 sees its end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;
use super::large_head::LargeHead;
use super::liveness::{Progress, Sending};
use crate::overload::Admitted;

/// Bytes of a block of headers at most, as it is sent. Their strings come out at most 8/5 as long (RFC 7541 appendix
/// B), which is what h2 measures.
const BLOCK_BYTES: usize = 192 * 1024;
/// Bytes of the header of a frame (RFC 9113 section 4.1).
const FRAME_HEADER: usize = 9;
/// Bytes that a client begins with (RFC 9113 section 3.4).
const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
/// Flag of settings that only say that those of this side were taken.
const ACK: u8 = 1;
const CONTINUATION: u8 = 9;
/// Flag of the last frame of a block of headers.
const END_HEADERS: u8 = 4;

/// A connection of HTTP/2.
#[derive(Debug)]
pub struct Http2Stream {
    stream: Stream,
    scan: Scan,
    /// Only of servers is it asked whether they live.
    progress: Option<Progress>,
    sending: Sending,
    /// Only of clients it is bounded what they may begin.
    large: Option<LargeHead>,
}

/// Where the reading of frames is.
#[derive(Debug, Default)]
struct Scan {
    /// Bytes that are no frame's header.
    skip: usize,
    header: [u8; FRAME_HEADER],
    known: usize,
    /// Length of the block of headers so far.
    block: usize,
    block_ends: BlockEnds,
    /// What is skipped are settings.
    in_settings: bool,
    settings: Arc<SettingsSignal>,
}

/// Where a block of headers ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum BlockEnds {
    /// With the frame that is coming, or that was last.
    #[default]
    WithThisFrame,
    /// With a frame that is yet to begin.
    Later,
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
    /// A connection with a client.
    pub fn of_client(stream: Stream, admitted: Arc<Admitted>) -> Self {
        Self {
            stream,
            scan: Scan {
                skip: PREFACE,
                ..Scan::default()
            },
            progress: None,
            sending: Sending::default(),
            large: Some(LargeHead::new(admitted)),
        }
    }

    /// A connection with a server, whose signs of life go to `progress`.
    pub fn of_server(stream: Stream, progress: Progress) -> Self {
        Self {
            stream,
            scan: Scan::default(),
            progress: Some(progress),
            sending: Sending::default(),
            large: None,
        }
    }

    /// What says when settings come.
    pub fn settings(&self) -> Arc<SettingsSignal> {
        Arc::clone(&self.scan.settings)
    }

    fn offered<T>(&mut self, taken: Poll<T>) -> Poll<T> {
        if let Some(progress) = &self.progress {
            progress.offered(&mut self.sending, &taken);
        }
        taken
    }
}

impl Scan {
    /// Looks at the next bytes. `Err`: a block of headers is too large.
    fn pass(&mut self, mut bytes: &[u8]) -> Result<(), usize> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            if self.in_settings && self.skip == 0 {
                self.in_settings = false;
                self.settings.come();
            }
            let Some((&byte, rest)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = rest;
            if let Some(place) = self.header.get_mut(self.known) {
                *place = byte;
            }
            self.known += 1;
            if self.known == FRAME_HEADER {
                self.frame()?;
            }
        }
    }

    fn frame(&mut self) -> Result<(), usize> {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.known = 0;
        self.skip = length;
        self.in_settings = kind == SETTINGS && flags & ACK == 0;
        self.block = match kind {
            HEADERS => length,
            CONTINUATION => self.block + length,
            _ => 0,
        };
        self.block_ends = if self.block > 0 && flags & END_HEADERS == 0 {
            BlockEnds::Later
        } else {
            BlockEnds::WithThisFrame
        };
        if self.block > BLOCK_BYTES {
            Err(self.block)
        } else {
            Ok(())
        }
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        if let Some(progress) = &this.progress {
            progress.made();
        }
        let read = buffer.filled().get(before..).unwrap_or_default();
        this.scan.pass(read).map_err(|bytes| {
            let reason = format!("a block of {bytes} bytes of headers is larger than {BLOCK_BYTES}");
            io::Error::other(reason)
        })?;
        if let Some(large) = &mut this.large {
            match this.scan.block_ends {
                BlockEnds::Later => large.grows(this.scan.block, BLOCK_BYTES)?,
                BlockEnds::WithThisFrame => large.ends(),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.offered(taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let taken = Pin::new(&mut self.stream).poll_flush(cx);
        self.offered(taken)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let taken = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.offered(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: usize) -> Vec<u8> {
        let mut bytes = u32::try_from(length).unwrap().to_be_bytes()[1..].to_vec();
        bytes.extend([kind, 0, 0, 0, 0, 0]);
        bytes.extend(vec![CONTINUATION; length]);
        bytes
    }

    #[test]
    fn a_block_of_headers_is_bounded_over_its_frames_however_they_are_cut() {
        let block = [
            frame(0, 20_000),
            frame(HEADERS, 100_000),
            frame(CONTINUATION, BLOCK_BYTES - 100_000),
            frame(0, 50_000),
            frame(HEADERS, 100_000),
            frame(CONTINUATION, BLOCK_BYTES - 99_999),
        ]
        .concat();
        let last = block.len() - (BLOCK_BYTES - 99_999) - 1;
        for size in [1, 7, 4096, usize::MAX] {
            let mut scan = Scan::default();
            let mut passed = block.chunks(size).map(|bytes| scan.pass(bytes));
            assert!(passed.any(|passed| passed == Err(BLOCK_BYTES + 1)), "{size}");
            let mut scan = Scan::default();
            let mut passed = block[..last].chunks(size).map(|bytes| scan.pass(bytes));
            assert!(passed.all(|passed| passed.is_ok()), "{size}");
        }
    }

    #[test]
    fn the_preface_is_no_frame() {
        let mut scan = Scan {
            skip: PREFACE,
            ..Scan::default()
        };
        let begin = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(4, 0),
            &frame(HEADERS, 9),
        ]
        .concat();
        assert_eq!(scan.pass(&begin), Ok(()));
        assert_eq!((scan.known, scan.block), (0, 9));
    }
}
