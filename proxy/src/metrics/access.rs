//! What was decided about calls, and who calls without proving who it is.

use std::collections::HashSet;
use std::net::IpAddr;

use parking_lot::Mutex;
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::peers::OVERFLOW;
use super::registered;

/// Callers that are told apart at most.
const MOST_CALLERS: usize = 500;
/// Addresses that are told apart at most.
const MOST_ADDRESSES: usize = 200;

/// Metrics of who may call, and of how they prove who they are.
#[derive(Debug)]
pub struct AccessMetrics {
    decisions: IntCounterVec,
    plaintext: IntCounterVec,
    failures: IntCounterVec,
    callers: Mutex<HashSet<Box<str>>>,
    addresses: Mutex<HashSet<IpAddr>>,
}

impl AccessMetrics {
    pub(super) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let vector = |name: &str, help: &str, labels: &[&str]| {
            registered(
                registry,
                IntCounterVec::new(Opts::new(format!("smilax_proxy_{name}"), help), labels)?,
            )
        };
        Ok(Self {
            decisions: vector(
                "access_decisions_total",
                "Decisions about calls to this pod: requests, and connections that are carried as bytes",
                &["decision", "reason", "source"],
            )?,
            plaintext: vector(
                "plaintext_connections_total",
                "Connections to this pod from clients that prove no identity, by address",
                &["source", "outcome"],
            )?,
            failures: vector(
                "tls_failures_total",
                "Connections between proxies that could not be secured, and were given up",
                &["direction", "reason"],
            )?,
            callers: Mutex::default(),
            addresses: Mutex::default(),
        })
    }

    /// Decisions of this kind about this caller.
    pub(crate) fn decision(&self, decision: &str, reason: &str, source: &str) -> IntCounter {
        let known = {
            let mut callers = self.callers.lock();
            callers.contains(source) || callers.len() < MOST_CALLERS && callers.insert(source.into())
        };
        let source = if known { source } else { OVERFLOW };
        self.decisions.with_label_values(&[decision, reason, source])
    }

    /// A connection that proves no identity was let in or not.
    pub(crate) fn plaintext(&self, source: IpAddr, outcome: &str) {
        let known = {
            let mut addresses = self.addresses.lock();
            addresses.contains(&source) || addresses.len() < MOST_ADDRESSES && addresses.insert(source)
        };
        if known {
            let source = source.to_string();
            self.plaintext.with_label_values(&[&source, outcome]).inc();
        } else {
            self.plaintext.with_label_values(&[OVERFLOW, outcome]).inc();
        }
    }

    /// A connection between proxies could not be secured.
    pub(crate) fn tls_failure(&self, direction: &str, reason: &str) {
        self.failures.with_label_values(&[direction, reason]).inc();
    }
}
