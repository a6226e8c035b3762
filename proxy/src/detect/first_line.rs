//! The first line of a client that is carried as bytes, watched until it ends.
//!
//! A client that stops in the middle of its first line is taken to speak something else after a while. If it goes on with
//! a request all the same, a server of HTTP would read it as one. So the line is looked at as it passes: nothing waits
//! for it, and only what completes a request does not pass.

use super::{Guess, LOOK_BYTES, Spoken, first_line_of, guess, is_separator, names_version};

/// A line that is longer is no request line: servers refuse those.
const MOST_BYTES: usize = 64 * 1024;
/// Bytes of a long line that are kept for the next look: a separator, and the longest name of a version but for its end.
const TAIL_BYTES: usize = 5;

/// What is known of a direction after some bytes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Nothing yet.
    Unclear,
    /// It is HTTP.
    Http,
    /// It is not.
    Other,
}

/// The first line, as far as it has been seen.
#[derive(Debug)]
pub enum FirstLine {
    /// As long as a connection is looked at when it begins: all of it.
    Short(Vec<u8>),
    /// Longer: its last bytes, and how long it is.
    Long([u8; TAIL_BYTES], usize),
}

impl Default for FirstLine {
    fn default() -> Self {
        Self::Short(Vec::new())
    }
}

impl FirstLine {
    /// Looks at the next bytes, before they go on.
    pub fn see(&mut self, bytes: &[u8]) -> Seen {
        match self {
            Self::Short(seen) => {
                let (more, rest) = bytes.split_at(bytes.len().min(LOOK_BYTES - seen.len()));
                seen.extend_from_slice(more);
                let said = judge(seen);
                if said != Seen::Unclear || seen.len() < LOOK_BYTES {
                    return said;
                }
                *self = Self::Long(tail(&[], seen), seen.len());
                self.see(rest)
            }
            Self::Long(last, length) => {
                let end = memchr::memchr(b'\n', bytes);
                let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
                *length += line.len();
                let begins = line.get(..TAIL_BYTES).unwrap_or(line);
                if names_later_version(&[&last[..], begins].concat()) || names_later_version(line) {
                    return Seen::Http;
                }
                if end.is_some() || *length > MOST_BYTES {
                    return Seen::Other;
                }
                *last = tail(&last[..], line);
                Seen::Unclear
            }
        }
    }
}

/// What the beginning of a connection says, now that it is not waited for. Text without a line's end is not taken for a
/// request here, however long it is.
fn judge(seen: &[u8]) -> Seen {
    let ends = memchr::memchr(b'\n', seen.trim_ascii_start()).is_some();
    match guess(seen) {
        Guess::Spoken(Spoken::Http2) => Seen::Http,
        Guess::Spoken(Spoken::Http1) if ends => Seen::Http,
        Guess::Spoken(Spoken::Text) if ends && has_words_of_a_request(seen) => Seen::Http,
        Guess::Spoken(Spoken::Text) if ends => Seen::Other,
        Guess::Spoken(Spoken::Tls) => judge_tls(seen),
        Guess::Spoken(Spoken::Bytes) => Seen::Other,
        Guess::Spoken(Spoken::Http1 | Spoken::Text) | Guess::Unclear => Seen::Unclear,
    }
}

/// A hello may hold whatever its sender likes, so it may be a request line as well to a server that takes any method. In
/// a true one, the byte before the name of a version is its length, which no server splits a line at.
fn judge_tls(seen: &[u8]) -> Seen {
    let line = first_line_of(seen);
    match names_later_version(line) {
        true => Seen::Http,
        false if line.len() < seen.len() => Seen::Other,
        false => Seen::Unclear,
    }
}

/// Whether the first line is one of a request but for its method, which is no token. Some servers take any method.
fn has_words_of_a_request(seen: &[u8]) -> bool {
    let line = seen.trim_ascii_start().split(|&byte| byte == b'\n').next();
    let mut words = line
        .unwrap_or_default()
        .trim_ascii_end()
        .split(|&byte| byte == b' ');
    match (words.next(), words.next(), words.next(), words.next()) {
        // Lines of JSON and of logs quote requests.
        (Some(method), Some(_), Some(version), None) => {
            is_version(version) && !method.iter().any(|byte| b"\"{".contains(byte))
        }
        _ => false,
    }
}

