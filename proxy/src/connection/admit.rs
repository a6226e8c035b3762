//! Which place a connection has, and what it costs.

use std::net::SocketAddr;
use std::sync::Arc;

use smilax_core::admission::Activity;
use tokio_util::sync::CancellationToken;

use super::Direction;
use crate::metrics::overload::OverloadMetrics;
use crate::overload::{Admitted, Costs, Overload, Receiver};
use crate::worker::Worker;

/// Gives a connection a place, for which another may have to end.
pub(super) fn admit(worker: &Worker, direction: Direction, client: SocketAddr) -> Option<Arc<Admitted>> {
    let (overload, metrics) = (&worker.shared.overload, &worker.shared.metrics.overload);
    let admissions = match direction {
        Direction::Outbound => &overload.outbound,
        Direction::Inbound => &overload.inbound,
    };
    let (activity, end) = (Activity::new(), CancellationToken::new());
    let Some((place, gives_way)) = admissions.enter(client.ip(), &activity, end.clone()) else {
        metrics.ended("refused");
        return None;
    };
    if let Some(other) = gives_way {
        metrics.ended("gave_way");
        other.cancel();
    }
    Some(Admitted::new(
        activity,
        end,
        costs(overload, metrics, direction),
        place,
    ))
}

fn costs(overload: &Overload, metrics: &OverloadMetrics, direction: Direction) -> Costs {
    let (requests_to, responses_to, load) = match direction {
        // The application is no stranger: how much it asks for is its own affair.
        Direction::Outbound => (Receiver::Server, Receiver::Application, None),
        Direction::Inbound => (
            Receiver::Application,
            Receiver::Client,
            Some(Arc::clone(&overload.load)),
        ),
    };
    Costs {
        budgets: Arc::clone(&overload.budgets),
        requests_to,
        responses_to,
        load,
        large_heads: Arc::clone(&overload.large_heads),
        refused: metrics.refused_requests.clone(),
    }
}
