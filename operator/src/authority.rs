//! The authority of the mesh: who signs the certificates of workloads, and whom they trust.
//!
//! ```text
//!   Secret smilax-ca ──watch──► Authority (examined) ──► every replica: signs, serves, publishes its bundle
//!          ▲                        │
//!          │                        ▼
//!          └── leader ◄── plan(authority, situation, now) ─► Step                                 (pure)
//!                           situation: what the user gave or asked for, and what every Ready pod acknowledged
//! ```
//!
//! There is a root, which is trusted, and an issuer, which signs. To change the root, the next one is announced first,
//! beside the one in use; its issuer signs once every pod trusts both; the old root is dropped once every pod has a
//! certificate of the new one. Each step is one write of the Secret, which holds all there is to know about where the
//! change stands: whoever leads goes on from there.

mod issue;
mod material;
mod metrics;
mod plan;
mod policy_signer;
mod request;
mod shell;
mod status;

pub use issue::{IssueError, Issued, Subject};
pub use material::{Authority, Given, Material};
pub use metrics::AuthorityMetrics;
pub use plan::{Blocker, Next, Patience, PodState, Request, Situation, Source, Step, Target, plan};
pub use policy_signer::PolicySigner;
pub use request::{CsrError, PublicKey};
pub use shell::{AuthorityTask, InUse, run};

/// Name of the Secret.
pub const SECRET: &str = "smilax-ca";

#[cfg(test)]
mod tests;