/// Whether this is a version of HTTP/1 and nothing else.
fn is_version(word: &[u8]) -> bool {
    match word {
        [name @ .., major, b'.', minor] => {
            name.eq_ignore_ascii_case(b"HTTP/") && major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

/// Whether a version stands in this part of a line, which begins anywhere in it.
fn names_later_version(part: &[u8]) -> bool {
    let separator = part.iter().position(|&byte| is_separator(byte));
    separator.is_some_and(|at| names_version(part.get(at..).unwrap_or_default()))
}

/// The last bytes of what was kept and what came.
fn tail(kept: &[u8], came: &[u8]) -> [u8; TAIL_BYTES] {
    let mut last = [0; TAIL_BYTES];
    let newest = came.iter().rev().chain(kept.iter().rev());
    last.iter_mut()
        .rev()
        .zip(newest)
        .for_each(|(place, byte)| *place = *byte);
    last
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn see(pieces: &[&[u8]]) -> Vec<Seen> {
        let mut line = FirstLine::default();
        pieces.iter().map(|piece| line.see(piece)).collect()
    }

    #[test]
    fn s51_a_request_that_is_completed_late_is_seen_before_its_line_passes() {
        let long = "M".repeat(700);
        for pieces in [
            &[&b"FOO"[..], b" / HTTP/1.1\r\n"][..],
            &[b"F", b"OO ", b"/x", b" HTTP/1.1", b"\r\n"],
            &[b"hello", b" world", b" x http/1.0\n"],
            &[b"POST", b" /x\r\n"],
            &[b"PRI * HT", b"TP/2.0\r\n\r\nSM\r\n\r\n"],
            &[long.as_bytes(), b" / HT", b"TP/1.1\r\n"],
            &[long.as_bytes(), b" /", b" ", b"H", b"T", b"T", b"P", b"/1.1\n"],
            &[b"a@b /x HTTP/1.1\r\n"],
            &[b"a@b", b" /x HTTP/1.1\r\nhost: web\r\n"],
            &[b"\x16\x03\x01\x01\x01\x01 /x HTTP/1.1\r\n"],
            &[b"\x16\x03\x01\x01\x01\x01", &[7; 600], b" /x HT", b"TP/1.1\r\n"],
        ] {
            let said = see(pieces);
            let (last, before) = said.split_last().unwrap();
            let http = *last == Seen::Http || before.contains(&Seen::Http);
            assert!(http, "{pieces:?}: {said:?}");
            assert!(!before.contains(&Seen::Other), "{pieces:?}: {said:?}");
        }
    }

    #[test]
    fn other_protocols_are_not_watched_beyond_their_first_line() {
        for pieces in [
            &[&b"PING\r\n"[..]][..],
            &[b"GET key\r\n"],
            &[b"EHLO ", b"a\r\n"],
            &[b"<13>1 \"GET / HTTP/1.1\" 200\r\n"],
            &[b"\0\0\0\x08\x04\xd2\x16\x2f"],
            &[b"AMQP\0\0\x09\x01"],
            &[b"{\"a\": \"GET / HTTP/1.1\"}\n"],
            &[b"{\"request\":\"GET / HTTP/1.1\"}\n"],
            &[b"\"GET / HTTP/1.1\n"],
            &[b"<GET / HTTP/1.1>\n"],
            &[b"\x16\x03\x01\x01\x01\x01\0\x01\x02\x02h2\x08http/1.1\n /x HTTP/1.1\n"],
            &["A".repeat(700).as_bytes(), b"AA xHTTP/1.1\n"],
            &["1 ".repeat(40_000).as_bytes()],
        ] {
            assert_eq!(
                see(pieces).last(),
                Some(&Seen::Other),
                "{:?}",
                pieces[0].get(..20)
            );
        }
    }

    proptest! {
        #[test]
        fn how_bytes_are_cut_changes_nothing(
            bytes in "[A-Z@]{1,9}( [a-z/]{0,9}){0,3}( HTTP/1.1)?\r?\n",
            padding in 0usize..900,
            cut in 0usize..900,
        ) {
            let bytes = ["M".repeat(padding), bytes].concat().into_bytes();
            let (one, other) = bytes.split_at(cut.min(bytes.len()));
            let cut = see(&[one, other]);
            let whole = see(&[&bytes]);
            let cut = cut.iter().find(|said| **said != Seen::Unclear);
            prop_assert_eq!(cut, whole.last());
        }
    }
}
