//! What the server says about a request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Header of every answer: the server's name.
pub const NAME_HEADER: &str = "x-testapp-name";
/// Header of every answer: the pod.
pub const POD_HEADER: &str = "x-testapp-pod";
/// Header of every answer: number of the connection, counted from 1 by each server.
pub const CONNECTION_HEADER: &str = "x-testapp-connection";

/// Who a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Name given to it, such as `web-v1`.
    pub name: String,
    /// Its pod's name.
    pub pod: String,
}

/// The JSON body of an answer: the request as the application saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The server's name.
    pub name: String,
    /// Its pod.
    pub pod: String,
    /// Request method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Authority as the application saw it: `Host`, or `:authority` of HTTP/2.
    pub host: String,
    /// Headers by lower-case name; values of repeated headers in order.
    pub headers: BTreeMap<String, Vec<String>>,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2.0`.
    pub protocol: String,
    /// Whether the application itself ended TLS.
    pub tls: bool,
    /// Number of the connection.
    pub connection: u64,
    /// Address of the peer.
    pub remote: String,
    /// Bytes of the request's body.
    pub body_bytes: usize,
}

/// What a server that exits at once prints: the requests that it took and did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Requests in flight.
    pub in_flight: u64,
}
