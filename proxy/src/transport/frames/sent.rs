//! The frames that are sent, as far as they concern what may be received.

use std::io::IoSlice;

use super::allowance;
use super::header::{FRAME_HEADER, GOAWAY, HeaderReader};

/// The other side sends without end what costs much and carries nothing (RFC 9113 section 7).
const ENHANCE_YOUR_CALM: u32 = 11;

/// Where the writing of frames is.
#[derive(Debug, Default)]
pub(super) struct Sent {
    /// Bytes that are no frame's header.
    skip: usize,
    header: HeaderReader,
}

impl Sent {
    /// Frames begin after so many bytes.
    pub(super) fn after(preface: usize) -> Self {
        Self {
            skip: preface,
            ..Self::default()
        }
    }

    /// Whether the last frame is whole, so that another may be put behind it.
    pub(super) fn is_between_frames(&self) -> bool {
        self.skip == 0 && !self.header.is_within()
    }

    /// Looks at the first so many bytes of these, which were sent, and says what they earn.
    pub(super) fn pass_slices(&mut self, slices: &[IoSlice<'_>], mut taken: usize) -> u32 {
        let mut earned = 0;
        for slice in slices {
            let now = slice.get(..taken.min(slice.len())).unwrap_or_default();
            taken -= now.len();
            earned += self.pass(now);
        }
        earned
    }

    /// Looks at bytes that were sent, and says what they earn.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> u32 {
        let mut earned = 0;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some(header) = self.header.read(&mut bytes) else {
                return earned;
            };
            self.skip = header.length;
            earned += allowance::sent(&header);
        }
    }
}

/// The frame that ends a connection for what was received on it. The other side began this stream last.
pub(super) fn goodbye(last_stream: u32) -> [u8; FRAME_HEADER + 8] {
    let [s1, s2, s3, s4] = last_stream.to_be_bytes();
    let [e1, e2, e3, e4] = ENHANCE_YOUR_CALM.to_be_bytes();
    [0, 0, 8, GOAWAY, 0, 0, 0, 0, 0, s1, s2, s3, s4, e1, e2, e3, e4]
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA_OF_FOUR: &[u8] = &[0, 0, 4, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4];
    const PING: &[u8] = &[0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    #[test]
    fn s37_what_is_sent_earns_the_same_however_it_is_cut() {
        let bytes = [DATA_OF_FOUR, PING, DATA_OF_FOUR].concat();
        let whole = Sent::default().pass(&bytes);
        assert!(whole > 0);
        for size in 1..bytes.len() {
            let mut sent = Sent::default();
            let earned: u32 = bytes.chunks(size).map(|piece| sent.pass(piece)).sum();
            assert_eq!(earned, whole, "{size}");
            let slices: Vec<_> = bytes.chunks(size).map(IoSlice::new).collect();
            assert_eq!(Sent::default().pass_slices(&slices, bytes.len()), whole, "{size}");
        }
    }

    #[test]
    fn nothing_is_put_into_a_frame_that_is_not_whole() {
        let mut sent = Sent::after(3);
        for (piece, between) in [
            (&b"PRI"[..], true),
            (&PING[..4], false),
            (&PING[4..12], false),
            (&PING[12..], true),
        ] {
            let slices = [IoSlice::new(piece), IoSlice::new(b"not taken")];
            sent.pass_slices(&slices, piece.len());
            assert_eq!(sent.is_between_frames(), between);
        }
    }
}
