//! How much there is room for, by the memory that this container may use.

use std::fs;

use smilax_core::admission::Caps;

/// Memory for each inbound connection. One in use takes a tenth to a fifth of it; the rest is for what it carries, for
/// connections to the application, and for everything else.
const CONNECTION_BYTES: u64 = 128 * 1024;
/// Fewest and most inbound connections that are chosen without being asked for.
const CONNECTIONS: [u64; 2] = [256, 16_384];
/// Parts of the memory of which one is for bytes that are held, for each of the three who get them.
const HELD_PART: u64 = 16;
/// Parts of the memory of which one is for requests under way.
const REQUESTS_PART: u64 = 8;
/// Connections from the application for each inbound one: it is no stranger.
const OUTBOUND: usize = 8;
/// Files that are not for connections.
const OWN_FILES: u64 = 512;
/// Where there is no limit, there is room for as many connections as if it were this.
const UNLIMITED: u64 = 1024 * 1024 * 1024;
/// The same for bytes, which nobody needs to keep for long.
const UNLIMITED_BYTES: u64 = 256 * 1024 * 1024;
/// Most memory that bytes are counted by: more does not make anything faster.
const MOST_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// How much there is room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Connections to the application.
    pub inbound: Caps,
    /// Connections from it.
    pub outbound: Caps,
    /// Bytes that are held for one kind of [`super::Receiver`], in all of its bodies and connections.
    pub held_bytes: usize,
    /// Bytes that requests to the application may cost while they are under way.
    pub request_bytes: usize,
}

/// What was asked for; 0 follows from memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Connections to the application.
    pub connections: usize,
    /// [`Capacity::held_bytes`].
    pub held_bytes: usize,
    /// [`Capacity::request_bytes`].
    pub request_bytes: usize,
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
        let memory = memory.filter(|bytes| *bytes < 1 << 60);
        let connections = memory.unwrap_or(UNLIMITED) / CONNECTION_BYTES;
        let bytes = memory.unwrap_or(UNLIMITED_BYTES).min(MOST_BYTES);
        let [least, most] = CONNECTIONS;
        Self::new(
            count(connections.clamp(least, most)),
            count(bytes / HELD_PART),
            count(bytes / REQUESTS_PART),
        )
    }

    /// The same with what was asked for.
    #[must_use]
    pub fn with(self, asked: Asked) -> Self {
        let or = |asked: usize, present| if asked == 0 { present } else { asked };
        Self::new(
            or(asked.connections, self.inbound.all),
            or(asked.held_bytes, self.held_bytes),
            or(asked.request_bytes, self.request_bytes),
        )
    }

    /// The same where so many files may be open. Each connection takes two, one with the client and one upstream; what
    /// remains is for configuration, the operator, metrics and probes.
    #[must_use]
    pub fn within(mut self, files: Option<u64>) -> Self {
        let Some(files) = files else {
            return self;
        };
        let most = count(files.saturating_sub(OWN_FILES) / 2).max(2);
        let all = |all| Caps { all, of_one: all };
        // Strangers come second: the application's own connections keep half at least.
        self.inbound = all(self.inbound.all.min(most / 2));
        self.outbound = all(self.outbound.all.min(most - self.inbound.all));
        self
    }

    /// Room for so many inbound connections, and for these bytes. One source may have all connections: an ingress is one, and
    /// whoever comes when there is no place left takes that of the source that has most.
    #[must_use]
    pub fn new(inbound: usize, held_bytes: usize, request_bytes: usize) -> Self {
        let all = |all| Caps { all, of_one: all };
        Self {
            inbound: all(inbound),
            outbound: all(inbound.saturating_mul(OUTBOUND)),
            held_bytes,
            request_bytes,
        }
    }
}

fn count(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    #[test]
    fn s6_a_sidecar_with_the_charts_limit_takes_two_thousand_connections() {
        let capacity = Capacity::of(Some(256 * MIB));
        assert_eq!((capacity.inbound.all, capacity.inbound.of_one), (2048, 2048));
        assert_eq!(capacity.outbound.all, 16_384);
    }

    #[test]
    fn s6_bytes_held_and_requests_are_bounded_unless_somebody_asks_for_more() {
        let mib = 1024 * 1024;
        let bytes = |memory| {
            let capacity = Capacity::of(memory);
            (capacity.held_bytes / mib, capacity.request_bytes / mib)
        };
        assert_eq!(bytes(Some(256 * MIB)), (16, 32));
        assert_eq!(bytes(None), bytes(Some(256 * MIB)));
        assert_eq!(bytes(Some(1024 * MIB)), (64, 128));
        assert_eq!(bytes(Some(64 * 1024 * MIB)), (256, 512));
    }

    #[test]
    fn s6_what_is_asked_for_comes_before_memory() {
        let capacity = Capacity::of(Some(256 * MIB));
        assert_eq!(capacity.with(Asked::default()), capacity);
        let asked = Asked {
            connections: 10_000,
            held_bytes: 4096,
            request_bytes: 8192,
        };
        assert_eq!(capacity.with(asked), Capacity::new(10_000, 4096, 8192));
    }

    #[test]
    fn s6_connections_leave_files_for_everything_else() {
        let of = |files| {
            let capacity = Capacity::of(Some(256 * MIB)).within(files);
            (capacity.inbound.all, capacity.outbound.all)
        };
        assert_eq!(of(None), (2048, 16_384));
        assert_eq!(of(Some(1_048_576)), (2048, 16_384));
        assert_eq!(of(Some(20_000)), (2048, 7696));
        assert_eq!(of(Some(1024)), (128, 128));
        assert_eq!(of(Some(0)), (1, 1));
    }

    #[test]
    fn s6_room_grows_with_memory_within_bounds() {
        let rooms = [0, 64, 256, 1024, 100_000].map(|mib| Capacity::of(Some(mib * MIB)).inbound.all);
        assert_eq!(rooms, [256, 512, 2048, 8192, 16_384]);
        let unlimited = Capacity::of(None);
        assert_eq!(unlimited.inbound, Capacity::of(Some(1024 * MIB)).inbound);
        assert_eq!(unlimited, Capacity::of(Some(i64::MAX as u64 / 4096 * 4096)));
    }
}
