//! What is counted of proxies' connections.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Counters and gauges. Clones share their values.
#[derive(Clone, Debug)]
pub struct WorkloadMetrics {
    pub(super) certificates: IntCounterVec,
    pub(super) connected: IntGauge,
    pub(super) handshakes: IntCounterVec,
    pub(super) pushed_bytes: IntCounterVec,
    pub(super) pushes: IntCounterVec,
    pub(super) rejected: IntCounterVec,
    pub(super) relayed: IntGauge,
    pub(super) subscriptions: IntGauge,
    pub(super) topics: IntGauge,
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
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            certificates: counter(
                "smilax_operator_certificate_requests_total",
                "Requests for a certificate, by outcome: issued, or why not.",
                "outcome",
            )?,
            connected: gauge(
                "smilax_operator_connected_proxies",
                "Proxies whose stream ends in this process.",
            )?,
            handshakes: counter(
                "smilax_operator_workload_handshakes_total",
                "TLS handshakes on the workload port, by outcome.",
                "outcome",
            )?,
            pushed_bytes: counter(
                "smilax_operator_pushed_bytes_total",
                "Bytes of what was handed to proxies' streams, by kind.",
                "kind",
            )?,
            pushes: counter(
                "smilax_operator_pushes_total",
                "Messages that were handed to proxies' streams, by kind.",
                "kind",
            )?,
            rejected: counter(
                "smilax_operator_proxy_rejections_total",
                "What proxies did not take into force, by subject.",
                "subject",
            )?,
            relayed: gauge(
                "smilax_operator_relay_connected",
                "1 while this replica tells the one that leads what its proxies acknowledge; 0 on the one that leads.",
            )?,
            subscriptions: gauge(
                "smilax_operator_subscriptions",
                "Topics that proxies follow, counted once for each proxy.",
            )?,
            topics: gauge(
                "smilax_operator_topics",
                "Bundles, members, policies, endpoints and addresses that some proxy of this process follows.",
            )?,
        })
    }
}
