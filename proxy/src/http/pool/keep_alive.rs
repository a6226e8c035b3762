//! How long a server keeps connections that are not in use, learned from its own.
//!
//! A server may close an idle connection at any time, and a request that is sent on it at that moment is lost. Only
//! requests that may be repeated are sent again (RFC 9110 section 9.2.2), so any other takes a kept connection only
//! where its server is known to keep them for longer.
//!
//! A new connection for every such request would be safe too. It doubles the time of a small one (0.5 against 1.0 ms,
//! measured one after the other in a debug build), and at 1,000 per second would leave 60,000 sockets in `TIME_WAIT`,
//! twice the number of local ports. A server that keeps its connections costs about 80 new ones until that is known.
//! One connection upstream for each of the client's does not help between proxies, where connections of HTTP/2 carry
//! the requests of many clients.

use std::time::Duration;

use tokio::time::Instant;

/// A server that was not seen to keep a connection for this long keeps none: one that closes after each answer may take
/// a while to do so.
const SHORTEST: Duration = Duration::from_millis(100);
/// How long an early end is remembered. One that belongs to a restart must not cost new connections for long.
const MEMORY: Duration = Duration::from_secs(10);

/// What a server's idle connections have shown.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeepAlive {
    /// The longest time that one of them was seen open.
    kept: Duration,
    /// The shortest time after which the server closed one without saying so, and when it did.
    closed: Option<(Duration, Instant)>,
}

impl KeepAlive {
    /// Whether it would say anything that a connection is open after it was idle for this long.
    pub(super) fn learns_from(&self, idle: Duration) -> bool {
        idle >= SHORTEST && idle > self.kept * 3 / 2
    }

    /// A connection is open after it was idle for this long.
    pub(super) fn kept(&mut self, idle: Duration) {
        self.kept = self.kept.max(idle);
    }

    /// The server has closed a connection that was idle for this long.
    pub(super) fn closed(&mut self, idle: Duration, now: Instant) {
        self.closed = Some(match self.closed {
            Some((shortest, at)) if now - at < MEMORY && shortest < idle => (shortest, now),
            _ => (idle, now),
        });
    }

    /// A request on a connection that was idle is lost: nothing is known any more.
    pub(super) fn lost(&mut self, now: Instant) {
        self.kept = Duration::ZERO;
        self.closed(Duration::ZERO, now);
    }

    /// How long a connection may have been idle that takes a request which cannot be sent again: half of what is
    /// known, as neither clock is exact.
    pub(super) fn safe_idle(&self, now: Instant) -> Duration {
        let known = match self.closed {
            Some((shortest, at)) if now - at < MEMORY => self.kept.min(shortest),
            _ => self.kept,
        };
        if known < SHORTEST {
            Duration::ZERO
        } else {
            known / 2
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn a_server_of_which_nothing_is_known_keeps_nothing() {
        assert_eq!(KeepAlive::default().safe_idle(Instant::now()), Duration::ZERO);
    }

    #[test]
    fn half_of_what_was_seen_is_safe() {
        let mut server = KeepAlive::default();
        server.kept(millis(300));
        server.kept(millis(100));
        assert_eq!(server.safe_idle(Instant::now()), millis(150));
    }

    #[test]
    fn the_earliest_end_counts() {
        let now = Instant::now();
        let mut server = KeepAlive::default();
        server.kept(millis(300));
        server.closed(millis(150), now);
        server.closed(millis(190), now);
        assert_eq!(server.safe_idle(now), millis(75));
    }

    #[test]
    fn a_server_that_closes_after_each_answer_keeps_nothing() {
        let now = Instant::now();
        let mut server = KeepAlive::default();
        server.kept(millis(300));
        server.closed(millis(1), now);
        assert_eq!(server.safe_idle(now), Duration::ZERO);
    }

    #[test]
    fn a_lost_request_takes_away_what_was_known() {
        let now = Instant::now();
        let mut server = KeepAlive::default();
        server.kept(millis(300));
        server.lost(now);
        server.kept(millis(120));
        assert_eq!(server.safe_idle(now), Duration::ZERO);
        assert_eq!(server.safe_idle(now + MEMORY), millis(60));
    }

    #[test]
    fn an_early_end_is_forgotten() {
        let now = Instant::now();
        let mut server = KeepAlive::default();
        server.kept(millis(300));
        server.closed(millis(1), now);
        assert_eq!(server.safe_idle(now + MEMORY), millis(150));
        server.closed(millis(180), now + MEMORY);
        assert_eq!(server.safe_idle(now + MEMORY), millis(90));
    }
}
