//! Faults between the operator and a real API server. `make chaos` runs all of it; docs/faults.md says what came out.
//!
//! ```text
//! scenario ──► API server ◄── apifault ◄── operator
//!                  │             └ a plan delays, cuts, repeats, refuses, kills
//!                  └─► snapshot, compared with that of a run without faults
//! ```
//!
//! It runs in a network namespace of its own (`chaos/run`), so that its ports are nobody else's.

pub mod api;
pub mod apifault;
pub mod call;
pub mod experiments;
pub mod fault;
pub mod lines;
pub mod objects;
pub mod outcome;
pub mod process;
pub mod scenario;
pub mod session;
pub mod snapshot;
pub mod world;
