//! How much of headers and trailers is taken, in either direction and over any version of HTTP.

use http::HeaderMap;

/// Headers of a message at most. Some applications keep a header for each of hundreds of items. What hyper reserves for
/// so many costs less than a tenth of a microsecond for each message.
pub const MAX_HEADERS: usize = 1000;
/// Trailers of a message at most. They wait, taken apart, until the body before them was read.
pub const MAX_TRAILERS: usize = 128;
/// Bytes of the headers of a message at most, as they stand in HTTP/1.
pub const HEADER_BYTES: usize = 64 * 1024;
/// Bytes of a request's target at most, over HTTP/1 with its method: the most for which there is room in
/// [`HEADER_BYTES`] beside a Host.
pub const TARGET_BYTES: usize = 63 * 1024;
/// What a request costs while it is under way, beside its headers: the tasks that carry it, and the connection to the
/// application with its buffers.
const REQUEST_BYTES: usize = 32 * 1024;
/// Headers that [`REQUEST_BYTES`] has room for.
const FEW_HEADERS: usize = 64;
/// Bytes of memory that a header takes beside its own, in the libraries that take it apart.
pub const HEADER_MEMORY: usize = 96;
/// Headers that proxies add for each other at most.
const OURS: usize = 16;
/// What HTTP/1 puts around a header: a colon, a space, and the end of its line.
const AROUND: usize = 4;
/// What HTTP/2 adds to the size of each header (RFC 9113 section 6.5.2).
const ENTRY: usize = 32;

/// What h2 takes of headers, by its own measure: more than what is taken, which is refused here, and more than what a
/// block of headers that [`crate::transport::Http2Stream`] lets pass comes to. Of trailers it cuts off the rest.
#[expect(clippy::cast_possible_truncation, reason = "it is less than a megabyte")]
pub const LIST_BYTES: u32 = (4 * (HEADER_BYTES + MAX_HEADERS * ENTRY)) as u32;

/// Who sent a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// An application.
    Application,
    /// Another proxy, with what it adds.
    Proxy,
}

/// There are too many headers, or they are too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooLarge {
    /// Too many.
    #[error("{0} headers are more than {MAX_HEADERS}")]
    Headers(usize),
    /// Too many trailers.
    #[error("{0} trailers are more than {MAX_TRAILERS}")]
    Trailers(usize),
    /// Too large.
    #[error("{0} bytes of headers are more than {HEADER_BYTES}")]
    Bytes(usize),
}

/// Whether these are taken.
///
/// # Errors
/// [`TooLarge`].
pub fn check(headers: &HeaderMap, sender: Sender) -> Result<(), TooLarge> {
    let (more, larger) = match sender {
        Sender::Application => (0, 0),
        Sender::Proxy => (OURS, HEADER_BYTES),
    };
    if headers.len() > MAX_HEADERS + more {
        return Err(TooLarge::Headers(headers.len()));
    }
    let bytes = bytes(headers);
    if bytes > HEADER_BYTES + larger {
        return Err(TooLarge::Bytes(bytes));
    }
    Ok(())
}

/// Whether these trailers are taken.
///
/// # Errors
/// [`TooLarge`].
pub fn check_trailers(trailers: &HeaderMap) -> Result<(), TooLarge> {
    if trailers.len() > MAX_TRAILERS {
        return Err(TooLarge::Trailers(trailers.len()));
    }
    check(trailers, Sender::Proxy)
}

/// Bytes of memory that a request with these headers costs while it is under way. Its headers are there twice: as they
/// were taken apart, and as they are put together again.
pub fn cost(headers: &HeaderMap) -> usize {
    REQUEST_BYTES + 2 * bytes(headers) + headers.len().saturating_sub(FEW_HEADERS) * HEADER_MEMORY
}

fn bytes(headers: &HeaderMap) -> usize {
    headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + AROUND)
        .sum()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(count: usize, length: usize) -> HeaderMap {
        let value = HeaderValue::from_bytes(&vec![b'x'; length]).unwrap();
        let mut headers = HeaderMap::new();
        for _ in 0..count {
            headers.append("x", value.clone());
        }
        headers
    }

    #[test]
    fn a_thousand_headers_are_taken_and_no_more() {
        assert_eq!(check(&headers(MAX_HEADERS, 1), Sender::Application), Ok(()));
        let more = check(&headers(MAX_HEADERS + 1, 1), Sender::Application);
        assert_eq!(more, Err(TooLarge::Headers(MAX_HEADERS + 1)));
        assert_eq!(check(&headers(MAX_HEADERS + 3, 1), Sender::Proxy), Ok(()));
    }

    #[test]
    fn a_header_may_be_large_and_not_larger() {
        let around = 1 + AROUND;
        assert_eq!(
            check(&headers(1, HEADER_BYTES - around), Sender::Application),
            Ok(())
        );
        let larger = check(&headers(1, HEADER_BYTES - around + 1), Sender::Application);
        assert_eq!(larger, Err(TooLarge::Bytes(HEADER_BYTES + 1)));
    }
}
