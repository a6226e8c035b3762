//! How soon a connection upstream is known to be lost when the other side stops answering, as a node without power does.
//!
//! ```text
//! HTTP/2 between proxies   bytes on their way stay unacknowledged for `UNACKNOWLEDGED`, or, while a response is waited
//!                          for, a ping after `PING_AFTER` of silence stays unanswered for `PING_TIMEOUT`
//! HTTP/1                   two keepalive probes of the kernel, a second apart, stay unanswered, or bytes of a small
//!                          request stay unacknowledged for `UNACKNOWLEDGED_HTTP1`
//! ```
//!
//! The first is less than 2 s, and more than 1.5 s: a node that is only paused for so long loses nothing.
//!
//! HTTP/1 has no limit on unacknowledged bytes of a large request, since the kernel counts the time in which the other side
//! does not read (a window of zero) towards it: an application that takes its time over an upload would be cut off. Proxies
//! always read what comes over HTTP/2, as its own windows bound that.

mod progress;
mod timer;

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

pub use self::progress::{Progress, Sending};
pub use self::timer::SilenceTimer;

/// How long bytes may stay unacknowledged (`TCP_USER_TIMEOUT`).
const UNACKNOWLEDGED: Duration = Duration::from_millis(1700);
/// The same for HTTP/1. The kernel lets a connection whose probes are unanswered live as long, too, and looks at each
/// probe only: with less than two seconds, a pause of 1.5 s would break it.
const UNACKNOWLEDGED_HTTP1: Duration = Duration::from_millis(2500);
/// Silence after which the other proxy is asked whether it is alive, while requests are in flight.
pub const PING_AFTER: Duration = Duration::from_millis(250);
/// How long it may take to answer.
pub const PING_TIMEOUT: Duration = Duration::from_millis(1650);
/// Bytes that the kernel takes before it sends them (`TCP_NOTSENT_LOWAT`), on either side. A ping and its answer wait
/// behind them: with the kernel's own megabytes, a long upload or download over a link of 20 Mbit/s looked like a peer that
/// is gone.
pub const UNSENT_BYTES: u32 = 128 * 1024;
/// Silence before the first probe, and time between probes. The kernel counts whole seconds.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// Probes without an answer. With one, a pause of 1.5 s would break connections.
const PROBES: u32 = 2;

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
    match silence {
        Silence::Pinged => {
            let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
            // Retransmissions every 200 ms instead of after 0.2, 0.6 and 1.4 s, so that a pause that ends just in time is
            // noticed in time.
            let _ = socket.set_tcp_thin_linear_timeouts(true);
            let _ = socket.set_tcp_notsent_lowat(UNSENT_BYTES);
        }
        Silence::Probed => {
            let probes = TcpKeepalive::new()
                .with_time(PROBE_INTERVAL)
                .with_interval(PROBE_INTERVAL)
                .with_retries(PROBES);
            let _ = socket.set_tcp_keepalive(&probes);
        }
    }
}

/// Limits how long bytes of a request of HTTP/1 may stay unacknowledged.
pub fn limit_unacknowledged(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED_HTTP1));
}

/// Takes that limit away.
pub fn unlimit_unacknowledged(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_tcp_user_timeout(None);
}

/// Gives a connection that is no longer HTTP the times of any other: its application decides how long it waits.
pub fn relax(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_tcp_keepalive(&patient_probes());
    unlimit_unacknowledged(stream);
}

/// Keepalive probes of connections whose applications decide how long they wait: one that is gone is noticed within two
/// minutes.
pub fn patient_probes() -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(Duration::from_mins(1))
        .with_interval(Duration::from_secs(20))
        .with_retries(3)
}
