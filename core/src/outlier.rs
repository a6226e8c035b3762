//! Outlier detection: when an endpoint that keeps failing is ejected from balancing, and how it comes back.
//!
//! ```text
//!             consecutive failures,                    the ejection time is over,
//!             or unreachable                           and a trial request is admitted
//! Healthy ─────────────────────────────► Ejected ─────────────────────────────────────► Recovering
//!    ▲                                      ▲                                              │  │
//!    │                                      └──────────────── one failure: twice as long ──┘  │
//!    └───────────────────────────────────────────────── enough successes in a row ────────────┘
//! ```
//!
//! The state machine is pure: it reads no clock, knows one endpoint only, and takes its settings as data. Moments are
//! durations since any fixed one. [`crate::balance`] says how much of a destination is ejected already.

use std::time::Duration;

use crate::grpc;

/// When endpoints are ejected. The names are Envoy's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    /// Failures in a row that eject an endpoint.
    pub consecutive_failures: u32,
    /// Duration of the first ejection. Each further one lasts twice as long.
    pub base_ejection_time: Duration,
    /// Longest ejection. An endpoint that is healthy again gets its first request after this time at the latest.
    pub max_ejection_time: Duration,
    /// Percentage of a destination's endpoints that failures may eject, rounded up. At least one endpoint always stays,
    /// so that a request that makes every endpoint fail takes none of them away from other requests.
    pub max_ejection_percent: u8,
    /// Successes in a row after an ejection that make an endpoint healthy again.
    pub recovery_successes: u32,
}

/// What a request or connection says about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was served.
    Success,
    /// It failed, or the connection was reset: a 5xx, or UNAVAILABLE or INTERNAL of gRPC.
    Failure,
    /// The endpoint has too much to do: 429, or RESOURCE_EXHAUSTED of gRPC. Ejecting it would move the load to the others.
    Overloaded,
    /// No connection could be made, it is lost, or the proxy there cannot reach the application.
    Unreachable,
    /// The caller gave up before the response began.
    Cancelled,
    /// It says nothing about the endpoint's health, as an answer of access policy does not.
    Ignored,
}

/// Whether one more endpoint of the destination may be ejected for failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EjectionBudget {
    /// It may.
    Available,
    /// As many are ejected as may be.
    Exhausted,
}

/// Health of one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It takes requests.
    Healthy {
        /// Failures since the last success.
        consecutive_failures: u32,
    },
    /// It takes no requests until `until`.
    Ejected {
        /// End of the ejection.
        until: Duration,
        /// Ejections since it was last healthy, this one included.
        ejections: u32,
    },
    /// It takes trial requests: one at first, and one more at a time for each success.
    Recovering {
        /// Ejections since it was last healthy.
        ejections: u32,
        /// Successes since the last ejection.
        successes: u32,
        /// Trial requests without an answer.
        outstanding: u32,
    },
}

impl Default for OutlierDetection {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            base_ejection_time: Duration::from_secs(1),
            // Below 10 s, so that an endpoint that recovers has its full share within 10 s.
            max_ejection_time: Duration::from_secs(8),
            max_ejection_percent: 50,
            recovery_successes: 5,
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::Healthy {
            consecutive_failures: 0,
        }
    }
}

impl Outcome {
    /// The outcome of a response with this status; `grpc_status` is that of a response of gRPC, once it is known.
    #[must_use]
    pub fn of_response(status: u16, grpc_status: Option<u16>) -> Self {
        match (status, grpc_status) {
            (_, Some(grpc::INTERNAL | grpc::UNAVAILABLE)) | (500..=599, _) => Self::Failure,
            (_, Some(grpc::RESOURCE_EXHAUSTED)) | (429, _) => Self::Overloaded,
            _ => Self::Success,
        }
    }
}

impl OutlierDetection {
    /// Whether one more of `endpoints` may be ejected when `ejected` are.
    #[must_use]
    pub fn budget(&self, endpoints: usize, ejected: usize) -> EjectionBudget {
        let share = (endpoints * usize::from(self.max_ejection_percent)).div_ceil(100);
        if ejected < share.min(endpoints.saturating_sub(1)) {
            EjectionBudget::Available
        } else {
            EjectionBudget::Exhausted
        }
    }

