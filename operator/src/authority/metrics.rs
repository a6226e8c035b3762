//! What is known of the authority.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Gauges and counters. Clones share their values.
#[derive(Clone, Debug)]
pub struct AuthorityMetrics {
    pub(super) not_after: IntGaugeVec,
    pub(super) unusable: IntGaugeVec,
    pub(super) generation: IntGauge,
    pub(super) rotation: IntGaugeVec,
    pub(super) blockers: IntGauge,
    pub(super) writes: IntCounterVec,
}

impl AuthorityMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauge = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let writes = IntCounterVec::new(
            Opts::new(
                "smilax_authority_writes_total",
                "Writes of the authority's Secret, by outcome.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(writes.clone()))?;
        Ok(Self {
            not_after: gauges(
                "smilax_authority_expiry_timestamp_seconds",
                "When the root and the issuer of the mesh expire, in seconds since 1970.",
                &["certificate"],
            )?,
            unusable: gauges(
                "smilax_authority_secret_unusable",
                "1 while a Secret of the authority cannot be used, and what was used before stays.",
                &["secret"],
            )?,
            generation: gauge(
                "smilax_authority_bundle_generation",
                "Generation of the bundle that the mesh is to trust.",
            )?,
            rotation: gauges(
                "smilax_authority_rotation_phase",
                "1 for the phase that a change of root or issuer is in.",
                &["phase"],
            )?,
            blockers: gauge(
                "smilax_authority_rotation_blockers",
                "What a change of root or issuer waits for: pods that have not acknowledged its last step.",
            )?,
            writes,
        })
    }
}
