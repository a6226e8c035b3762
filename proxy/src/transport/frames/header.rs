//! Headers of frames (RFC 9113 section 4.1), from bytes that come or go in any pieces.

/// Bytes of the header of a frame.
pub(super) const FRAME_HEADER: usize = 9;
/// Bytes that a client begins with (RFC 9113 section 3.4).
pub(super) const PREFACE: usize = 24;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const SETTINGS: u8 = 4;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;
/// Flag of settings that only say that those of this side were taken.
pub(super) const ACK: u8 = 1;
/// Flag of the last frame of a block of headers.
pub(super) const END_HEADERS: u8 = 4;
/// Flag of a frame that has padding.
pub(super) const PADDED: u8 = 8;
/// Flag of headers with a priority (RFC 9113 section 6.2), which takes so many bytes.
pub(super) const PRIORITY: u8 = 0x20;
pub(super) const PRIORITY_BYTES: usize = 5;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
}

/// A header that comes in pieces.
#[derive(Debug, Default)]
pub(super) struct HeaderReader {
    bytes: [u8; FRAME_HEADER],
    known: usize,
}

impl HeaderReader {
    /// Whether some of a header has come, and not all.
    pub(super) fn is_within(&self) -> bool {
        self.known > 0
    }

    /// Takes what belongs to the header, which is said once it is whole.
    pub(super) fn read(&mut self, bytes: &mut &[u8]) -> Option<Header> {
        let missing = FRAME_HEADER - self.known;
        let (now, rest) = bytes.split_at(missing.min(bytes.len()));
        let places = self.bytes.iter_mut().skip(self.known);
        places.zip(now).for_each(|(place, byte)| *place = *byte);
        *bytes = rest;
        self.known += now.len();
        if self.known < FRAME_HEADER {
            return None;
        }
        self.known = 0;
        let [high, middle, low, kind, flags, s1, s2, s3, s4] = self.bytes;
        Some(Header {
            length: usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
            kind,
            flags,
            stream: u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]),
        })
    }
}