    /// How long the ejection with this number lasts; the first has number 1.
    #[must_use]
    pub fn ejection_time(&self, ejection: u32) -> Duration {
        let doublings = ejection.saturating_sub(1).min(16);
        self.base_ejection_time
            .saturating_mul(1 << doublings)
            .min(self.max_ejection_time)
    }
}

impl Health {
    /// Whether the endpoint takes a request at `now`.
    #[must_use]
    pub fn admits(self, now: Duration) -> bool {
        match self {
            Self::Healthy { .. } => true,
            Self::Ejected { until, .. } => now >= until,
            Self::Recovering {
                successes,
                outstanding,
                ..
            } => outstanding <= successes,
        }
    }

    /// Whether the endpoint takes requests without limit.
    #[must_use]
    pub fn is_healthy(self) -> bool {
        matches!(self, Self::Healthy { .. })
    }

    /// Whether the endpoint is ejected at `now`.
    #[must_use]
    pub fn is_ejected(self, now: Duration) -> bool {
        matches!(self, Self::Ejected { until, .. } if now < until)
    }

    /// The health once a request was sent to the endpoint at `now`.
    #[must_use]
    pub fn admitted(self, now: Duration) -> Self {
        match self {
            Self::Ejected { until, ejections } if now >= until => Self::Recovering {
                ejections,
                successes: 0,
                outstanding: 1,
            },
            Self::Recovering {
                ejections,
                successes,
                outstanding,
            } => Self::Recovering {
                ejections,
                successes,
                outstanding: outstanding.saturating_add(1),
            },
            other => other,
        }
    }

    /// The health once a request that was sent to the endpoint is answered or given up: another trial may follow. How the
    /// response ends may be known much later, as with streams.
    #[must_use]
    pub fn settled(self) -> Self {
        match self {
            Self::Recovering {
                ejections,
                successes,
                outstanding,
            } => Self::Recovering {
                ejections,
                successes,
                outstanding: outstanding.saturating_sub(1),
            },
            other => other,
        }
    }

    /// The health after `outcome`, known at `now`.
    #[must_use]
    pub fn after(
        self,
        outcome: Outcome,
        now: Duration,
        detection: &OutlierDetection,
        budget: EjectionBudget,
    ) -> Self {
        let ejected = |ejections: u32| Self::Ejected {
            until: now + detection.ejection_time(ejections),
            ejections,
        };
        match (self, outcome) {
            (Self::Ejected { until, ejections }, Outcome::Unreachable) if now >= until => {
                ejected(ejections.saturating_add(1))
            }
            (Self::Healthy { .. }, Outcome::Unreachable) => ejected(1),
            (Self::Healthy { .. }, Outcome::Success) => Self::default(),
            (Self::Healthy { consecutive_failures }, Outcome::Failure) => {
                let consecutive_failures = consecutive_failures.saturating_add(1);
                if consecutive_failures >= detection.consecutive_failures
                    && budget == EjectionBudget::Available
                {
                    ejected(1)
                } else {
                    Self::Healthy { consecutive_failures }
                }
            }
            // What comes of requests that were sent before an ejection is no news.
            (Self::Ejected { .. }, _)
            | (Self::Healthy { .. }, Outcome::Overloaded | Outcome::Cancelled | Outcome::Ignored) => self,
            (Self::Recovering { .. }, _) => self.after_trial(outcome, detection, budget, ejected),
        }
    }

    fn after_trial(
        self,
        outcome: Outcome,
        detection: &OutlierDetection,
        budget: EjectionBudget,
        ejected: impl Fn(u32) -> Self,
    ) -> Self {
        let Self::Recovering {
            ejections,
            successes,
            outstanding,
        } = self
        else {
            return self;
        };
        let recovering = |successes| Self::Recovering {
            ejections,
            successes,
            outstanding,
        };
        match outcome {
            Outcome::Unreachable => ejected(ejections.saturating_add(1)),
            Outcome::Failure if budget == EjectionBudget::Available => ejected(ejections.saturating_add(1)),
            Outcome::Failure => recovering(0),
            Outcome::Success if successes + 1 >= detection.recovery_successes => Self::default(),
            Outcome::Success => recovering(successes + 1),
            Outcome::Overloaded | Outcome::Cancelled | Outcome::Ignored => recovering(successes),
        }
    }
}

#[cfg(test)]
mod tests;
