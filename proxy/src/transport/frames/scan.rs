//! What is read of frames as they come, and what is not taken.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::SettingsSignal;
use super::allowance::{self, Allowance, Worth};
use super::header::{
    ACK, CONTINUATION, DATA, END_HEADERS, HEADERS, Header, HeaderReader, PADDED, PREFACE, PRIORITY,
    PRIORITY_BYTES, SETTINGS,
};
use crate::http::limits::{HEADER_MEMORY, MAX_HEADERS, MAX_TRAILERS};
use crate::transport::hpack::HeaderCount;

/// Bytes of a block of headers at most, as it is sent. Their strings come out at most 8/5 as long (RFC 7541 appendix
/// B), which is what h2 measures.
const BLOCK_BYTES: usize = 192 * 1024;
/// Headers of a block at most. A message with more than [`MAX_HEADERS`] is answered, with as many again it is not.
const BLOCK_HEADERS: usize = 2 * MAX_HEADERS;
/// What a block of headers may come to in memory.
pub(super) const BLOCK_MEMORY: usize = BLOCK_BYTES + BLOCK_HEADERS * HEADER_MEMORY;
/// Headers of trailers at most: they are kept, taken apart, until the body before them was read.
const TRAILER_HEADERS: usize = MAX_TRAILERS + 8;
/// Headers that h2 takes apart before the requests that they are of are looked at.
const TURN_HEADERS: usize = MAX_HEADERS;
/// Frames that h2 looks at before the other tasks of the thread have their turn: with those of one read, less than a
/// millisecond's worth.
const TURN_FRAMES: usize = 256;

/// Where the reading of frames is.
#[derive(Debug)]
pub(super) struct Scan {
    /// Bytes that are no frame's header.
    skip: usize,
    /// What they are.
    payload: Payload,
    /// Whether streams are opened by the other side, so that headers of one that it has opened before are trailers.
    opens: Opens,
    pub(super) last_stream: u32,
    headers: HeaderCount,
    /// Headers at most of the present block.
    most_headers: usize,
    /// Headers of complete frames since the other tasks had their turn.
    this_turn: usize,
    /// Frames since then.
    frames_this_turn: usize,
    header: HeaderReader,
    /// Length of the block of headers so far.
    block: usize,
    pub(super) block_ends: BlockEnds,
    /// Blocks of headers that have begun; begins anew after the largest number.
    blocks: u32,
    pub(super) settings: Arc<SettingsSignal>,
    begun: Instant,
    pub(super) allowance: Allowance,
}

/// What follows the header of a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Payload {
    /// Nothing that matters here.
    #[default]
    Other,
    Settings,
    /// Data of so many bytes, the first of which is the length of padding.
    PaddedData(usize),
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
pub(super) enum Opens {
    /// This side.
    #[default]
    We,
    /// The other side, a client.
    They,
}

/// Where a block of headers ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BlockEnds {
    /// With the frame that is coming, or that was last.
    #[default]
    WithThisFrame,
    /// With a frame that is yet to begin.
    Later,
}

/// What is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Abuse {
    #[error("a block of {0} bytes of headers is larger than {BLOCK_BYTES}")]
    Bytes(usize),
    #[error("a block has more than {0} headers")]
    Headers(usize),
    #[error("too many frames carry nothing")]
    Flood,
}

impl Scan {
    /// Of a connection whose streams are opened by `opens`.
    pub(super) fn new(opens: Opens) -> Self {
        Self {
            skip: match opens {
                Opens::We => 0,
                Opens::They => PREFACE,
            },
            payload: Payload::Other,
            opens,
            last_stream: 0,
            headers: HeaderCount::default(),
            most_headers: 0,
            this_turn: 0,
            frames_this_turn: 0,
            header: HeaderReader::default(),
            block: 0,
            block_ends: BlockEnds::default(),
            blocks: 0,
            settings: Arc::default(),
            begun: Instant::now(),
            allowance: Allowance::new(Duration::ZERO),
        }
    }

