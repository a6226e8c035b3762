//! Both sides of the workload connection on a simulated network and a simulated clock.
//!
//! `make sim SEEDS=2000` runs that many seeds, `make sim SEED=7` repeats one.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on fails, and what tests share is test code too"
)]

mod api;
mod cluster;
mod driver;
mod missing;
mod network;
mod policy;
mod proxy;
mod reader;
mod replica;
mod seeds;
mod stuck;
mod world;
