//! Policies too long to be kept as text.
//!
//! A ConfigMap holds about a mebibyte. A longer policy is kept compressed (gzip, RFC 1952), under a key of its own;
//! what does not fit then either is not kept at all, and that is told. Nothing is ever cut.

use std::io::{Read, Write as _};

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;

/// Bytes that the value of a ConfigMap's key may have. Its whole object may have a mebibyte, so this leaves room for
/// the rest of it.
pub const MOST_STORED: usize = 900 * 1024;
/// Bytes that a policy may have as text. Whoever reads a packed one stops there.
pub const MOST_TEXT: usize = 16 * 1024 * 1024;
/// Bytes of a text of which nobody knows yet who wrote it.
pub const MOST_BEGINNING: u64 = 16 * 1024;
/// First bytes of what is packed. No JSON text begins so.
const MAGIC: [u8; 2] = [0x1f, 0x8b];

/// How a policy is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// As text.
    Plain,
    /// Compressed.
    Packed(Vec<u8>),
}

/// A policy that cannot be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it has {text} bytes, {packed} when compressed; at most {MOST_TEXT} bytes, {MOST_STORED} when compressed, can be kept"
)]
pub struct TooLarge {
    /// Bytes as text.
    pub text: usize,
    /// Bytes when compressed.
    pub packed: usize,
}

/// Why packed bytes cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnpackError {
    /// Damaged, or cut short.
    #[error("what is compressed is damaged: {0}")]
    Damaged(String),
    /// Something follows it.
    #[error("something follows what is compressed")]
    Trailing,
    /// Longer than any policy.
    #[error("it has more than {MOST_TEXT} bytes when decompressed")]
    TooLong,
}

/// Whether a policy is too long to be kept as text.
pub fn is_long(policy: &str) -> bool {
    policy.len() > MOST_STORED
}

/// How a policy is kept.
///
/// # Errors
/// When it does not fit even compressed.
pub fn form(policy: &str) -> Result<Form, TooLarge> {
    if !is_long(policy) {
        return Ok(Form::Plain);
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail; if it did, nothing of it is kept.
    let packed = encoder
        .write_all(policy.as_bytes())
        .and_then(|()| encoder.finish());
    match packed {
        Ok(packed) if packed.len() <= MOST_STORED && policy.len() <= MOST_TEXT => Ok(Form::Packed(packed)),
        packed => Err(TooLarge {
            text: policy.len(),
            packed: packed.map_or(usize::MAX, |packed| packed.len()),
        }),
    }
}

/// Whether these bytes are packed.
pub fn is_packed(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// The text of packed bytes, all of them, and never more than [`MOST_TEXT`].
///
/// # Errors
/// When they are no policy that was packed here.
pub fn unpack(packed: &[u8]) -> Result<Vec<u8>, UnpackError> {
    let mut decoder = GzDecoder::new(packed);
    let mut text = Vec::new();
    let limit = u64::try_from(MOST_TEXT).unwrap_or(u64::MAX);
    decoder
        .by_ref()
        .take(limit.saturating_add(1))
        .read_to_end(&mut text)
        .map_err(|error| UnpackError::Damaged(error.to_string()))?;
    if text.len() > MOST_TEXT {
        return Err(UnpackError::TooLong);
    }
    if !decoder.into_inner().is_empty() {
        return Err(UnpackError::Trailing);
    }
    Ok(text)
}

/// The beginning of the text of packed bytes, of which at most [`MOST_BEGINNING`] bytes are unpacked. It ends early where
/// they are damaged.
pub fn beginning(packed: &[u8]) -> impl Read {
    GzDecoder::new(packed).take(MOST_BEGINNING)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Text that does not compress well: hexadecimal digits of a simple generator.
    fn noise(length: usize) -> String {
        let mut state = 1_u64;
        let digits = std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            char::from_digit(u32::try_from(state >> 40 & 0xf).unwrap(), 16).unwrap()
        });
        digits.take(length).collect()
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_fits_stays_text() {
        assert_eq!(form(&"x".repeat(MOST_STORED)), Ok(Form::Plain));
    }

    #[test]
    fn f15_what_is_longer_is_packed_and_comes_back_as_it_was() {
        let policy = noise(MOST_STORED + 1);
        let Ok(Form::Packed(packed)) = form(&policy) else {
            panic!("it fits when compressed")
        };
        assert!(is_packed(&packed) && packed.len() <= MOST_STORED);
        assert_eq!(unpack(&packed).unwrap(), policy.as_bytes());
    }

    #[test]
    fn equal_policies_pack_to_equal_bytes() {
        let policy = noise(MOST_STORED + 1);
        assert_eq!(form(&policy), form(&policy));
    }

    #[test]
    fn f15_what_fits_in_no_way_is_told_with_its_sizes() {
        let error = form(&noise(4 * 1024 * 1024)).unwrap_err();
        assert!(
            error.packed > MOST_STORED && error.text == 4 * 1024 * 1024,
            "{error}"
        );
        // This compresses to almost nothing, but no proxy would read it.
        assert!(form(&" ".repeat(MOST_TEXT + 1)).is_err());
    }

    #[test]
    fn f15_a_decompression_bomb_ends_at_the_limit() {
        let bomb = gzip(&vec![b' '; MOST_TEXT + 1]);
        assert!(bomb.len() < 64 * 1024);
        assert_eq!(unpack(&bomb), Err(UnpackError::TooLong));
        assert_eq!(unpack(&gzip(&vec![b' '; MOST_TEXT])).unwrap().len(), MOST_TEXT);
    }

    #[test]
    fn s27_of_a_decompression_bomb_only_the_beginning_is_unpacked() {
        let bomb = gzip(&vec![b' '; MOST_TEXT]);
        let mut text = Vec::new();
        beginning(&bomb).read_to_end(&mut text).unwrap();
        assert_eq!(u64::try_from(text.len()).unwrap(), MOST_BEGINNING);
    }

    #[test]
    fn what_is_damaged_cut_or_continued_is_refused() {
        let packed = gzip(b"{}");
        for cut in 0..packed.len() {
            assert!(unpack(&packed[..cut]).is_err(), "cut at {cut}");
        }
        let mut damaged = packed.clone();
        let checksum = damaged.len() - 8;
        damaged[checksum] ^= 1;
        assert!(matches!(unpack(&damaged), Err(UnpackError::Damaged(_))));
        assert_eq!(
            unpack(&[packed, b"x".to_vec()].concat()),
            Err(UnpackError::Trailing)
        );
    }

    #[test]
    fn no_json_looks_packed() {
        assert!(!is_packed(b"{}") && !is_packed(b""));
    }
}
