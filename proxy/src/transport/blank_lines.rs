//! Blank lines before a message of HTTP/1.
//!
//! Some old clients send one behind a request, and servers skip it (RFC 9112 section 2.2). The library skips as many as
//! come, and looks at all of them again for each further one, so they are taken out before it sees them, and more than
//! anybody needs are refused.

/// Bytes of blank lines at most.
const MOST_BYTES: usize = 64;

/// What the library gets in place of too many, or of a carriage return before no line feed: it answers it with 400.
pub(super) const NO_REQUEST: &[u8] = b"\0\r\n";

/// The blank lines that came since the last message.
#[derive(Debug, Default)]
pub(super) struct BlankLines {
    bytes: usize,
    line: Line,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    Whole,
    /// Its line feed is yet to come.
    CarriageReturn,
}

/// What follows blank lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows<'a> {
    /// Nothing so far.
    Nothing,
    /// The beginning of a message.
    Message(&'a [u8]),
    /// What is not taken.
    Refused,
}

impl<'a> Follows<'a> {
    /// The beginning of a request, without the blank lines before it; `None` while there is none.
    pub(super) fn request(self) -> Option<&'a [u8]> {
        match self {
            Self::Nothing => None,
            Self::Message(begun) => Some(begun),
            Self::Refused => Some(NO_REQUEST),
        }
    }
}

impl BlankLines {
    /// Looks at the next bytes, of which there are some.
    pub(super) fn pass<'a>(&mut self, bytes: &'a [u8]) -> Follows<'a> {
        for (index, &byte) in bytes.iter().enumerate() {
            self.line = match (byte, self.line) {
                (b'\n', _) => Line::Whole,
                (b'\r', Line::Whole) => Line::CarriageReturn,
                (_, Line::CarriageReturn) => return Follows::Refused,
                (_, Line::Whole) => {
                    self.bytes = 0;
                    return Follows::Message(bytes.get(index..).unwrap_or_default());
                }
            };
            self.bytes += 1;
            if self.bytes > MOST_BYTES {
                return Follows::Refused;
            }
        }
        Follows::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s36_blank_lines_before_a_message_are_skipped_however_they_are_cut() {
        for cut in 0..6 {
            let (first, second) = b"\r\n\n\r\nGET".split_at(cut);
            let mut blank = BlankLines::default();
            if !first.is_empty() {
                assert_eq!(blank.pass(first), Follows::Nothing, "{cut}");
            }
            let rest = &second[5_usize.saturating_sub(cut)..];
            assert_eq!(blank.pass(second), Follows::Message(rest), "{cut}");
        }
    }

    #[test]
    fn s36_more_blank_lines_than_anybody_needs_are_refused_and_each_message_has_its_own() {
        let mut blank = BlankLines::default();
        for _ in 0..3 {
            assert_eq!(blank.pass(&b"\r\n".repeat(MOST_BYTES / 2)), Follows::Nothing);
            assert_eq!(blank.pass(b"GET"), Follows::Message(b"GET"));
        }
        assert_eq!(blank.pass(&b"\n".repeat(MOST_BYTES)), Follows::Nothing);
        assert_eq!(blank.pass(b"\n"), Follows::Refused);
    }

    #[test]
    fn a_carriage_return_alone_is_no_blank_line() {
        for bytes in [&b"\rGET"[..], b"\r\r\n"] {
            assert_eq!(BlankLines::default().pass(bytes), Follows::Refused);
        }
    }
}
