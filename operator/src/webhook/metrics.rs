//! What the webhooks count.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

use super::Webhook;

/// Requests and their time, by webhook. Clones share their values.
#[derive(Clone, Debug)]
pub struct WebhookMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl WebhookMetrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When the registry has metrics of these names already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests = IntCounterVec::new(
            Opts::new(
                "smilax_webhook_requests_total",
                "Requests of the API server by webhook and what was decided.",
            ),
            &["webhook", "outcome"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new("smilax_webhook_request_seconds", "Time that a decision took.").buckets(vec![
                0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
            ]),
            &["webhook"],
        )?;
        registry.register(Box::new(requests.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        Ok(Self { requests, seconds })
    }

    /// Counts one request. `outcome` is one of few constants.
    pub(super) fn observe(&self, webhook: Webhook, outcome: &'static str, time: Duration) {
        self.requests
            .with_label_values(&[webhook.as_str(), outcome])
            .inc();
        self.seconds
            .with_label_values(&[webhook.as_str()])
            .observe(time.as_secs_f64());
    }
}
