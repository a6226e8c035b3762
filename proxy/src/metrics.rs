//! What is measured. Request metrics have Istio's names and labels, since delivery tools ask for exactly these.
//!
//! Labels are formatted when a series is first used; afterwards a worker holds the series itself
//! ([`traffic::Telemetry`]).

pub mod access;
pub mod application;
pub mod endpoints;
pub mod identity;
pub mod overload;
pub mod peers;
pub mod process;
pub mod traffic;

use std::collections::HashSet;

use parking_lot::Mutex;
use prometheus::{
    Encoder as _, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};
use smilax_core::Revision;

use crate::config_source::Rejection;
use crate::settings::{Pod, Settings};

/// Distinct sets of request labels, and of splits' backends, before further ones are counted together.
const MOST_SERIES: usize = 1000;

/// Every metric of a proxy, shared by its threads.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(crate) requests: IntCounterVec,
    pub(crate) durations: HistogramVec,
    pub(crate) tcp: traffic::TcpVectors,
    splits: IntCounterVec,
    seen: Mutex<Seen>,
    /// Connections now open, by direction.
    pub open_outbound: IntGauge,
    /// See [`Self::open_outbound`].
    pub open_inbound: IntGauge,
    /// Outbound connections carried without a policy.
    pub passthrough: IntCounter,
    /// Connections closed because carrying them would have made a loop or left the pod's addresses.
    pub refused: IntCounter,
    /// Attempts to connect upstream that failed.
    pub connect_failures: IntCounter,
    /// Requests sent a second time.
    pub retries: IntCounter,
    /// Endpoints of destinations.
    pub endpoints: endpoints::EndpointMetrics,
    /// Scrapes of the application's own metrics.
    pub application: application::ApplicationMetrics,
    /// Who may call.
    pub access: access::AccessMetrics,
    config: ConfigMetrics,
    /// 0 serving, 1 draining, 2 stopping.
    pub stage: IntGauge,
    /// The certificate, and the connection to the operator.
    pub identity: identity::IdentityMetrics,
    /// Connections that ended for what they cost.
    pub overload: overload::OverloadMetrics,
    process: process::ProcessMetrics,
    pub(crate) pod: Pod,
    pub(crate) cluster_domain: String,
}

#[derive(Debug)]
struct ConfigMetrics {
    term: IntGauge,
    counter: IntGauge,
    applied: IntCounter,
    rejected: IntCounterVec,
}

#[derive(Debug, Default)]
struct Seen {
    requests: HashSet<traffic::SeriesKey>,
    splits: HashSet<[String; 3]>,
}

/// Whether a series may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// It is known, or there is room for it.
    Left,
    /// There are too many already.
    Full,
}

