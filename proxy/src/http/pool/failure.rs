//! What an error of a connection means for the request that was on it.

use std::error::Error;
use std::io;

use h2::Reason;

use crate::transport::ConnectError;

/// Why a connection could not be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It could not be made.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It could be made, but its server allows no requests on it.
    #[error("{0} allows no streams of HTTP/2")]
    NoStreams(std::net::SocketAddr),
    /// It could be made, but whoever is there does not speak HTTP/2.
    #[error("no HTTP/2 there: {0}")]
    Handshake(#[from] hyper::Error),
}

/// What became of a request without an answer.
#[derive(Debug)]
pub(super) enum ConnectionFailure {
    /// The server ended the connection because it does not believe who this proxy says it is.
    Disbelieved(String),
    /// The server says that it did not process the request.
    NotProcessed,
    /// The server stopped answering.
    Lost,
    /// The connection broke, or what came back is no answer.
    Broken,
}

pub(super) fn classify(error: &hyper::Error) -> ConnectionFailure {
    // A ping of HTTP/2 was not answered.
    if error.is_timeout() {
        return ConnectionFailure::Lost;
    }
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            match io.kind() {
                // Nothing but TLS calls data that came over a connection invalid; its own error is gone by here.
                io::ErrorKind::InvalidData => return ConnectionFailure::Disbelieved(io.to_string()),
                io::ErrorKind::TimedOut
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable => {
                    return ConnectionFailure::Lost;
                }
                _ => {}
            }
        }
        if cause.downcast_ref::<h2::Error>().is_some_and(is_not_processed) {
            return ConnectionFailure::NotProcessed;
        }
        source = cause.source();
    }
    ConnectionFailure::Broken
}

/// A refused stream was not processed (RFC 9113 section 8.7), nor was one that comes after the last one that a GOAWAY
/// names (section 6.8); only of those does h2 say that the server went away.
fn is_not_processed(error: &h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
}
