//! Flow control of HTTP/2 (RFC 9113 section 5.2).
//!
//! A stream has a window of its own and takes of that of its connection. Bytes that nobody reads keep both, so a few
//! streams whose readers pause could keep the connection's, and all others with it. The window of a connection is therefore
//! as large as those of all streams that are opened over it: whoever pauses holds up nobody else. What that may come to is
//! bounded by the requests that may be under way.

/// Streams of one connection that this proxy opens, and that it allows another proxy. There are further connections for
/// more. Fewer than 100 should not be allowed (RFC 9113 section 6.5.2).
pub const STREAMS: u32 = 100;
/// Bytes that may be on their way on one stream, between machines: 64 MB/s where an answer takes 2 ms.
pub const STREAM: u32 = 128 * 1024;
/// The same on one connection.
pub const CONNECTION: u32 = STREAMS * STREAM;
/// Bytes that the application may send on one stream. Within a pod, answers take microseconds.
pub const APPLICATION_STREAM: u32 = 32 * 1024;
/// The same on one connection.
pub const APPLICATION_CONNECTION: u32 = STREAMS * APPLICATION_STREAM;
