//! Paths that two readers could understand differently.
//!
//! A rule on paths is only worth something when the policy and the application see the same path. So where such a
//! rule applies, a path that another reader would take for another one is refused rather than guessed at; elsewhere
//! bytes pass untouched.
//!
//! The other readers are those that exist: servlet containers, which take parameters (`;...`) out of segments before
//! they resolve dot segments; stacks that decode percent-encodings more than once; decoders that accept overlong
//! UTF-8; and file systems and frameworks that map characters to the ASCII characters that they resemble.

mod symbol;

use std::borrow::Cow;

use self::symbol::{Reading, Symbol};

/// What makes a path ambiguous.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Ambiguity {
    /// A segment `.` or `..` (RFC 3986 section 5.2.4), alone or before parameters, in any encoding.
    #[error("it has a dot segment")]
    DotSegment,
    /// Two slashes in a row, or with nothing but parameters between them.
    #[error("it has an empty segment")]
    EmptySegment,
    /// A backslash, which some servers read as a slash, percent-encoded or not.
    #[error("it has a backslash")]
    Backslash,
    /// A percent-encoded slash, also one that is encoded more than once.
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
    /// UTF-8 that is longer than its character needs (RFC 3629 section 3), such as `%c0%ae` for a dot.
    #[error("it has an overlong encoding of a character")]
    Overlong,
    /// Percent-encodings of percent-encodings, and so on.
    #[error("it is percent-encoded again and again")]
    EncodedAgain,
}

/// How often a path is decoded to see what comes out. Nobody encodes one so often but to deceive.
const MOST_DECODINGS: u8 = 3;

/// What in this path, given without its query, another reader would understand differently.
///
/// # Errors
/// The first [`Ambiguity`] found.
pub fn check(path: &str) -> Result<(), Ambiguity> {
    check_as(path.as_bytes(), Reading::AsSent)?;
    if !path.contains("%25") {
        return Ok(());
    }
    // `%252e` is `%2e` to whoever decodes it once, and a dot to whoever decodes it twice.
    let mut decoded = symbol::decode(path.as_bytes());
    for _ in 0..MOST_DECODINGS {
        check_as(&decoded, Reading::Decoded)?;
        let again = symbol::decode(&decoded);
        if again == decoded {
            return Ok(());
        }
        decoded = again;
    }
    Err(Ambiguity::EncodedAgain)
}

fn check_as(mut path: &[u8], reading: Reading) -> Result<(), Ambiguity> {
    let mut segment = Segment::Open;
    while let Some((symbol, width)) = symbol::first(path, reading)? {
        segment = segment.then(symbol)?;
        path = path.get(width..).unwrap_or_default();
    }
    segment.end()
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
        match symbol::decode_pair(bytes, index) {
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

/// What has been read of a segment.
#[derive(Clone, Copy)]
enum Segment {
    /// Nothing, behind no slash.
    Open,
    /// Nothing, behind a slash.
    Start,
    /// So many dots, at most two.
    Dots(u8),
    /// Parameters, and nothing before them.
    Nameless,
    /// What no reader resolves.
    Other,
}

impl Segment {
    fn then(self, symbol: Symbol) -> Result<Self, Ambiguity> {
        match symbol {
            Symbol::Slash => match self.end()? {
                () if matches!(self, Self::Start | Self::Nameless) => Err(Ambiguity::EmptySegment),
                () => Ok(Self::Start),
            },
            // Whether it ends the segment or is one of its parameters, the segment has no name.
            Symbol::Separator => match self.end()? {
                () if matches!(self, Self::Nameless) => Err(Ambiguity::EmptySegment),
                () => Ok(Self::Open),
            },
            Symbol::Parameters => self.end().map(|()| match self {
                Self::Open | Self::Start | Self::Nameless => Self::Nameless,
                Self::Dots(_) | Self::Other => Self::Other,
            }),
            Symbol::Dots(more) => Ok(match self {
                Self::Open | Self::Start => Self::Dots(more),
                Self::Dots(1) if more == 1 => Self::Dots(2),
                Self::Nameless => Self::Nameless,
                Self::Dots(_) | Self::Other => Self::Other,
            }),
            // Some file systems leave out what is blank behind dots.
            Symbol::Blank => Ok(match self {
                Self::Dots(_) | Self::Nameless => self,
                Self::Open | Self::Start | Self::Other => Self::Other,
            }),
            Symbol::Other => Ok(match self {
                Self::Nameless => Self::Nameless,
                _ => Self::Other,
            }),
        }
    }

    /// Where it ends.
    fn end(self) -> Result<(), Ambiguity> {
        match self {
            Self::Dots(_) => Err(Ambiguity::DotSegment),
            Self::Open | Self::Start | Self::Nameless | Self::Other => Ok(()),
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[cfg(test)]
mod tests;
