//! The proxy's side of the workload connection ([`smilax_core::workload_connection`]).
//!
//! ```text
//! certificate: key, token ─► POST /v1/certificate ─► chain, bundle ─► Keyring
//! stream:      facts ─► Conversation ─► POST /v1/connect ─► bundles, members, configurations
//!              uses ──► Interest ─────►                  ─► endpoints
//! ```
//!
//! Nothing that the application sends waits for any of it. It runs on the control thread.

pub mod certificate;
pub mod channel;
pub mod connect;
pub mod conversation;
pub mod interest;
pub mod outbox;
pub mod saying;
pub mod stream;
