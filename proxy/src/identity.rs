//! Who this proxy is, and whom it trusts: kept from its start to its end, and renewed in time.
//!
//! ```text
//! state directory ─► kept ─┐                          ┌─► TlsContext ─► workers
//! operator ─► certificate ─┴─► Keyring ◄─ bundles ────┤
//!                                 │                   └─► state directory
//!                                 └─► schedule: when to ask for the next certificate
//! ```
//!
//! The key is made here, lies in the pod's memory, and is told to nobody.

pub mod kept;
pub mod key;
pub mod keyring;
pub mod memory;
pub mod renewal;
pub mod schedule;

pub use keyring::{BundleStep, Keyring};
