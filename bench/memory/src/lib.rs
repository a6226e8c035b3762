//! What a sidecar keeps in memory as the mesh around it grows, and what the operator sends to it.
//!
//! ```text
//!                              ┌ network namespace of a pod ─────────────┐
//! API server ──► operator ◄════╪═══ smilax-proxy run ◄─ redirect ◄─ calls │
//!                 servers ◄────╪────────┘                                 │
//!                              └──────────────────────────────────────────┘
//! ```
//!
//! Everything runs in a network namespace of its own, without a way out of it (`bench/memory/run`).

pub mod calls;
pub mod measure;
pub mod mesh;
pub mod pod;
pub mod report;
pub mod servers;
