//! Connections that end before their clients end them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Completes when a peer's certificate has run out, or when whoever vouches for it is no longer trusted. A new
/// connection proves anew who it is.
pub(super) async fn peer_is_over(shared: &Shared, peer: Option<&Peer>) -> Ending {
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
