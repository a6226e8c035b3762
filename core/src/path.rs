//! Paths that two readers could understand differently.
//!
//! A rule on paths is only worth something when the policy and the application see the same path. So where such a
//! rule applies, a path that normalising would change is refused rather than guessed at; elsewhere bytes pass
//! untouched.

use std::borrow::Cow;

/// What makes a path ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    /// A segment `.` or `..` (RFC 3986 section 5.2.4), percent-encoded or not.
    #[error("it has a dot segment")]
    DotSegment,
    /// Two slashes in a row.
    #[error("it has an empty segment")]
    EmptySegment,
    /// A backslash, which some servers read as a slash, percent-encoded or not.
    #[error("it has a backslash")]
    Backslash,
    /// A percent-encoded slash.
    #[error("it has an encoded slash")]
    EncodedSlash,
    /// A NUL character, percent-encoded or not.
    #[error("it has a NUL character")]
    Nul,
    /// A fragment, which no request may carry (RFC 9112 section 3.2).
    #[error("it has a fragment")]
    Fragment,
    /// A percent sign without two hexadecimal digits.
    #[error("it has a broken percent-encoding")]
    BrokenEncoding,
}

/// What in this path, given without its query, would be changed by normalising it.
///
/// # Errors
/// The first [`Ambiguity`] found.
pub fn check(path: &str) -> Result<(), Ambiguity> {
    let bytes = path.as_bytes();
    let mut index = 0;
    let mut segment = Segment::Start;
    while index < bytes.len() {
        let (byte, width) = match bytes[index] {
            b'%' => (decode_pair(bytes, index).ok_or(Ambiguity::BrokenEncoding)?, 3),
            plain => (plain, 1),
        };
        segment = match byte {
            b'\\' => return Err(Ambiguity::Backslash),
            0 => return Err(Ambiguity::Nul),
            b'/' if width == 3 => return Err(Ambiguity::EncodedSlash),
            b'#' if width == 1 => return Err(Ambiguity::Fragment),
            b'/' => match segment {
                Segment::Dots(_) => return Err(Ambiguity::DotSegment),
                Segment::Start if index > 0 => return Err(Ambiguity::EmptySegment),
                _ => Segment::Start,
            },
            b'.' => match segment {
                Segment::Start => Segment::Dots(1),
                Segment::Dots(1) => Segment::Dots(2),
                _ => Segment::Other,
            },
            _ => Segment::Other,
        };
        index += width;
    }
    match segment {
        Segment::Dots(_) => Err(Ambiguity::DotSegment),
        _ => Ok(()),
    }
}

/// The path with its percent-encoded unreserved characters decoded (RFC 3986 section 6.2.2.2): the form that rules
/// are matched against. It names the same resource.
pub fn normalize(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let bytes = path.as_bytes();
    let mut out = String::with_capacity(path.len());
    let mut rest = 0;
    let mut index = 0;
    while index < bytes.len() {
        match (bytes[index] == b'%')
            .then(|| decode_pair(bytes, index))
            .flatten()
        {
            Some(byte) if is_unreserved(byte) => {
                out.push_str(path.get(rest..index).unwrap_or_default());
                out.push(char::from(byte));
                index += 3;
                rest = index;
            }
            _ => index += 1,
        }
    }
    out.push_str(path.get(rest..).unwrap_or_default());
    Cow::Owned(out)
}

enum Segment {
    Start,
    Dots(u8),
    Other,
}

fn decode_pair(bytes: &[u8], percent: usize) -> Option<u8> {
    let digit = |offset: usize| char::from(*bytes.get(percent + offset)?).to_digit(16);
    u8::try_from(digit(1)? * 16 + digit(2)?).ok()
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_paths_are_clear() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a/b.html",
            "/.well-known/x",
            "/..a",
            "/a..",
            "/%41",
            "/a;v=1",
            "/caf%C3%A9",
            "/issue%2342",
            "*",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn paths_that_two_readers_could_read_differently_are_named() {
        use Ambiguity::{Backslash, BrokenEncoding, DotSegment, EmptySegment, EncodedSlash, Fragment, Nul};
        for (path, ambiguity) in [
            ("/a/../b", DotSegment),
            ("/./a", DotSegment),
            ("/a/..", DotSegment),
            ("/a/%2e%2E/b", DotSegment),
            ("/a/.%2e", DotSegment),
            ("//a", EmptySegment),
            ("/a//b", EmptySegment),
            ("/a\\b", Backslash),
            ("/a%5cb", Backslash),
            ("/a%2Fb", EncodedSlash),
            ("/a%00", Nul),
            ("/a#b", Fragment),
            ("/a%2", BrokenEncoding),
            ("/a%zz", BrokenEncoding),
        ] {
            assert_eq!(check(path), Err(ambiguity), "{path}");
        }
    }

    #[test]
    fn encoded_unreserved_characters_are_decoded_for_matching() {
        assert_eq!(normalize("/%61dmin/%7Euser"), "/admin/~user");
        assert_eq!(normalize("/caf%C3%A9%20x"), "/caf%C3%A9%20x");
    }

    proptest! {
        #[test]
        fn normalizing_twice_changes_nothing_more_unless_it_was_encoded_twice(path in "/[a-z./]{0,20}") {
            prop_assert_eq!(normalize(&path), path.as_str());
        }

        #[test]
        fn no_text_makes_it_panic(path in "\\PC*") {
            let _ = check(&path);
            let _ = normalize(&path);
        }
    }
}
