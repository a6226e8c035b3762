//! Kubernetes objects in, proxy configuration and diagnostics out.
//!
//! ```text
//!  Service ─┐
//!  Split  ──┼─► Index (plain data, by namespace) ─► plan(namespace) ─► NamespacePlan: destinations, diagnostics
//!  Group  ──┘          │ what changed                      │
//!                      ▼                                   ▼
//!                 dirty namespaces             compile(workload) -> ProxyConfig
//! ```
//!
//! Everything here is pure and total: no IO, no clock, no task. Any order, repetition or loss of events that leads to
//! the same objects compiles to the same bytes. What could not be honoured is a [`Diagnostic`], never an error that
//! would keep the rest from being compiled.

pub mod callers;
pub mod compile;
pub mod diagnostic;
pub mod endpoints;
mod holders;
pub mod index;
pub mod ingest;
pub mod keys;
pub mod members;
pub mod model;
pub mod modes;
mod nearest;
mod operator;
pub mod plan;
pub mod port_names;
pub mod status;
pub mod token;

pub use callers::Callers;
pub use compile::{compile, workloads};
pub use diagnostic::{Diagnostic, FindingId, Reason, Severity};
pub use endpoints::{callers_of_address, callers_of_endpoints, endpoints, found, plaintext_only, uncallable};
pub use holders::Workloads;
pub use index::Index;
pub use members::members;
pub use modes::Modes;
pub use nearest::nearest;
pub use plan::{NamespacePlan, target_warnings};
pub use token::{NotASidecar, SidecarImages, judge_token};

#[cfg(test)]
mod testing;
