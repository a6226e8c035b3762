//! How long a change takes until thousands of proxies know of it, and what that costs the operator.
//!
//! ```text
//! experiment ──► API server ──► operator ══ streams ══╦═► clients ──► board ──► experiment
//!                                                     ╚═► whole proxies ──► their logs ──┘
//! ```
//!
//! It runs in a network namespace of its own (`bench/scale/run`).

pub mod board;
pub mod churn;
pub mod client;
pub mod experiment;
pub mod lag;
pub mod making;
pub mod mesh;
pub mod process;
pub mod report;
pub mod usage;
pub mod whole;
