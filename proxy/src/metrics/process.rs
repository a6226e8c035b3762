//! What the process itself uses, read from `/proc` when asked for.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{IntGauge, Registry};

use super::registered;

/// Size of a page of memory on every platform that is built for.
const PAGE_BYTES: i64 = 4096;

/// Gauges of the process, by Prometheus' usual names.
#[derive(Debug)]
pub(crate) struct ProcessMetrics {
    memory: IntGauge,
    descriptors: IntGauge,
}

impl ProcessMetrics {
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauge = |name: &str, help: &str| registered(registry, IntGauge::new(name, help)?);
        let start = gauge(
            "process_start_time_seconds",
            "Start of the process since the epoch",
        )?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        start.set(now.as_secs().cast_signed());
        Ok(Self {
            memory: gauge("process_resident_memory_bytes", "Resident memory")?,
            descriptors: gauge("process_open_fds", "Open file descriptors")?,
        })
    }

    pub(crate) fn update(&self) {
        if let Some(pages) = std::fs::read_to_string("/proc/self/statm")
            .ok()
            .as_deref()
            .and_then(resident_pages)
        {
            self.memory.set(pages * PAGE_BYTES);
        }
        if let Ok(entries) = std::fs::read_dir("/proc/self/fd") {
            self.descriptors
                .set(i64::try_from(entries.count()).unwrap_or(i64::MAX));
        }
    }
}

/// The second field of `/proc/self/statm`.
fn resident_pages(statm: &str) -> Option<i64> {
    statm.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_the_second_field() {
        assert_eq!(resident_pages("5000 1234 300 1 0 99 0\n"), Some(1234));
        assert_eq!(resident_pages(""), None);
    }
}
