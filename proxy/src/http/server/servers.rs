//! How connections from clients are served.

use hyper::server::conn::{http1, http2};
use hyper_util::rt::TokioTimer;

use super::unreadable::Unreadable;
use crate::http::LocalExecutor;
use crate::http::limits::{HEADER_BYTES, LIST_BYTES, MAX_HEADERS};
use crate::http::{windows, wire};

/// Bytes buffered of a connection of HTTP/1 at most.
const BUFFER_BYTES: usize = HEADER_BYTES + 4 * 1024;
/// Streams of a connection of HTTP/2 at most.
const STREAMS: u32 = 1000;
/// Bytes waiting to be sent on one stream at most.
const SEND_BUFFER: usize = 128 * 1024;

/// How connections from clients are served.
#[derive(Clone, Debug)]
pub struct Servers {
    pub(super) http1: http1::Builder,
    pub(super) http2: http2::Builder<LocalExecutor>,
    pub(super) multiplexed: http2::Builder<LocalExecutor>,
    pub(super) unreadable: Unreadable,
}

impl Servers {
    /// Servers that change nothing of what they pass on, and bound everything that they read. Names of headers are in
    /// lower case afterwards, as they always are in HTTP/2; they mean the same in any case (RFC 9110 section 5.1).
    pub fn new() -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .max_headers(MAX_HEADERS)
            .max_header_size(HEADER_BYTES)
            .max_buf_size(BUFFER_BYTES)
            // The stream notices itself what becomes of a client that has finished sending.
            .half_close(true)
            .auto_date_header(false)
            // The stream keeps the time itself: hyper would count the time between requests too.
            .header_read_timeout(None);
        let mut http2 = http2::Builder::new(LocalExecutor);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(LIST_BYTES)
            .initial_stream_window_size(windows::STREAM)
            .initial_connection_window_size(windows::CONNECTION)
            .max_send_buf_size(SEND_BUFFER)
            .auto_date_header(false);
        let mut multiplexed = http2.clone();
        multiplexed
            .max_concurrent_streams(windows::STREAMS)
            .max_pending_accept_reset_streams(wire::RESETS)
            .max_local_error_reset_streams(wire::RESETS * 16);
        Self {
            http1,
            http2,
            multiplexed,
            unreadable: Unreadable::default(),
        }
    }
}

impl Default for Servers {
    fn default() -> Self {
        Self::new()
    }
}
