//! The first bytes of a server whose client is carried as bytes.

use super::Seen;

/// Digits of a version's end and of a status stand for themselves, everything else for its byte (RFC 9112 section 4).
const PATTERN: &[u8; 12] = b"HTTP/1.0 000";

/// The beginning of an answer, as far as it has been seen.
#[derive(Debug, Default)]
pub struct StatusLine {
    seen: usize,
}

impl StatusLine {
    /// Looks at the next bytes, before they go on.
    pub fn see(&mut self, bytes: &[u8]) -> Seen {
        let expected = PATTERN.get(self.seen..).unwrap_or_default();
        let fits = |(&byte, &pattern): (&u8, &u8)| match pattern {
            b'0' => byte.is_ascii_digit(),
            _ => byte == pattern,
        };
        if !bytes.iter().zip(expected).all(fits) {
            return Seen::Other;
        }
        self.seen += bytes.len().min(expected.len());
        if self.seen == PATTERN.len() {
            Seen::Http
        } else {
            Seen::Unclear
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn see(pieces: &[&[u8]]) -> Seen {
        let mut answer = StatusLine::default();
        pieces.iter().fold(Seen::Unclear, |_, piece| answer.see(piece))
    }

    #[test]
    fn s51_a_server_that_answers_with_a_status_line_speaks_http() {
        assert_eq!(see(&[b"HTTP/1.1 200 OK\r\n"]), Seen::Http);
        assert_eq!(see(&[b"HTTP/1.0 404"]), Seen::Http);
        assert_eq!(see(&[b"HT", b"TP/1.", b"1 20", b"0"]), Seen::Http);
        assert_eq!(see(&[b"HTTP/1.1 20"]), Seen::Unclear);
        for other in [
            &b"+PONG\r\n"[..],
            b"220 ready\r\n",
            b"HTTP/2 200",
            b"HTTP is",
            b"\0\0\x06\x04\0",
            b"-ERR",
        ] {
            assert_eq!(see(&[other]), Seen::Other, "{other:?}");
        }
    }
}
