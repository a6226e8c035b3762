//! Connections that end before their clients end them.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_util::sync::CancellationToken;

use crate::connection::Connection;
use crate::tls::Peer;
use crate::worker::Shared;

/// How long the end of a certificate is waited for before looking at the clock again.
const LOOK_AT_CLOCK: Duration = Duration::from_hours(1);

/// How such a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// What is under way is finished, however long that takes.
    Gentle,
    /// It is given some time.
    Soon,
}

pub(super) async fn finish(
    served: impl Future<Output = hyper::Result<()>>,
    ending: Ending,
    limit: Duration,
) -> hyper::Result<()> {
    match ending {
        Ending::Gentle => served.await,
        Ending::Soon => tokio::time::timeout(limit, served).await.unwrap_or(Ok(())),
    }
}

/// Completes when a connection has to end for a reason that is not its client's: `gently`, because its place or its time is
/// over, or because of who is at its other end.
pub(super) async fn has_to_end(connection: &Connection, gently: &CancellationToken) -> Ending {
    let shared = &connection.worker.shared;
    tokio::select! {
        () = gently.cancelled() => Ending::Gentle,
        () = connection.admitted.end.cancelled() => Ending::Soon,
        ending = peer_is_over(shared, connection.peer().map(Arc::as_ref)) => ending,
    }
}

/// Completes when a peer's certificate has run out, or when whoever vouches for it is no longer trusted. A new
/// connection proves anew who it is.
async fn peer_is_over(shared: &Shared, peer: Option<&Peer>) -> Ending {
    let Some(peer) = peer else {
        return std::future::pending().await;
    };
    tokio::select! {
        () = runs_out(peer.not_after) => Ending::Gentle,
        () = shared.distrusts(peer) => Ending::Soon,
    }
}

/// Completes at a time in seconds since the epoch, also when the clock is set meanwhile.
async fn runs_out(at: u64) {
    loop {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let Some(left) = Duration::from_secs(at).checked_sub(now) else {
            return;
        };
        tokio::time::sleep(left.min(LOOK_AT_CLOCK)).await;
    }
}
