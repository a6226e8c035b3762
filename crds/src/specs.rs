//! `HTTPRouteGroup`, `TCPRoute` and `UDPRoute`: names for kinds of traffic, which splits and targets refer to.

mod headers;
mod http;
mod ports;
pub mod v1alpha1;
pub mod v1alpha3;

pub use headers::{HeaderMatch, Headers, InvalidHeaders};
pub use http::{HTTPRouteGroup, HTTPRouteGroupSpec, HttpMatch, MAX_HEADERS, MAX_MATCHES, METHODS};
pub use ports::{PortMatch, PortRouteSpec, TCPRoute, UDPRoute};

/// API group of the routes.
pub const GROUP: &str = "specs.smi-spec.io";
