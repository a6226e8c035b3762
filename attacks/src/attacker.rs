//! An attacker: a process that does one thing over many connections for a few seconds, and says how much of it.

mod connections;
mod frames;
mod http1;
mod http2;
mod tls;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::figures::Tally;
use connections::Crowd;

/// No attack lasts longer, in seconds.
pub const LONGEST_SECONDS: u64 = 20;

/// What an attacker does on each of its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Asks once, and keeps the connection.
    Idle,
    /// Says nothing; connects again when the connection is closed.
    Silent,
    /// Asks for a large response over HTTP/1, and does not read it.
    NoRead,
    /// Asks for large responses on 1,000 streams of HTTP/2 between proxies, with a window of 0.
    ZeroWindow,
    /// Sends a header a byte a second.
    SlowHeaders,
    /// Sends a body a few bytes at a time to an application that does not read it.
    SlowBodies,
    /// Sends the body of an admission review a byte a second, over TLS.
    SlowReviews,
    /// Sends requests whose headers are as large as they may be.
    LargeHeaders,
    /// Sends a body in chunks of one byte.
    ChunkFlood,
    /// Opens streams of HTTP/2 and resets them at once.
    RapidReset,
    /// Sends CONTINUATION frames without end.
    ContinuationFlood,
    /// Sends SETTINGS frames and does not read what they are answered with.
    SettingsFlood,
    /// Sends a part of a TLS hello.
    TlsHalfOpen,
    /// Shakes hands and hangs up.
    TlsHandshakes,
    /// Connects and resets the connection.
    ConnectClose,
    /// Does not read what a TCP server sends.
    TcpNoRead,
    /// Does not read what a WebSocket server sends.
    WebSocketNoRead,
}

/// What an attacker is told.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// What it does.
    #[arg(long, value_enum)]
    pub method: Method,
    /// Whom it attacks.
    #[arg(long)]
    pub target: SocketAddr,
    /// Addresses that its connections come from, in turn, separated by commas; the system chooses when there are none.
    #[arg(long, value_delimiter = ',')]
    pub sources: Vec<IpAddr>,
    /// Connections at once.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=20_000))]
    pub connections: u64,
    /// Seconds until it stops.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=LONGEST_SECONDS))]
    pub seconds: u64,
    /// Folder with the identity of a mesh member: `caller.pem` and `caller.key`. Without it, the attacker shows none.
    #[arg(long)]
    pub identity: Option<PathBuf>,
}

/// Attacks until the time is over.
///
/// # Errors
/// When the identity cannot be used.
pub async fn run(options: &Options) -> anyhow::Result<Tally> {
    let number = usize::try_from(options.connections)?;
    let crowd = Arc::new(Crowd::new(
        options.target,
        options.sources.clone(),
        Duration::from_secs(options.seconds),
    ));
    let connector = |alpn: &[u8]| crate::tls::client(options.identity.as_deref(), alpn).map(tls::Connector);
    let mesh = smilax_core::convention::wire::ALPN_HTTP2;
    match options.method {
        Method::Idle => crowd.all(number, http1::idle).await,
        Method::Silent => crowd.all(number, http1::silent).await,
        Method::NoRead => crowd.all(number, http1::no_read).await,
        Method::SlowHeaders => crowd.all(number, http1::slow_headers).await,
        Method::SlowBodies => crowd.all(number, http1::slow_bodies).await,
        Method::LargeHeaders => crowd.all(number, http1::large_headers).await,
        Method::ChunkFlood => crowd.all(number, http1::chunk_flood).await,
        Method::ConnectClose => crowd.all(number, http1::connect_close).await,
        Method::TcpNoRead => crowd.all(number, http1::tcp_no_read).await,
        Method::WebSocketNoRead => crowd.all(number, http1::websocket_no_read).await,
        Method::RapidReset => crowd.all(number, http2::rapid_reset).await,
        Method::ContinuationFlood => crowd.all(number, http2::continuation_flood).await,
        Method::SettingsFlood => crowd.all(number, http2::settings_flood).await,
        Method::TlsHalfOpen => crowd.all(number, tls::half_open).await,
        Method::ZeroWindow => {
            let connector = connector(mesh)?;
            let one = move |crowd| http2::zero_window(crowd, connector.clone());
            crowd.all(number, one).await;
        }
        Method::TlsHandshakes => {
            let alpn: &[u8] = if options.identity.is_some() { mesh } else { b"h2" };
            let connector = connector(alpn)?;
            let one = move |crowd| tls::handshakes(crowd, connector.clone());
            crowd.all(number, one).await;
        }
        Method::SlowReviews => {
            let connector = connector(b"http/1.1")?;
            let one = move |crowd| tls::slow_reviews(crowd, connector.clone());
            crowd.all(number, one).await;
        }
    }
    Ok(crowd.tally())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::net::TcpListener;

    use super::*;
    use crate::application;

    const CONNECTIONS: u64 = 3;

    async fn listen() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// What an attacker does for a second to a server.
    async fn tally(method: Method, target: SocketAddr) -> Tally {
        let options = Options {
            method,
            target,
            sources: Vec::new(),
            connections: CONNECTIONS,
            seconds: 1,
            identity: None,
        };
        run(&options).await.unwrap()
    }

    /// The same to the application without a sidecar.
    async fn tally_of_http(method: Method) -> Tally {
        let ((http, address), (bytes, _)) = (listen().await, listen().await);
        tokio::spawn(application::serve(http, bytes));
        tally(method, address).await
    }

    #[tokio::test]
    async fn idle_connections_are_answered_once_and_stay() {
        let tally = tally_of_http(Method::Idle).await;
        assert_eq!((tally.opened, tally.open), (CONNECTIONS, CONNECTIONS));
        assert!(tally.received > 0, "{tally:?}");
    }

    #[tokio::test]
    async fn who_does_not_read_stays_and_receives_nothing() {
        for method in [Method::NoRead, Method::WebSocketNoRead] {
            let tally = tally_of_http(method).await;
            assert_eq!((tally.opened, tally.open), (CONNECTIONS, CONNECTIONS));
            assert_eq!(tally.received, 0);
        }
    }

    #[tokio::test]
    async fn silent_connections_come_back_when_they_are_closed() {
        let (listener, address) = listen().await;
        tokio::spawn(async move { while listener.accept().await.is_ok() {} });
        let tally = tally(Method::Silent, address).await;
        assert!(tally.opened > CONNECTIONS, "{tally:?}");
        assert_eq!((tally.sent, tally.received), (0, 0));
    }

    #[tokio::test]
    async fn floods_of_http2_are_understood_as_such_and_ended_and_come_back() {
        // A library that ends them has understood every frame before.
        for method in [Method::RapidReset, Method::ContinuationFlood] {
            let tally = tally_of_http(method).await;
            assert!(tally.opened > CONNECTIONS, "{method:?}: {tally:?}");
        }
    }

    #[tokio::test]
    async fn settings_are_sent_without_end_and_their_acknowledgements_left_unread() {
        let tally = tally_of_http(Method::SettingsFlood).await;
        assert!(tally.sent > 100_000, "{tally:?}");
    }

    #[tokio::test]
    async fn uploads_that_nobody_reads_go_on_a_little_at_a_time() {
        let tally = tally_of_http(Method::SlowBodies).await;
        assert_eq!(tally.open, CONNECTIONS);
        assert!(tally.sent > CONNECTIONS * 4096, "{tally:?}");
    }
}
