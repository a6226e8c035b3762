//! Connections that ended, and requests that were refused, for what they cost.

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use smilax_core::admission::Reason;

use super::registered;

/// Counts them.
#[derive(Debug)]
pub struct OverloadMetrics {
    ended: IntCounterVec,
    /// Requests that were refused.
    pub refused_requests: IntCounter,
}

impl OverloadMetrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            "smilax_proxy_overload_closed_connections_total",
            "Connections of clients closed for what they cost",
        );
        let ended = registered(registry, IntCounterVec::new(opts, &["reason"])?)?;
        for reason in ["gave_way", "refused", "idle", "stalled", "shed"] {
            ended.with_label_values(&[reason]);
        }
        let refused_requests = registered(
            registry,
            IntCounter::new(
                "smilax_proxy_overload_refused_requests_total",
                "Requests to the application refused as too much was under way",
            )?,
        )?;
        Ok(Self {
            ended,
            refused_requests,
        })
    }

    /// One lasted too long for what it did.
    pub fn swept(&self, reason: Reason) {
        self.ended(match reason {
            Reason::Idle => "idle",
            Reason::Stalled => "stalled",
            Reason::Shed => "shed",
        });
    }

    /// One ended, for a reason of few.
    pub fn ended(&self, reason: &'static str) {
        self.ended.with_label_values(&[reason]).inc();
    }
}
