//! What proxies ask of the operator: certificates, and a stream that tells them whom to trust, their policy, and where
//! the pods are that they call, and by which they acknowledge (see [`smilax_core::workload_connection`]).
//!
//! ```text
//!  listener ─► TLS 1.3 ─► /v1/certificate  token ─► TokenReview ─► identity ─► Authority::sign
//!                    └──► /v1/connect      certificate ─► identity ─► stream ◄── Hub: the newest of what it follows
//!                    │                                        └─ Hello, Ack ─► Fleet
//!                    └──► /v1/fleet        another replica ─► Fleet (of the leader)
//! ```
//!
//! Everything comes from pods that nobody vouches for until their token or certificate was checked, so everything is
//! bounded: connections, handshakes, time, bytes, and how often one pod may ask.

mod accept;
mod connect;
mod crowd;
mod fleet;
mod handshakes;
mod issue;
mod limit;
mod metrics;
mod peer;
mod publish;
mod relay;
mod review;
mod route;
mod tls;
mod transport;

pub use accept::serve;
pub(crate) use fleet::said;
pub use fleet::{Fleet, FleetStore, Moment, Place, Report, Seen, Shown, forget, page as fleet_page};
pub use metrics::WorkloadMetrics;
pub use publish::Hub;
pub use relay::relay;
pub use route::Server;
pub use tls::{Contexts, TlsContext, keep_contexts};
pub use transport::{Connect, Listen, Tcp};

#[cfg(test)]
mod tests;
