//! The certificate of the webhooks: made here, renewed here, published where the API server looks for it.
//!
//! ```text
//!   Secret smilax-webhook-tls ──watch──► Stored ─┬─► CertificateResolver (every replica)
//!              ▲                                 └─► plan(stored, now) ─► Plan          (pure)
//!              └───────── leader: carried out ◄───────────────────────────┘
//!                         leader: caBundle into webhook configurations and CustomResourceDefinitions
//! ```
//!
//! A new authority is announced first, beside the one in use, then signs, and the old one is forgotten last, so that
//! at no time does the API server see a certificate that it was not told to trust.

mod issue;
mod metrics;
mod plan;
mod publish;
mod resolver;
mod shell;
mod stored;

pub use issue::IssueError;
pub use metrics::CertificateMetrics;
pub use plan::{Plan, Publication, plan};
pub use publish::{Decision, Target, decide, targets};
pub use resolver::CertificateResolver;
pub use shell::{CertificateTask, run};
pub use stored::{Fault, Material, Stored};

/// Name of the Secret.
pub const SECRET: &str = "smilax-webhook-tls";
/// Service of injection and validation.
pub const WEBHOOK_SERVICE: &str = "smilax-webhook";
/// Service of conversion.
pub const CONVERSION_SERVICE: &str = smilax_crds::CONVERSION_SERVICE.0;

/// Every name under which the API server may call the webhooks.
pub fn service_names(namespace: &str, cluster_domain: &str) -> Vec<String> {
    [WEBHOOK_SERVICE, CONVERSION_SERVICE]
        .into_iter()
        .flat_map(|service| {
            [
                service.to_owned(),
                format!("{service}.{namespace}"),
                format!("{service}.{namespace}.svc"),
                format!("{service}.{namespace}.svc.{cluster_domain}"),
            ]
        })
        .collect()
}

#[cfg(test)]
mod tests;