    /// Looks at the next bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), Abuse> {
        loop {
            let (payload, rest) = bytes.split_at(self.skip.min(bytes.len()));
            self.payload(payload)?;
            bytes = rest;
            let Some(header) = self.header.read(&mut bytes) else {
                return Ok(());
            };
            self.frame(&header)?;
        }
    }

    /// Whether so much has come that others should have their turn, which is said once.
    pub(super) fn is_turn_over(&mut self) -> bool {
        let over = self.this_turn > TURN_HEADERS || self.frames_this_turn > TURN_FRAMES;
        if over {
            self.begin_turn();
        }
        over
    }

    /// The others had their turn.
    pub(super) fn begin_turn(&mut self) {
        self.this_turn = 0;
        self.frames_this_turn = 0;
    }

    /// The block of headers that has begun and is not complete, by its number.
    pub(super) fn unfinished_block(&self) -> Option<u32> {
        let within = match self.payload {
            Payload::Headers { .. } | Payload::PaddedHeaders(_) => self.skip > 0,
            Payload::Other | Payload::Settings | Payload::PaddedData(_) => false,
        };
        (within || self.block_ends == BlockEnds::Later).then_some(self.blocks)
    }

    /// Looks at bytes that belong to a frame.
    fn payload(&mut self, mut bytes: &[u8]) -> Result<(), Abuse> {
        match (self.payload, bytes.split_first()) {
            (Payload::PaddedHeaders(before), Some((&padding, rest))) => {
                let padding = usize::from(padding);
                self.payload = Payload::Headers { before, padding };
                self.skip -= 1;
                bytes = rest;
            }
            (Payload::PaddedData(length), Some((&padding, _))) => {
                let is_empty = usize::from(padding) + 1 >= length;
                self.settle(if is_empty {
                    Worth::Costs(1)
                } else {
                    Worth::Earns(1)
                })?;
                self.payload = Payload::Other;
            }
            _ => {}
        }
        if let Payload::Headers { before, padding } = &mut self.payload {
            let passed = (*before).min(bytes.len());
            *before -= passed;
            let until = bytes.len().min(self.skip.saturating_sub(*padding));
            let already = self.headers.get();
            self.headers.pass(bytes.get(passed..until).unwrap_or_default());
            self.this_turn += self.headers.get() - already;
            if self.headers.get() > self.most_headers {
                return Err(Abuse::Headers(self.most_headers));
            }
        }
        self.skip -= bytes.len();
        if self.skip == 0 && self.payload == Payload::Settings {
            self.settings.come();
            self.payload = Payload::Other;
        }
        Ok(())
    }

    fn frame(&mut self, header: &Header) -> Result<(), Abuse> {
        let &Header {
            length, kind, flags, ..
        } = header;
        self.frames_this_turn += 1;
        self.skip = length;
        self.payload = match kind {
            SETTINGS if flags & ACK == 0 => Payload::Settings,
            DATA if length > 0 && flags & PADDED != 0 => Payload::PaddedData(length),
            HEADERS => self.begin(header.stream, flags),
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
        self.block_ends = if matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS == 0 {
            BlockEnds::Later
        } else {
            BlockEnds::WithThisFrame
        };
        if !matches!(self.payload, Payload::PaddedData(_)) {
            self.settle(allowance::received(header))?;
        }
        // One without content has come already.
        self.payload(&[])?;
        if self.block > BLOCK_BYTES {
            Err(Abuse::Bytes(self.block))
        } else {
            Ok(())
        }
    }

    fn settle(&mut self, worth: Worth) -> Result<(), Abuse> {
        let now = || self.begun.elapsed();
        self.allowance.settle(worth, now).map_err(|_| Abuse::Flood)
    }

    /// A block of headers begins.
    fn begin(&mut self, stream: u32, flags: u8) -> Payload {
        self.headers = HeaderCount::default();
        self.blocks = self.blocks.wrapping_add(1);
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
    pub(super) fn memory(&self) -> usize {
        self.block + self.headers.get() * HEADER_MEMORY
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
            let mut scan = Scan::new(Opens::We);
            let mut passed = block.chunks(size).map(|bytes| scan.pass(bytes));
            assert!(
                passed.any(|passed| passed == Err(Abuse::Bytes(BLOCK_BYTES + 1))),
                "{size}"
            );
            let mut scan = Scan::new(Opens::We);
            let mut passed = block[..last].chunks(size).map(|bytes| scan.pass(bytes));
            assert!(passed.all(|passed| passed.is_ok()), "{size}");
        }
    }

    #[test]
    fn s37_others_have_their_turn_after_some_hundred_frames_of_any_kind() {
        for kind in [0, HEADERS, SETTINGS, 6, 8] {
            let mut scan = Scan::new(Opens::We);
            let one = [[0, 0, 1, kind, END_HEADERS, 0, 0, 0, 1].as_slice(), &[0x82]].concat();
            assert_eq!(scan.pass(&one.repeat(TURN_FRAMES)), Ok(()));
            assert!(!scan.is_turn_over(), "{kind}");
            assert_eq!(scan.pass(&one), Ok(()));
            assert!(scan.is_turn_over() && !scan.is_turn_over(), "{kind}");
        }
    }

    #[test]
    fn s37_data_that_is_padding_carries_nothing() {
        let padded = |data: u8| [0, 0, 5, DATA, PADDED, 0, 0, 0, 1, 4 - data, 0, 0, 0, 0];
        let flood = |data| {
            let mut scan = Scan::new(Opens::We);
            scan.pass(&padded(data).repeat(20_000))
        };
        assert_eq!((flood(0), flood(1)), (Err(Abuse::Flood), Ok(())));
    }

    #[test]
    fn a21_a_block_is_unfinished_until_its_last_byte() {
        let mut scan = Scan::new(Opens::We);
        let begins = [0, 0, 1, HEADERS, 0, 0, 0, 0, 1, 0x82];
        let ends = [0, 0, 1, CONTINUATION, END_HEADERS, 0, 0, 0, 1, 0x84];
        for byte in begins.iter().chain(&ends) {
            let _ = scan.pass(std::slice::from_ref(byte));
            let in_first_header = scan.blocks == 0;
            assert_eq!(
                scan.unfinished_block().is_some(),
                !in_first_header && *byte != 0x84
            );
        }
        assert_eq!(scan.unfinished_block(), None);
    }

    #[test]
    fn the_preface_is_no_frame() {
        let mut scan = Scan::new(Opens::They);
        let begin = [
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
            &frame(4, 0),
            &frame(HEADERS, 9),
        ]
        .concat();
        assert_eq!(scan.pass(&begin), Ok(()));
        assert_eq!((scan.header.is_within(), scan.block), (false, 9));
    }
}
