//! What is measured about the proxy's certificate and its connection to the operator.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use super::registered;

/// Metrics of the certificate and of the connection to the operator.
#[derive(Debug)]
pub struct IdentityMetrics {
    /// When the certificate in use runs out, in seconds since the epoch; 0 while there is none.
    pub not_after: IntGauge,
    /// Generation of the bundle in force; 0 while there is none.
    pub bundle: IntGauge,
    /// 1 while connected to the operator.
    pub connected: IntGauge,
    renewals: IntCounterVec,
}

impl IdentityMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| {
            registered(registry, IntGauge::new(format!("smilax_proxy_{name}"), help)?)
        };
        Ok(Self {
            not_after: gauge(
                "certificate_not_after_seconds",
                "When the certificate in use runs out, in seconds since the epoch; 0 without one",
            )?,
            bundle: gauge(
                "trust_bundle_generation",
                "Generation of the trust bundle in force; 0 without one",
            )?,
            connected: gauge("operator_connected", "1 while connected to the operator")?,
            renewals: registered(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "smilax_proxy_certificate_renewals_total",
                        "Certificates asked for, by what became of it",
                    ),
                    &["outcome"],
                )?,
            )?,
        })
    }

    /// A certificate was asked for, with an outcome of few.
    pub fn renewed(&self, outcome: &'static str) {
        self.renewals.with_label_values(&[outcome]).inc();
    }
}
