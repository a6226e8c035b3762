//! Tells of ports where something else than HTTP is spoken though the Service says HTTP: the client sees nothing but a 400.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How often a port is told of at most.
const PERIOD: Duration = Duration::from_mins(1);
/// Ports told of in one period at most: clients choose them.
const MOST_PORTS: usize = 32;

/// When ports were last told of, by one worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Unreadable {
    told: RefCell<BTreeMap<u16, Instant>>,
}

impl Unreadable {
    pub(super) fn tell(&self, original: SocketAddr) {
        if self.is_due(original.port(), Instant::now()) {
            tracing::warn!(
                %original,
                "answered 400: what a client sent is not HTTP; if the server speaks another protocol, name the port of its Service \
                 tcp-..., or set its appProtocol"
            );
        }
    }

    fn is_due(&self, port: u16, now: Instant) -> bool {
        let mut told = self.told.borrow_mut();
        told.retain(|_, at| now.duration_since(*at) < PERIOD);
        if told.len() >= MOST_PORTS || told.contains_key(&port) {
            return false;
        }
        told.insert(port, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_told_of_once_a_minute() {
        let unreadable = Unreadable::default();
        let start = Instant::now();
        assert!(unreadable.is_due(80, start));
        assert!(!unreadable.is_due(80, start + PERIOD / 2));
        assert!(unreadable.is_due(81, start + PERIOD / 2));
        assert!(unreadable.is_due(80, start + PERIOD));
    }

    #[test]
    fn a_client_that_tries_every_port_does_not_fill_the_log() {
        let unreadable = Unreadable::default();
        let now = Instant::now();
        let told = (1..=u16::MAX)
            .filter(|port| unreadable.is_due(*port, now))
            .count();
        assert_eq!(told, MOST_PORTS);
    }
}
