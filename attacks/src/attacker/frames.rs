//! Frames of HTTP/2, as no library would say them. Pure.

pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// A payload of SETTINGS: streams have no window.
pub(super) const NO_WINDOW: &[u8] = &[0, 4, 0, 0, 0, 0];

/// Bytes of the head of a frame.
pub(super) const HEAD: usize = 9;

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
}

impl Head {
    pub(super) fn parse(bytes: [u8; HEAD]) -> Self {
        let [high, middle, low, kind, flags, ..] = bytes;
        Self {
            length: usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low),
            kind,
            flags,
        }
    }
}

/// A frame. Its payload must be shorter than 16 MiB.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [.., high, middle, low] = payload.len().to_be_bytes();
    let mut bytes = vec![high, middle, low, kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Headers of a GET, each a literal that is not indexed (RFC 7541 section 6.2.2). No text may be longer than 126 bytes.
pub(super) fn get(path: &str) -> Vec<u8> {
    let headers = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "web"),
    ];
    let mut block = Vec::new();
    for (name, value) in headers {
        block.push(0);
        for text in [name, value] {
            block.extend(u8::try_from(text.len()));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_begins_with_its_length_kind_flags_and_stream() {
        let bytes = frame(HEADERS, END_HEADERS, 0x0102_0304, b"abc");
        assert_eq!(bytes, [0, 0, 3, 1, 4, 1, 2, 3, 4, b'a', b'b', b'c']);
    }

    #[test]
    fn the_head_of_a_frame_is_read_as_it_was_written() {
        let bytes = frame(SETTINGS, ACK, 0, &[0].repeat(70_000));
        let head = Head::parse(bytes[..HEAD].try_into().unwrap());
        let expected = Head {
            length: 70_000,
            kind: SETTINGS,
            flags: ACK,
        };
        assert_eq!(head, expected);
    }

    #[test]
    fn headers_are_literals_with_their_lengths() {
        assert!(get("/").starts_with(b"\x00\x07:method\x03GET\x00\x07:scheme"));
    }
}
