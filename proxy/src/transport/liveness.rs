//! How soon a connection upstream is known to be lost when the other side stops answering, as a node without power does.
//!
//! ```text
//! bytes on their way, unacknowledged    the kernel gives up after `UNACKNOWLEDGED`
//! a response is waited for, HTTP/2      a ping after `PING_AFTER` of silence, unacknowledged or unanswered
//! a response is waited for, otherwise   a keepalive probe of the kernel after a second of silence
//! ```
//!
//! Together that is less than 2 s, and more than 1.5 s: a node that is only paused for so long loses nothing.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// How long bytes may stay unacknowledged (`TCP_USER_TIMEOUT`).
const UNACKNOWLEDGED: Duration = Duration::from_millis(1700);
/// Silence after which the other proxy is asked whether it is alive, while requests are in flight.
pub const PING_AFTER: Duration = Duration::from_millis(250);
/// How long it may take to answer.
pub const PING_TIMEOUT: Duration = Duration::from_millis(1650);
/// The least that the kernel knows.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// What notices that nothing comes any more on a connection on which nothing is sent either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Pings of HTTP/2, and only while requests are in flight.
    Pinged,
    /// Keepalive probes of the kernel.
    Probed,
}

/// Sees to it that losing the other side is noticed. Where an option cannot be set, the kernel's own, longer times hold.
pub fn watch(stream: &TcpStream, silence: Silence) {
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    // Retransmissions every 200 ms instead of after 0.2, 0.6 and 1.4 s, so that a pause that ends just in time is noticed
    // in time.
    let _ = socket.set_tcp_thin_linear_timeouts(true);
    if silence == Silence::Probed {
        let probes = TcpKeepalive::new()
            .with_time(PROBE_INTERVAL)
            .with_interval(PROBE_INTERVAL);
        let _ = socket.set_tcp_keepalive(&probes);
    }
}
