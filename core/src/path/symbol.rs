//! One character of a path, as its most permissive reader would see it.

use super::Ambiguity;

/// What a character does to the segment that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symbol {
    /// It ends it.
    Slash,
    /// It resembles a slash or a backslash, which some readers would take it for.
    Separator,
    /// Parameters begin.
    Parameters,
    /// So many dots.
    Dots(u8),
    /// White space and control characters.
    Blank,
    /// Nothing.
    Other,
}

/// What a path is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// A path as it was sent.
    AsSent,
    /// What remains of one that was decoded: percent and number signs in it may have been encoded.
    Decoded,
}

/// The first character, and how many bytes it is written in. `None` at the end.
pub(super) fn first(path: &[u8], reading: Reading) -> Result<Option<(Symbol, usize)>, Ambiguity> {
    let Some(&byte) = path.first() else {
        return Ok(None);
    };
    let (value, width) = match decode_pair(path, 0) {
        None if byte == b'%' && reading == Reading::AsSent => return Err(Ambiguity::BrokenEncoding),
        None => (byte, 1),
        Some(value) => (value, 3),
    };
    if !value.is_ascii() {
        return multibyte(path, value, width).map(Some);
    }
    let symbol = match value {
        b'\\' => return Err(Ambiguity::Backslash),
        0 => return Err(Ambiguity::Nul),
        b'/' if width > 1 => return Err(Ambiguity::EncodedSlash),
        b'#' if width == 1 && reading == Reading::AsSent => return Err(Ambiguity::Fragment),
        b'/' => Symbol::Slash,
        b'.' => Symbol::Dots(1),
        b';' => Symbol::Parameters,
        0x01..=b' ' | 0x7f => Symbol::Blank,
        _ => Symbol::Other,
    };
    Ok(Some((symbol, width)))
}

/// The byte that a percent sign and two hexadecimal digits stand for.
pub(super) fn decode_pair(bytes: &[u8], percent: usize) -> Option<u8> {
    if bytes.get(percent) != Some(&b'%') {
        return None;
    }
    let digit = |offset: usize| char::from(*bytes.get(percent + offset)?).to_digit(16);
    u8::try_from(digit(1)? * 16 + digit(2)?).ok()
}

/// The bytes with every percent-encoding decoded.
pub(super) fn decode(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    while let Some((byte, width)) = first_byte(bytes) {
        out.push(byte);
        bytes = bytes.get(width..).unwrap_or_default();
    }
    out
}

/// The first byte, decoded, and how many bytes it is written in.
fn first_byte(bytes: &[u8]) -> Option<(u8, usize)> {
    match decode_pair(bytes, 0) {
        Some(byte) => Some((byte, 3)),
        None => bytes.first().map(|&byte| (byte, 1)),
    }
}

/// Bytes that follow this one in UTF-8 and its older forms (RFC 2279), and the least character that needs so many.
fn shape(lead: u8) -> (usize, u32) {
    match lead {
        0xc0..=0xdf => (1, 0x80),
        0xe0..=0xef => (2, 0x800),
        0xf0..=0xf7 => (3, 0x1_0000),
        0xf8..=0xfb => (4, 0x20_0000),
        0xfc..=0xfd => (5, 0x400_0000),
        _ => (0, 0),
    }
}

/// The first character, which is none of ASCII. Bytes that are no UTF-8 are what older encodings made of a path, and
/// mean nothing here.
fn multibyte(path: &[u8], lead: u8, lead_width: usize) -> Result<(Symbol, usize), Ambiguity> {
    let other = Ok((Symbol::Other, lead_width));
    let (following, least) = shape(lead);
    let mut value = u32::from(lead) & (0x3f >> following);
    let mut width = lead_width;
    let mut proper = following > 0;
    for _ in 0..following {
        let Some((byte, more)) = first_byte(path.get(width..).unwrap_or_default()) else {
            return other;
        };
        proper &= byte & 0xc0 == 0x80;
        value = value << 6 | u32::from(byte & 0x3f);
        width += more;
    }
    // Lenient decoders do not look whether what follows may follow: `%c0%2e` is a dot to them.
    if value < least && (proper || [0, 0x25, 0x2e, 0x2f, 0x3b, 0x5c].contains(&value)) {
        return Err(Ambiguity::Overlong);
    }
    match char::from_u32(value) {
        Some(character) if proper => Ok((resembling(character), width)),
        _ => other,
    }
}

/// What compatibility mappings (Unicode NFKC, "best fit" of Windows) make of a character.
fn resembling(character: char) -> Symbol {
    match character {
        '\u{ff0e}' | '\u{fe52}' | '\u{2024}' => Symbol::Dots(1),
        '\u{2025}' => Symbol::Dots(2),
        '\u{ff0f}' | '\u{2044}' | '\u{2215}' | '\u{29f8}' | '\u{ff3c}' | '\u{fe68}' | '\u{2216}'
        | '\u{29f5}' => Symbol::Separator,
        '\u{ff1b}' | '\u{fe54}' | '\u{37e}' => Symbol::Parameters,
        _ => Symbol::Other,
    }
}
