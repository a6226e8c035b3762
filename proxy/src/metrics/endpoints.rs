//! What is measured about endpoints, and about what the operator is asked for.

use prometheus::{IntCounter, IntGauge, Registry};

use super::{counter, gauge};

/// Metrics of endpoints and subscriptions.
#[derive(Debug)]
pub struct EndpointMetrics {
    /// Endpoints that are known.
    pub known: IntGauge,
    /// What the operator is asked to tell of.
    pub subscriptions: IntGauge,
    /// Endpoints that could not be reached, so that something else was tried.
    pub failed_over: IntCounter,
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
        })
    }
}
