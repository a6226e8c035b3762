//! What is measured about endpoints, and about what the operator is asked for.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use super::{counter, gauge, registered};

/// Metrics of endpoints and subscriptions.
#[derive(Debug)]
pub struct EndpointMetrics {
    /// Endpoints that are known.
    pub known: IntGauge,
    /// What the operator is asked to tell of.
    pub subscriptions: IntGauge,
    /// Endpoints that could not be reached, so that something else was tried.
    pub failed_over: IntCounter,
    /// Requests that a called proxy could not hand to its application, and that went elsewhere.
    pub handed_back: IntCounter,
    lookups: IntCounterVec,
}

impl EndpointMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            known: gauge(registry, "endpoints", "Endpoints that are known")?,
            subscriptions: gauge(
                registry,
                "subscriptions",
                "Ports and addresses that the operator is asked to tell of",
            )?,
            failed_over: counter(
                registry,
                "endpoint_failovers_total",
                "Endpoints that could not be reached, so that another or the virtual address was tried",
            )?,
            handed_back: counter(
                registry,
                "requests_handed_back_total",
                "Requests that the called proxy could not hand to its application, so that they were sent elsewhere",
            )?,
            lookups: registered(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "smilax_proxy_address_lookups_total",
                        "Connections to addresses that nothing was known of, by what was found there",
                    ),
                    &["outcome"],
                )?,
            )?,
        })
    }

    /// An unknown address was looked up, with an outcome of few.
    pub fn looked_up(&self, outcome: &'static str) {
        self.lookups.with_label_values(&[outcome]).inc();
    }
}
