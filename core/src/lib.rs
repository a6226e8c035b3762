//! The model of the mesh: what a proxy is told, and how it decides.
//!
//! ```text
//! ProxyConfig (JSON, additive) ──decode──► ──RouteTable::lower──► RouteTable (immutable)
//!                                                                   │
//!   original destination ──► PortRoutes ──select(request)──► Route ──Weights::choose──► Backend
//!   caller, port ──► Standing ──decide(request)──► Decision                      (on the called side: [`access`])
//! ```
//!
//! The same code answers for the proxy on each request and for the command line offline, so nothing here
//! does IO, reads a clock, starts a task or knows a Kubernetes kind.

pub mod access;
pub mod admission;
pub mod application_metrics;
pub mod balance;
pub mod choice;
pub mod config;
pub mod convention;
pub mod endpoints;
pub mod expected;
pub mod grpc;
pub mod hex;
pub mod host;
pub mod identity;
pub mod log_filter;
pub mod log_line;
pub mod matching;
pub mod members;
pub mod name;
pub mod outlier;
pub mod packed;
pub mod path;
pub mod pattern;
pub mod pod;
pub mod probe;
pub mod quantity;
pub mod revision;
pub mod signature;
pub mod source_ranges;
pub mod spelling;
pub mod table;
pub mod workload_connection;

pub use access::AccessTable;
pub use balance::Balancer;
pub use choice::{ChoiceState, Weights};
pub use config::{DecodeError, ProxyConfig, decode};
pub use endpoints::{DestinationPortName, Endpoint, EndpointState, Found, Resource, Update};
pub use expected::ExpectedIdentity;
pub use identity::{Identity, SpiffeId, TrustDomain};
pub use log_filter::LogFilter;
pub use matching::{Matcher, RequestView};
pub use members::Members;
pub use name::{DestinationName, ObjectRef, Workload};
pub use outlier::Outcome;
pub use pod::PodView;
pub use revision::Revision;
pub use source_ranges::SourceRanges;
pub use table::{Backend, PortRoutes, Route, RouteTable, Selection};
