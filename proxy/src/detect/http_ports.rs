//! Ports of this pod that are known to speak HTTP though nobody declared them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Ports that are remembered at most, one for each remainder: a pod has few.
const SLOTS: usize = 256;
/// How long a port is remembered after its last answer.
const MEMORY: Duration = Duration::from_hours(1);

/// Ports whose server was seen to answer requests of HTTP/1, and those that kubelet probes with it. Shared by workers; no
/// look at it waits.
#[derive(Debug)]
pub struct HttpPorts {
    /// Fixed for the life of the pod.
    probed: Box<[u16]>,
    /// A port, and in the lower half until when it is remembered, in seconds.
    slots: Box<[AtomicU64]>,
    began: Instant,
}

impl HttpPorts {
    /// Only those that are probed.
    pub fn probed(ports: impl IntoIterator<Item = u16>) -> Self {
        Self {
            probed: ports.into_iter().collect(),
            slots: (0..SLOTS).map(|_| AtomicU64::new(0)).collect(),
            began: Instant::now(),
        }
    }

    /// Whether the server at this port speaks HTTP.
    pub fn knows(&self, port: u16) -> bool {
        self.probed.contains(&port) || self.remembers(port, self.began.elapsed())
    }

    /// Remembers that the server at this port has answered a request.
    pub fn remember(&self, port: u16) {
        self.remember_at(port, self.began.elapsed());
    }

    fn remembers(&self, port: u16, now: Duration) -> bool {
        let slot = self.slot(port).map_or(0, |slot| slot.load(Ordering::Relaxed));
        slot >> 32 == u64::from(port) && slot & u64::from(u32::MAX) > now.as_secs()
    }

    fn remember_at(&self, port: u16, now: Duration) {
        let until = (now + MEMORY).as_secs().min(u32::MAX.into());
        let entry = u64::from(port) << 32 | until;
        if let Some(slot) = self.slot(port)
            && slot.load(Ordering::Relaxed) != entry
        {
            slot.store(entry, Ordering::Relaxed);
        }
    }

    fn slot(&self, port: u16) -> Option<&AtomicU64> {
        self.slots.get(usize::from(port) % SLOTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s51_a_port_is_remembered_for_an_hour_after_its_last_answer() {
        let ports = HttpPorts::probed([]);
        let minutes = Duration::from_mins;
        ports.remember_at(8080, minutes(5));
        assert!(ports.remembers(8080, minutes(64)) && !ports.remembers(8080, minutes(65)));
        ports.remember_at(8080, minutes(30));
        assert!(ports.remembers(8080, minutes(89)));
        assert!(
            !ports.remembers(8080 + 256, minutes(30)),
            "another port of the same slot"
        );
        assert!(!HttpPorts::probed([]).knows(0));
    }

    #[test]
    fn s51_a_probed_port_is_known_from_the_start() {
        let ports = HttpPorts::probed([8080]);
        assert!(ports.knows(8080) && !ports.knows(8081));
    }
}
