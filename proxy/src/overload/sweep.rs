//! Looks after connections from time to time, and more often while too much is held.

use std::time::Duration;

use smilax_core::admission::{Limits, Reason, Shed};
use tokio::time::Instant;

use super::{Overload, Pressure, Receiver};

/// How often it is looked while all is well.
const SELDOM: Duration = Duration::from_secs(5);
/// How often while too much is held.
const OFTEN: Duration = Duration::from_millis(100);
/// What has to go at this pressure, beside what is told to wait: those that take nothing at all, for this long. Whoever
/// takes little stays.
fn shed(pressure: Pressure, excess: usize, after: Duration) -> Option<Shed> {
    match pressure {
        // Back pressure is enough.
        Pressure::None | Pressure::High => None,
        Pressure::Full => Some(Shed { bytes: excess, after }),
    }
}

/// How long connections may last for what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// With connections to the application.
    pub inbound: Limits,
    /// How long a client from outside may take nothing while the budget for clients is used up.
    pub full: Duration,
    /// With connections from it. It is no stranger: it decides itself how long it keeps a connection, and when it reads.
    /// What is held for it is bounded by back pressure.
    pub outbound: Limits,
}

impl Patience {
    fn shortest(&self) -> Duration {
        let limits = [self.inbound, self.outbound];
        let shortest = limits.iter().map(|limits| limits.idle.min(limits.stalled)).min();
        shortest.unwrap_or(SELDOM)
    }
}

/// Ends connections that last too long for what they do, and the worst while too much is held. `ended` is told why one ends.
pub async fn sweep_forever(overload: &Overload, patience: Patience, mut ended: impl FnMut(Reason)) {
    let begun = Instant::now();
    let seldom = (patience.shortest() / 2).min(SELDOM);
    let budget = overload.budgets.of(Receiver::Client);
    loop {
        let (now, pressure) = (begun.elapsed(), budget.pressure());
        let inbound = Limits {
            shed: shed(pressure, budget.excess(), patience.full),
            ..patience.inbound
        };
        let mut over = overload.inbound.sweep(now, &inbound);
        over.extend(overload.outbound.sweep(now, &patience.outbound));
        for (end, reason) in over {
            ended(reason);
            end.cancel();
        }
        match pressure {
            Pressure::None => {
                let _ = tokio::time::timeout(seldom, budget.runs_short()).await;
            }
            Pressure::High | Pressure::Full => tokio::time::sleep(OFTEN).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_only_who_takes_nothing_ends_and_only_when_nothing_is_left() {
        let after = Duration::from_secs(30);
        assert_eq!(shed(Pressure::None, 7, after), None);
        assert_eq!(shed(Pressure::High, 7, after), None);
        assert_eq!(shed(Pressure::Full, 7, after), Some(Shed { bytes: 7, after }));
    }
}
