//! What the operator counts.

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// Every metric of the controller. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Where they are registered.
    pub registry: Registry,
    /// Watch events by kind.
    pub watch_events: IntCounterVec,
    /// Watch failures by kind.
    pub watch_errors: IntCounterVec,
    /// Writes by kind and outcome.
    pub writes: IntCounterVec,
    /// ConfigMaps that were found written by somebody else.
    pub tampered: IntCounter,
    /// Time of one pass of the compiler over what changed.
    pub compile_seconds: Histogram,
    /// Time from the write of a configuration to each acknowledgement.
    pub acknowledgement_seconds: Histogram,
    /// Statuses that wait because only a count differs, or for their turn.
    pub statuses_waiting: IntGauge,
    /// Namespaces that the last pass compiled.
    pub dirty_namespaces: IntGauge,
    /// What is kept in memory, by what it is.
    pub kept: IntGaugeVec,
    /// Whether this process leads.
    pub leader: IntGauge,
    /// Running pods with a proxy.
    pub injected_pods: IntGauge,
    /// Running pods that should have a proxy and have none.
    pub uninjected_pods: IntGauge,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When a name is taken twice, which a test excludes.
    pub fn new(registry: Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let buckets = vec![0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0];
        let compile_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "smilax_operator_compile_seconds",
                "Time of one pass of the compiler over what changed.",
            )
            .buckets(buckets),
        )?;
        registry.register(Box::new(compile_seconds.clone()))?;
        // From what a stream needs to what kubelet takes.
        let buckets = vec![
            0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 120.0,
        ];
        let acknowledgement_seconds = Histogram::with_opts(
            HistogramOpts::new(
                "smilax_operator_acknowledgement_seconds",
                "Time from the write of a configuration until a proxy said that it is in force; on the leader.",
            )
            .buckets(buckets),
        )?;
        registry.register(Box::new(acknowledgement_seconds.clone()))?;
        let tampered = IntCounter::new(
            "smilax_operator_tampered_configurations_total",
            "ConfigMaps of configurations that were found written by somebody else, and written again; on the leader.",
        )?;
        registry.register(Box::new(tampered.clone()))?;
        let kept = IntGaugeVec::new(
            Opts::new(
                "smilax_operator_kept",
                "What is kept in memory, by what it is; on the leader.",
            ),
            &["what"],
        )?;
        registry.register(Box::new(kept.clone()))?;
        Ok(Self {
            acknowledgement_seconds,
            dirty_namespaces: gauge(
                "smilax_operator_dirty_namespaces",
                "Namespaces that the last pass compiled; on the leader.",
            )?,
            kept,
            tampered,
            statuses_waiting: gauge(
                "smilax_operator_statuses_waiting",
                "Statuses that wait: for the end of their minute, when only the count of proxies changed, or for their turn.",
            )?,
            watch_events: counter(
                "smilax_operator_watch_events_total",
                "Watch events by kind.",
                &["kind"],
            )?,
            watch_errors: counter(
                "smilax_operator_watch_errors_total",
                "Watch failures by kind.",
                &["kind"],
            )?,
            writes: counter(
                "smilax_operator_writes_total",
                "API writes by kind and outcome.",
                &["kind", "outcome"],
            )?,
            leader: gauge("smilax_operator_leader", "1 while this process leads.")?,
            injected_pods: gauge("smilax_injected_pods", "Running pods with a proxy.")?,
            uninjected_pods: gauge(
                "smilax_uninjected_pods",
                "Running pods that should have a proxy and have none.",
            )?,
            compile_seconds,
            registry,
        })
    }

    /// Everything in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut buffer = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut buffer) {
            Ok(()) => String::from_utf8(buffer).unwrap_or_default(),
            Err(error) => format!("# {error}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_registered_once_and_shown() {
        let metrics = Metrics::new(Registry::new()).unwrap();
        metrics.leader.set(1);
        assert!(metrics.text().contains("smilax_operator_leader 1"));
    }
}
