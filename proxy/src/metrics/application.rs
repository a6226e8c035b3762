//! Whether the application's own metrics could be handed out with ours.

use prometheus::{IntCounterVec, Opts, Registry};

use super::registered;

/// Every outcome, so that each counts from nothing.
const OUTCOMES: [&str; 10] = [
    "merged",
    "busy",
    "query_too_long",
    "timed_out",
    "unreachable",
    "broken",
    "status",
    "format",
    "too_large",
    "malformed",
];

/// Counts them.
#[derive(Debug)]
pub struct ApplicationMetrics {
    scrapes: IntCounterVec,
}

impl ApplicationMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "smilax_proxy_application_scrapes_total",
            "Scrapes of the application's own metrics, which are served together with these",
        );
        let scrapes = registered(registry, IntCounterVec::new(opts, &["outcome"])?)?;
        for outcome in OUTCOMES {
            scrapes.with_label_values(&[outcome]);
        }
        Ok(Self { scrapes })
    }

    /// One ended like this.
    pub(crate) fn scraped(&self, outcome: &'static str) {
        self.scrapes.with_label_values(&[outcome]).inc();
    }
}
