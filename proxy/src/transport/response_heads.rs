//! Where the heads of responses begin, among the bytes of an HTTP/1 server.
//!
//! A final response may follow any number of interim ones (RFC 9110 section 15.2). The library skips blank lines before
//! each of them, and looks at all of them again for each further byte, so they are counted before each of them.

use super::blank_lines::{BlankLines, Follows};

/// Where a status line has its status: behind `HTTP/1.1` and a space.
const STATUS: usize = 9;
/// Digits of a status.
const DIGITS: usize = 3;

/// Looks at the bytes of a server from the request on, up to the end of the status line of the final response.
#[derive(Debug)]
pub(super) enum ResponseHeads {
    /// Before a head, the first or that behind an interim response.
    Before(BlankLines),
    /// In a status line, of which so many bytes came.
    StatusLine(usize, [u8; DIGITS]),
    /// In the rest of an interim head.
    Interim(Line),
    /// In the final response.
    Final,
}

/// How much of a line of an interim head came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Nothing, or a carriage return.
    Empty,
    /// Some of it.
    Begun,
}

/// The server sends more blank lines before a response than anybody needs.
#[derive(Debug, thiserror::Error)]
#[error("the server sends too many blank lines before its response")]
pub(super) struct TooManyBlankLines;

impl Default for ResponseHeads {
    fn default() -> Self {
        Self::Before(BlankLines::default())
    }
}

impl ResponseHeads {
    /// Looks at the next bytes.
    ///
    /// # Errors
    /// [`TooManyBlankLines`].
    pub(super) fn pass(&mut self, mut bytes: &[u8]) -> Result<(), TooManyBlankLines> {
        while !bytes.is_empty() {
            bytes = match self {
                Self::Before(blank) => match blank.pass(bytes) {
                    Follows::Nothing => return Ok(()),
                    Follows::Refused => return Err(TooManyBlankLines),
                    Follows::Message(rest) => {
                        *self = Self::StatusLine(0, [0; DIGITS]);
                        rest
                    }
                },
                Self::StatusLine(known, status) => {
                    let (before, digits) = (*known, status);
                    for (at, &byte) in (before..).zip(bytes).take_while(|(at, _)| *at < STATUS + DIGITS) {
                        if let Some(digit) = at.checked_sub(STATUS).and_then(|place| digits.get_mut(place)) {
                            *digit = byte;
                        }
                        *known = at + 1;
                    }
                    let rest = bytes.get(*known - before..).unwrap_or_default();
                    if *known == STATUS + DIGITS {
                        *self = Self::of_status(*digits);
                    }
                    rest
                }
                Self::Interim(line) => {
                    let ended = memchr::memchr(b'\n', bytes);
                    let (text, rest) = match ended {
                        Some(end) => (bytes.get(..end), bytes.get(end + 1..)),
                        None => (Some(bytes), None),
                    };
                    if text.is_some_and(|text| text.iter().any(|&byte| byte != b'\r')) {
                        *line = Line::Begun;
                    }
                    match (ended, *line) {
                        (None, _) => {}
                        (Some(_), Line::Begun) => *line = Line::Empty,
                        (Some(_), Line::Empty) => *self = Self::default(),
                    }
                    rest.unwrap_or_default()
                }
                Self::Final => return Ok(()),
            };
        }
        Ok(())
    }

    /// Behind `101 Switching Protocols`, HTTP is over.
    fn of_status(status: [u8; DIGITS]) -> Self {
        match &status {
            b"101" => Self::Final,
            [b'1', _, _] => Self::Interim(Line::Begun),
            _ => Self::Final,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
    const OK: &str = "HTTP/1.1 200 OK\r\n";

    /// Whether these bytes are taken, in pieces of this size.
    fn takes(bytes: &str, piece: usize) -> bool {
        let mut heads = ResponseHeads::default();
        bytes
            .as_bytes()
            .chunks(piece)
            .all(|bytes| heads.pass(bytes).is_ok())
    }

    fn takes_in_any_pieces(bytes: &str) -> bool {
        let whole = takes(bytes, bytes.len());
        for piece in [1, 2, 3, 7, 64] {
            assert_eq!(takes(bytes, piece), whole, "{piece}: {bytes:?}");
        }
        whole
    }

    #[test]
    fn s57_blank_lines_are_counted_before_each_response_and_few_are_taken() {
        let (few, many) = ("\r\n".repeat(32), "\r\n".repeat(33));
        let bare = HINTS.replace("\r\n", "\n");
        for hints in [HINTS, &bare] {
            assert!(takes_in_any_pieces(&format!("{few}{hints}{few}{hints}{few}{OK}")));
            assert!(!takes_in_any_pieces(&format!("{many}{OK}")));
            assert!(!takes_in_any_pieces(&format!("{hints}{many}{OK}")));
            assert!(!takes_in_any_pieces(&format!("{hints}{hints}{many}{OK}")));
        }
    }

    #[test]
    fn s57_nothing_is_counted_in_a_final_response_or_in_what_it_switches_to() {
        let many = "\r\n".repeat(100);
        for status in ["200 OK", "404", "101 Switching Protocols"] {
            assert!(
                takes_in_any_pieces(&format!("HTTP/1.1 {status}\r\n{many}")),
                "{status}"
            );
        }
    }

    #[test]
    fn s57_a_carriage_return_alone_between_responses_is_refused() {
        assert!(!takes_in_any_pieces(&format!("{HINTS}\rHTTP/1.1 200 OK\r\n")));
    }
}
