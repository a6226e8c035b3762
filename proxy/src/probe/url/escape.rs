//! Percent-encoding as Go's `net/url` does it.

use super::UrlError;

/// Part of a URL that is unescaped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Only some characters may stand in it, and only those beyond ASCII may be escaped.
    Host,
    /// Path, fragment, user.
    Other,
}

/// `escape` of a path: everything but these is percent-encoded.
pub(super) fn escape(path: &[u8]) -> Vec<u8> {
    const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    let mut escaped = Vec::with_capacity(path.len());
    for &byte in path {
        if is_unreserved(byte) || b"$&+,/:;=@".contains(&byte) {
            escaped.push(byte);
        } else {
            escaped.extend([b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    escaped
}

/// `validEncoded` of a path: nothing in it has to be escaped any more.
pub(super) fn is_escaped(path: &[u8]) -> bool {
    path.iter()
        .all(|&byte| is_unreserved(byte) || b"!$&'()*+,;=:@[]%/".contains(&byte))
}

/// `unescape`.
pub(super) fn unescape(text: &[u8], part: Part) -> Result<Vec<u8>, UrlError> {
    let hex = |byte: Option<&u8>| {
        char::from(*byte?)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let mut unescaped = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, part) {
            (b'%', _) => {
                let (high, low) = hex(after.first())
                    .zip(hex(after.get(1)))
                    .ok_or(UrlError::Escape)?;
                let is_percent = (high, low) == (2, 5);
                if part == Part::Host && high < 8 && !is_percent {
                    return Err(UrlError::Escape);
                }
                unescaped.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            (byte, Part::Host) if byte.is_ascii() && !may_stand_in_host(*byte) => return Err(UrlError::Host),
            (byte, _) => unescaped.push(*byte),
        }
    }
    Ok(unescaped)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte)
}

fn may_stand_in_host(byte: u8) -> bool {
    is_unreserved(byte) || b"!$&'()*+,;=:[]<>\"".contains(&byte)
}
