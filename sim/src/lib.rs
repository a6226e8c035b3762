//! What simulated runs of the workload connection are made of, as far as it is pure: what is to happen, by a seed, and
//! what must hold of what was seen.
//!
//! ```text
//! seed ─► Plan: what people do, and which faults when ─► simulation (tests/sim) ─► Record ─► faults_of: what must never be
//! ```
//!
//! The simulation runs the real code of both sides, the proxy's stream and certificates and the operator's server, hub and
//! relay, with real TLS, on a network and a clock of turmoil's.

pub mod judge;
pub mod plan;
pub mod record;
