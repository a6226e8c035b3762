//! How much there is room for, by the memory that this container may use.

use std::fs;

use smilax_core::admission::Caps;

/// Memory for each inbound connection. One in use takes a tenth to a fifth of it; the rest is for what it carries, for
/// connections to the application, and for everything else.
const CONNECTION_BYTES: u64 = 128 * 1024;
/// Fewest and most inbound connections that are chosen without being asked for.
const CONNECTIONS: [u64; 2] = [256, 16_384];
/// Connections from the application for each inbound one: it is no stranger.
const OUTBOUND: usize = 4;
/// Where there is no limit, as much as if it were this.
const UNLIMITED: u64 = 1024 * 1024 * 1024;

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections to the application.
    pub inbound: Caps,
    /// Connections from it.
    pub outbound: Caps,
    /// Bytes of responses held for clients that have not taken them yet.
    pub held_bytes: usize,
}

impl Capacity {
    /// By the memory limit of this container.
    #[must_use]
    pub fn by_memory_limit() -> Self {
        let read = |file| fs::read_to_string(file).ok();
        let limit = read("/sys/fs/cgroup/memory.max")
            .or_else(|| read("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
            .and_then(|text| text.trim().parse().ok());
        Self::of(limit)
    }

    /// By so many bytes; `None` without a limit.
    #[must_use]
    pub fn of(memory: Option<u64>) -> Self {
        // Without a limit, cgroup v1 says a number that is larger than any machine.
        let memory = memory.filter(|bytes| *bytes < 1 << 60).unwrap_or(UNLIMITED);
        let within = |value: u64, [least, most]: [u64; 2]| {
            usize::try_from(value.clamp(least, most)).unwrap_or(usize::MAX)
        };
        Self::of_connections(
            within(memory / CONNECTION_BYTES, CONNECTIONS),
            // Not bounded unless asked for: what is held for the application counts too, and one that reads slowly would
            // have its callers turned away.
            usize::MAX,
        )
    }

    /// The same with what was asked for; 0 is what there is already.
    #[must_use]
    pub fn with(self, inbound: usize, held_bytes: usize) -> Self {
        let or = |asked: usize, present| if asked == 0 { present } else { asked };
        Self::of_connections(or(inbound, self.inbound.all), or(held_bytes, self.held_bytes))
    }

    /// Room for so many inbound connections, and as many bytes held. One source may have all of them: an ingress is one, and
    /// whoever comes when there is no place left takes that of the source that has most.
    #[must_use]
    pub fn of_connections(inbound: usize, held_bytes: usize) -> Self {
        let outbound = inbound.saturating_mul(OUTBOUND);
        Self {
            inbound: Caps {
                all: inbound,
                of_one: inbound,
            },
            outbound: Caps {
                all: outbound,
                of_one: outbound,
            },
            held_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn s6_a_sidecar_with_the_charts_limit_takes_two_thousand_connections() {
        let capacity = Capacity::of(Some(256 * MIB));
        assert_eq!((capacity.inbound.all, capacity.inbound.of_one), (2048, 2048));
        assert_eq!(capacity.outbound.all, 8192);
    }

    #[test]
    fn s6_what_is_asked_for_comes_before_memory() {
        let capacity = Capacity::of(Some(256 * MIB));
        assert_eq!(capacity.with(0, 0), capacity);
        assert_eq!(
            capacity.with(10_000, 0).inbound,
            Caps {
                all: 10_000,
                of_one: 10_000
            }
        );
        assert_eq!(capacity.with(0, 4096).held_bytes, 4096);
    }

    #[test]
    fn s6_room_grows_with_memory_within_bounds() {
        let rooms = [0, 64, 256, 1024, 100_000].map(|mib| Capacity::of(Some(mib * MIB)).inbound.all);
        assert_eq!(rooms, [256, 512, 2048, 8192, 16_384]);
        let unlimited = Capacity::of(None);
        assert_eq!(unlimited, Capacity::of(Some(1024 * MIB)));
        assert_eq!(unlimited, Capacity::of(Some(i64::MAX as u64 / 4096 * 4096)));
    }
}
