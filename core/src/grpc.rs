//! Status codes of gRPC.

/// The caller may have used up what it is given.
pub const RESOURCE_EXHAUSTED: u16 = 8;
/// The server is broken.
pub const INTERNAL: u16 = 13;
/// The server cannot be reached at the moment.
pub const UNAVAILABLE: u16 = 14;
/// What a code that does not exist counts as.
const UNKNOWN: u16 = 2;
/// The highest code there is.
const MAX_CODE: u16 = 16;

/// The code in the value of a `grpc-status`. What is no code counts as UNKNOWN.
#[must_use]
pub fn parse_status(value: &[u8]) -> u16 {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|code| *code <= MAX_CODE)
        .unwrap_or(UNKNOWN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_code_counts_as_unknown() {
        for (value, code) in [
            ("0", 0),
            ("14", 14),
            ("16", 16),
            ("17", 2),
            ("-1", 2),
            ("", 2),
            ("ok", 2),
        ] {
            assert_eq!(parse_status(value.as_bytes()), code, "{value:?}");
        }
        assert_eq!(parse_status(b"\xff"), 2);
    }
}
