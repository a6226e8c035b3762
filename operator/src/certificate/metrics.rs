//! What is known of the webhooks' certificate.

use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

/// Gauges and counters. Clones share their values.
#[derive(Clone, Debug)]
pub struct CertificateMetrics {
    pub(super) not_after: IntGaugeVec,
    pub(super) missing: IntGaugeVec,
    pub(super) writes: IntCounterVec,
}

impl CertificateMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let not_after = IntGaugeVec::new(
            Opts::new(
                "smilax_webhook_certificate_expiry_timestamp_seconds",
                "When a certificate of the webhooks expires, in seconds since 1970.",
            ),
            &["certificate"],
        )?;
        let missing = IntGaugeVec::new(
            Opts::new(
                "smilax_webhook_configuration_missing",
                "1 while an object that the webhooks need is not in the cluster.",
            ),
            &["name"],
        )?;
        let writes = IntCounterVec::new(
            Opts::new(
                "smilax_webhook_certificate_writes_total",
                "Writes of the webhooks' Secret and of caBundles, by object and outcome.",
            ),
            &["name", "outcome"],
        )?;
        registry.register(Box::new(not_after.clone()))?;
        registry.register(Box::new(missing.clone()))?;
        registry.register(Box::new(writes.clone()))?;
        Ok(Self {
            not_after,
            missing,
            writes,
        })
    }
}
