//! What is counted of proxies' connections.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Counters and gauges. Clones share their values.
#[derive(Clone, Debug)]
pub struct WorkloadMetrics {
    pub(super) certificates: IntCounterVec,
    pub(super) connected: IntGauge,
    pub(super) handshakes: IntCounterVec,
    pub(super) rejected: IntCounterVec,
    pub(super) relayed: IntGauge,
}

impl WorkloadMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, label: &str| {
            let counter = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let connected = IntGauge::new(
            "smilax_operator_connected_proxies",
            "Proxies whose stream ends in this process.",
        )?;
        registry.register(Box::new(connected.clone()))?;
        let relayed = IntGauge::new(
            "smilax_operator_relay_connected",
            "1 while this replica tells the one that leads what its proxies acknowledge; 0 on the one that leads.",
        )?;
        registry.register(Box::new(relayed.clone()))?;
        Ok(Self {
            certificates: counter(
                "smilax_operator_certificate_requests_total",
                "Requests for a certificate, by outcome: issued, or why not.",
                "outcome",
            )?,
            connected,
            handshakes: counter(
                "smilax_operator_workload_handshakes_total",
                "TLS handshakes on the workload port, by outcome.",
                "outcome",
            )?,
            rejected: counter(
                "smilax_operator_proxy_rejections_total",
                "What proxies did not take into force, by subject.",
                "subject",
            )?,
            relayed,
        })
    }
}
