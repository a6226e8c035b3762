//! Finds heads of requests of HTTP/1 that say their length twice.
//!
//! A request with both `Content-Length` and `Transfer-Encoding` has two ends, and whoever is before this proxy may have
//! taken the other one (RFC 9112 section 11.2). hyper goes by the encoding, drops the length and says nothing, so this is
//! looked for in the bytes. A head that came together with the request before it is not looked at: hyper ends the
//! connection after such a request, as RFC 9112 section 6.1 wants it.

const LENGTH: &[u8] = b"content-length:";
const ENCODING: &[u8] = b"transfer-encoding:";

/// Looks at the bytes of a head as they come.
#[derive(Debug, Default)]
pub(super) struct Lengths {
    place: Place,
    /// The beginning of a line.
    name: [u8; ENCODING.len()],
    length: Said,
    encoding: Said,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Behind the head.
    #[default]
    Behind,
    /// At the beginning of a line, of which so many bytes are in `name`.
    Name(usize),
    /// In the rest of a line.
    Rest,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Said {
    Yes,
    #[default]
    No,
}

impl Lengths {
    /// A head begins, with its first line.
    pub(super) fn begin(&mut self) {
        *self = Self {
            place: Place::Rest,
            ..Self::default()
        };
    }

    /// Whether more of the head is to come.
    pub(super) fn is_in_head(&self) -> bool {
        self.place != Place::Behind
    }

    /// Whether the head says both so far.
    pub(super) fn are_two(&self) -> bool {
        self.length == Said::Yes && self.encoding == Said::Yes
    }

    /// Looks at the next bytes.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while let Some(&byte) = bytes.first() {
            match self.place {
                Place::Behind => return,
                Place::Rest => match memchr::memchr(b'\n', bytes) {
                    Some(end) => {
                        bytes = bytes.get(end + 1..).unwrap_or_default();
                        self.place = Place::Name(0);
                    }
                    None => return,
                },
                Place::Name(known) => {
                    self.place = self.name(known, byte);
                    bytes = bytes.get(1..).unwrap_or_default();
                }
            }
        }
    }

    /// Where the byte behind so many of a line leads.
    fn name(&mut self, known: usize, byte: u8) -> Place {
        match byte {
            b'\n' if known == 0 || known == 1 && self.name.first() == Some(&b'\r') => return Place::Behind,
            b'\n' => return Place::Name(0),
            _ if known == 0 && !matches!(byte, b'c' | b'C' | b't' | b'T' | b'\r') => return Place::Rest,
            _ => {}
        }
        if let Some(place) = self.name.get_mut(known) {
            *place = byte;
        }
        let name = self.name.get(..=known).unwrap_or_default();
        if byte == b':' {
            if name.eq_ignore_ascii_case(LENGTH) {
                self.length = Said::Yes;
            } else if name.eq_ignore_ascii_case(ENCODING) {
                self.encoding = Said::Yes;
            }
            Place::Rest
        } else if known + 1 < ENCODING.len() {
            Place::Name(known + 1)
        } else {
            Place::Rest
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scanned(head: &str, piece: usize) -> Lengths {
        let mut lengths = Lengths::default();
        lengths.begin();
        for bytes in head.as_bytes().chunks(piece) {
            lengths.pass(bytes);
        }
        lengths
    }

    #[test]
    fn two_lengths_are_found_in_any_order_case_and_pieces() {
        for head in [
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding:chunked\r\nhost: a\r\nCONTENT-LENGTH:3\r\n\r\n",
            "POST / HTTP/1.1\ncontent-length: 3\ntransfer-encoding: chunked\n\n",
        ] {
            for piece in [1, 2, 7, head.len()] {
                let lengths = scanned(head, piece);
                assert!(lengths.are_two() && !lengths.is_in_head(), "{head:?} by {piece}");
            }
        }
    }

    #[test]
    fn what_only_resembles_two_lengths_is_none() {
        for head in [
            "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST /content-length: HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nx: content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nx-content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-lengths: 3\r\ntransfer-encoding: chunked\r\nt\r\n\r\n",
        ] {
            for piece in [1, 3, head.len()] {
                assert!(!scanned(head, piece).are_two(), "{head:?} by {piece}");
            }
        }
    }
}