impl Metrics {
    /// All metrics, at zero.
    ///
    /// # Errors
    /// When a name or label is not valid, which is a mistake in this module.
    pub fn new(settings: &Settings) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let open = registered(
            &registry,
            IntGaugeVec::new(
                Opts::new(
                    "smilax_proxy_open_connections",
                    "Connections from clients that are open",
                ),
                &["direction"],
            )?,
        )?;
        let build = registered(
            &registry,
            IntGaugeVec::new(Opts::new("smilax_proxy_build_info", "Always 1"), &["version"])?,
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Self {
            requests: registered(
                &registry,
                IntCounterVec::new(
                    Opts::new("istio_requests_total", "HTTP requests that have ended"),
                    &peers::HTTP_LABELS,
                )?,
            )?,
            durations: registered(
                &registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "istio_request_duration_milliseconds",
                        "Time from the end of a request's headers to the end of its response",
                    )
                    .buckets(traffic::DURATION_BUCKETS.to_vec()),
                    &peers::HTTP_LABELS,
                )?,
            )?,
            tcp: traffic::TcpVectors::new(&registry)?,
            splits: registered(
                &registry,
                IntCounterVec::new(
                    Opts::new(
                        "smilax_split_requests_total",
                        "Requests and TCP connections that a split sent to a backend",
                    ),
                    &["split", "root", "backend"],
                )?,
            )?,
            seen: Mutex::default(),
            open_outbound: open.with_label_values(&["outbound"]),
            open_inbound: open.with_label_values(&["inbound"]),
            passthrough: counter(
                &registry,
                "passthrough_connections_total",
                "Outbound connections carried as bytes without a policy",
            )?,
            refused: counter(
                &registry,
                "refused_connections_total",
                "Connections closed because they would have looped or left the pod's addresses",
            )?,
            connect_failures: counter(
                &registry,
                "upstream_connect_failures_total",
                "Attempts to connect upstream that failed",
            )?,
            retries: counter(
                &registry,
                "retries_total",
                "Requests sent again on another connection",
            )?,
            endpoints: endpoints::EndpointMetrics::new(&registry)?,
            application: application::ApplicationMetrics::new(&registry)?,
            access: access::AccessMetrics::new(&registry)?,
            config: ConfigMetrics::new(&registry)?,
            stage: gauge(&registry, "drain_state", "0 serving, 1 draining, 2 stopping")?,
            identity: identity::IdentityMetrics::new(&registry)?,
            overload: overload::OverloadMetrics::new(&registry)?,
            process: process::ProcessMetrics::new(&registry)?,
            pod: settings.pod.clone(),
            cluster_domain: settings.cluster_domain.clone(),
            registry,
        })
    }

    /// A configuration came into force.
    pub fn config_applied(&self, revision: Revision) {
        self.config.applied.inc();
        self.config.term.set(revision.term.cast_signed());
        self.config.counter.set(revision.counter.cast_signed());
    }

    /// A configuration was refused, for a reason of few.
    pub fn config_rejected(&self, reason: &'static str) {
        self.config.rejected.with_label_values(&[reason]).inc();
    }

    /// How often a split sent something to a backend.
    pub fn split(&self, split: &str, root: &str, backend: &str) -> IntCounter {
        let key = [split.to_owned(), root.to_owned(), backend.to_owned()];
        let mut seen = self.seen.lock();
        if seen.splits.contains(&key) || seen.splits.len() < MOST_SERIES {
            seen.splits.insert(key);
            self.splits.with_label_values(&[split, root, backend])
        } else {
            self.splits.with_label_values(&[peers::OVERFLOW; 3])
        }
    }

    pub(crate) fn room_for(&self, key: traffic::SeriesKey) -> Room {
        let mut seen = self.seen.lock();
        if seen.requests.contains(&key) {
            return Room::Left;
        }
        if seen.requests.len() >= MOST_SERIES {
            return Room::Full;
        }
        seen.requests.insert(key);
        Room::Left
    }

    /// Everything, in Prometheus' text format.
    ///
    /// # Errors
    /// When a metric cannot be written, which is a mistake in this module.
    pub fn text(&self) -> Result<Vec<u8>, prometheus::Error> {
        self.process.update();
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl ConfigMetrics {
    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let revision = registered(
            registry,
            IntGaugeVec::new(
                Opts::new(
                    "smilax_proxy_config_revision",
                    "Revision of the configuration in force",
                ),
                &["part"],
            )?,
        )?;
        let rejected = registered(
            registry,
            IntCounterVec::new(
                Opts::new("smilax_proxy_config_rejected_total", "Configurations refused"),
                &["reason"],
            )?,
        )?;
        // From nothing to one is an increase only for what was nothing before.
        for reason in Rejection::REASONS {
            rejected.with_label_values(&[reason]);
        }
        Ok(Self {
            term: revision.with_label_values(&["term"]),
            counter: revision.with_label_values(&["counter"]),
            applied: counter(
                registry,
                "config_applied_total",
                "Configurations that came into force",
            )?,
            rejected,
        })
    }
}

pub(crate) fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    registered(registry, IntCounter::new(format!("smilax_proxy_{name}"), help)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    registered(registry, IntGauge::new(format!("smilax_proxy_{name}"), help)?)
}

#[cfg(test)]
mod tests;
