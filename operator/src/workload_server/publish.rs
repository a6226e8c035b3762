//! What proxies are told: each value is encoded once for all who follow it, and every stream gets the newest only. Who may not
//! call what a value is about is told addresses only.
//!
//! ```text
//! State ─ what moved ─► Hub: topic ─► frame, version ─ wakes ─► Session of each follower ─ next ─► stream
//! ```

mod concerned;
mod connection;
mod frames;
mod hub;
mod session;
mod topic;
mod value;

pub use hub::Hub;

pub(super) use connection::Connection;

#[cfg(test)]
mod tests;
