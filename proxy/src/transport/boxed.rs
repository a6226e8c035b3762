//! Streams of any kind behind one type.

use tokio::io::{AsyncRead, AsyncWrite};

/// What a [`BoxedStream`] may be.
pub(crate) trait AnyStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> AnyStream for S {}

/// A stream of any kind. Probes and scrapes use it: a client of HTTP for each kind of stream takes some fifty kilobytes of
/// the program, and a call through a table costs nothing where one request is sent in seconds.
pub(crate) type BoxedStream = Box<dyn AnyStream>;
