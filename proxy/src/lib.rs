//! The data plane: carries a pod's connections, and sends its requests where the configuration says.
//!
//! ```text
//! mounted file ─► config_source ─► RouteTable behind an ArcSwap          (control thread: also admin, metrics, probes)
//! operator ─► identity ─► TlsContext behind another one                  (the same thread)
//!                                        │ one load per request
//!                                        ▼
//! accept ─► original_destination ─► connection ─► detect ─► http::server or tcp   (worker threads, nothing shared)
//!                                     │ where to: outbound, inbound     │
//!                                     ▼                                 ▼
//!                                   worker's choice state        http::pool ─► transport
//!                                   who calls: tls; may it: access
//! ```
//!
//! Nothing here knows Kubernetes: what a pod is, the environment says.

pub mod access;
pub mod addresses;
pub mod admin;
pub mod changes;
pub mod cli;
pub mod config_source;
pub mod connection;
pub mod control;
pub mod detect;
pub mod drain;
pub mod endpoints;
pub mod http;
pub mod identity;
pub mod inbound;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod operator_connection;
pub mod original_destination;
pub mod outbound;
pub mod overload;
pub mod pod;
pub mod probe;
pub mod redirect;
pub mod run;
pub mod scrape;
pub mod settings;
pub mod target;
pub mod tcp;
pub mod tls;
pub mod transport;
pub mod worker;
