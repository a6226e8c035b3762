//! A bound for blocks of headers in HTTP/2, where h2 has none that is told.
//!
//! h2 leaves out of trailers what is above its limit and says nothing, so that a message would arrive without them and
//! look complete. Its limit is therefore above what is taken of any message, and a block that could exceed it ends the
//! connection here, before h2 sees its end. The same holds for a block of more headers than are taken of any message: h2
//! takes them apart as they come, and each costs many times the byte that it may be sent in.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use futures::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Stream;
use super::hpack::HeaderCount;
use super::large_head::LargeHead;
use super::liveness::{Progress, Sending};
use crate::http::limits::{HEADER_MEMORY, MAX_HEADERS, MAX_TRAILERS};
use crate::overload::Admitted;

/// Bytes of a block of headers at most, as it is sent. Their strings come out at most 8/5 as long (RFC 7541 appendix
/// B), which is what h2 measures.
const BLOCK_BYTES: usize = 192 * 1024;
/// Headers of a block at most. A message with more than [`MAX_HEADERS`] is answered, with as many again it is not.
const BLOCK_HEADERS: usize = 2 * MAX_HEADERS;
/// Headers of trailers at most: they are kept, taken apart, until the body before them was read.
const TRAILER_HEADERS: usize = MAX_TRAILERS + 8;
/// Headers that h2 takes apart before the requests that they are of are looked at.
const TURN_HEADERS: usize = MAX_HEADERS;
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
/// Flag of a frame that has padding.
const PADDED: u8 = 8;
/// Flag of headers with a priority (RFC 9113 section 6.2), which takes so many bytes.
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;

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
    /// What they are.
    payload: Payload,
    /// Whether streams are opened by the other side, so that headers of one that it has opened before are trailers.
    opens: Opens,
    last_stream: u32,
    headers: HeaderCount,
    /// Headers at most of the present block.
    most_headers: usize,
    /// Headers of complete frames since the other tasks had their turn.
    this_turn: usize,
    header: [u8; FRAME_HEADER],
    known: usize,
    /// Length of the block of headers so far.
    block: usize,
    block_ends: BlockEnds,
    settings: Arc<SettingsSignal>,
}

/// What follows the header of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Payload {
    /// Nothing that matters here.
    #[default]
    Other,
    Settings,
    /// Headers, after the length of padding and so many bytes more.
    PaddedHeaders(usize),
    /// Headers, after so many bytes, and before so many of padding.
    Headers {
        before: usize,
        padding: usize,
    },
}

/// Who opens the streams of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Opens {
    /// This side.
    #[default]
    We,
    /// The other side, a client.
    They,
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
                opens: Opens::They,
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

/// A block of headers that is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum BlockError {
    #[error("a block of {0} bytes of headers is larger than {BLOCK_BYTES}")]
    Bytes(usize),
    #[error("a block has more than {0} headers")]
    Headers(usize),
}

impl Scan {
    /// Looks at the next bytes.
    fn pass(&mut self, mut bytes: &[u8]) -> Result<(), BlockError> {
        loop {
            let (payload, rest) = bytes.split_at(self.skip.min(bytes.len()));
            self.payload(payload)?;
            bytes = rest;
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

    /// Looks at bytes that belong to a frame.
    fn payload(&mut self, mut bytes: &[u8]) -> Result<(), BlockError> {
        if let (Payload::PaddedHeaders(before), Some((&padding, rest))) = (self.payload, bytes.split_first())
        {
            let padding = usize::from(padding);
            self.payload = Payload::Headers { before, padding };
            self.skip -= 1;
            bytes = rest;
        }
        if let Payload::Headers { before, padding } = &mut self.payload {
            let passed = (*before).min(bytes.len());
            *before -= passed;
            let until = bytes.len().min(self.skip.saturating_sub(*padding));
            let already = self.headers.get();
            self.headers.pass(bytes.get(passed..until).unwrap_or_default());
            self.this_turn += self.headers.get() - already;
            if self.headers.get() > self.most_headers {
                return Err(BlockError::Headers(self.most_headers));
            }
        }
        self.skip -= bytes.len();
        if self.skip == 0 && self.payload == Payload::Settings {
            self.settings.come();
            self.payload = Payload::Other;
        }
        Ok(())
    }

    fn frame(&mut self) -> Result<(), BlockError> {
        let [high, middle, low, kind, flags, s1, s2, s3, s4] = self.header;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.known = 0;
        self.skip = length;
        self.payload = match kind {
            SETTINGS if flags & ACK == 0 => Payload::Settings,
            HEADERS => self.begin(u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]), flags),
            CONTINUATION => Payload::Headers {
                before: 0,
                padding: 0,
            },
            _ => Payload::Other,
        };
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
        // One without content has come already.
        self.payload(&[])?;
        if self.block > BLOCK_BYTES {
            Err(BlockError::Bytes(self.block))
        } else {
            Ok(())
        }
    }

    /// A block of headers begins.
    fn begin(&mut self, stream: u32, flags: u8) -> Payload {
        self.headers = HeaderCount::default();
        self.most_headers = if self.opens == Opens::They && stream <= self.last_stream {
            TRAILER_HEADERS
        } else {
            BLOCK_HEADERS
        };
        self.last_stream = self.last_stream.max(stream);
        let before = if flags & PRIORITY == 0 { 0 } else { PRIORITY_BYTES };
        if flags & PADDED == 0 {
            Payload::Headers { before, padding: 0 }
        } else {
            Payload::PaddedHeaders(before)
        }
    }

    /// Memory that a block takes that is not complete.
    fn memory(&self) -> usize {
        self.block + self.headers.get() * HEADER_MEMORY
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.scan.this_turn > TURN_HEADERS {
            // Requests that are here are looked at first: h2 would take apart as many as the kernel holds.
            this.scan.this_turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        if polled.is_pending() {
            this.scan.this_turn = 0;
        }
        ready!(polled)?;
        if let Some(progress) = &this.progress {
            progress.made();
        }
        let read = buffer.filled().get(before..).unwrap_or_default();
        this.scan.pass(read).map_err(io::Error::other)?;
        if let Some(large) = &mut this.large {
            match this.scan.block_ends {
                BlockEnds::Later => {
                    large.grows(this.scan.memory(), BLOCK_BYTES + BLOCK_HEADERS * HEADER_MEMORY)?;
                }
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
        // One header, whose index never ends.
        bytes.extend(vec![0xff; length]);
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
            assert!(
                passed.any(|passed| passed == Err(BlockError::Bytes(BLOCK_BYTES + 1))),
                "{size}"
            );
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
