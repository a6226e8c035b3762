//! Mutual TLS: what a proxy shows, whom it believes, and what a handshake is made of.
//!
//! ```text
//! key, chain ─► Credentials ─┐
//! TrustBundle ─► Trust ──────┴─► TlsContext ─► client(wire), server() ─► handshake ─► client_of, server_of: Peer
//! ```
//!
//! A context is immutable, and replaced whole in [`TlsStore`] when the certificate or the bundle changes.

mod certificate;
mod context;
mod credentials;
pub(crate) mod der;
mod peer;
mod trust;
mod verify;

use arc_swap::ArcSwapOption;

pub use certificate::Malformed;
pub use context::{OperatorTls, TlsContext, Wire};
pub use credentials::{Credentials, CredentialsError};
pub use peer::{Peer, PeerError};
pub use trust::{Trust, TrustError};

/// The context in use; none until there are a certificate and a bundle. Workers are told of another one.
pub type TlsStore = ArcSwapOption<TlsContext>;

#[cfg(test)]
#[path = "../tests/proxy/support/authority.rs"]
pub(crate) mod testing;
