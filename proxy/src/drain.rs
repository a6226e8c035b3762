//! How a proxy ends: first it asks its callers to go elsewhere, then it finishes what it has.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where a proxy is in its life. Clones share it.
///
/// ```text
/// serving ── drain ──► draining ── stop ──► stopping
///    └────────────── stop ────────────────────▲
/// ```
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    draining: CancellationToken,
    stopping: CancellationToken,
    connections: TaskTracker,
}

/// A stage of a proxy's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// All is well.
    Serving,
    /// Callers are asked to go elsewhere; what the application sends is unaffected.
    Draining,
    /// What is under way is finished, then it ends.
    Stopping,
}

/// A proxy that could not be asked to drain.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It cannot be reached.
    #[error("the proxy cannot be reached at {0}: {1}; is it running in this pod?")]
    Unreachable(SocketAddr, io::Error),
    /// It answered something else than 200.
    #[error("the proxy answered {0:?}")]
    Refused(String),
}

impl Lifecycle {
    /// Starts draining.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Starts stopping, which drains first.
    pub fn stop(&self) {
        self.draining.cancel();
        self.stopping.cancel();
        self.connections.close();
    }

    /// The present stage.
    pub fn stage(&self) -> Stage {
        if self.stopping.is_cancelled() {
            Stage::Stopping
        } else if self.draining.is_cancelled() {
            Stage::Draining
        } else {
            Stage::Serving
        }
    }

    /// Cancelled when draining starts.
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Cancelled when stopping starts.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Counts a connection for as long as what is returned lives.
    pub fn connection(&self) -> tokio_util::task::task_tracker::TaskTrackerToken {
        self.connections.token()
    }

    /// Connections that are counted.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Returns once stopping has started and no connection is left.
    pub async fn all_connections_closed(&self) {
        self.stopping.cancelled().await;
        self.connections.wait().await;
    }
}

/// Asks the proxy of this pod to start draining. It returns as soon as the proxy has been told.
///
/// # Errors
/// [`AskError`].
pub fn ask(admin_port: u16) -> Result<(), AskError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, admin_port));
    let answer = post_drain(address).map_err(|error| AskError::Unreachable(address, error))?;
    let status = answer.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        Err(AskError::Refused(status.to_owned()))
    }
}

fn post_drain(address: SocketAddr) -> io::Result<String> {
    let limit = Duration::from_secs(2);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    stream.write_all(
        b"POST /drain HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    )?;
    let mut answer = String::new();
    stream.take(4096).read_to_string(&mut answer)?;
    Ok(answer)
}
