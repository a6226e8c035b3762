//! Looks after connections from time to time, and more often while too much is held.

use std::time::Duration;

use smilax_core::admission::{Limits, Reason, Shed};
use tokio::time::Instant;

use super::{Overload, Pressure};

/// How often it is looked while all is well.
const SELDOM: Duration = Duration::from_secs(5);
/// How often while too much is held.
const OFTEN: Duration = Duration::from_millis(100);
/// How long a client may take nothing while too much is held.
/// Longer than a client of a slow link takes for 64 KiB, after which its kernel asks for more.
const FULL: Duration = Duration::from_secs(2);
/// After so long at that, those end that hold most, however much they take.
const PERSISTS: Duration = Duration::from_secs(3);

/// What has to go at this pressure, which began so long ago.
fn shed(pressure: Pressure, lasts: Duration, excess: usize) -> Option<Shed> {
    let after = match pressure {
        // Back pressure is enough.
        Pressure::None | Pressure::High => return None,
        Pressure::Full if lasts < PERSISTS => FULL,
        Pressure::Full => Duration::ZERO,
    };
    Some(Shed { bytes: excess, after })
}

/// How long connections may last for what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// With connections to the application.
    pub inbound: Limits,
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
    let (begun, mut full_since) = (Instant::now(), None);
    let seldom = (patience.shortest() / 2).min(SELDOM);
    loop {
        let pressure = overload.budget.pressure();
        let now = begun.elapsed();
        match pressure {
            Pressure::Full => _ = full_since.get_or_insert(now),
            Pressure::None | Pressure::High => full_since = None,
        }
        let lasts = full_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let inbound = Limits {
            shed: shed(pressure, lasts, overload.budget.excess()),
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
                let _ = tokio::time::timeout(seldom, overload.budget.runs_short()).await;
            }
            Pressure::High | Pressure::Full => tokio::time::sleep(OFTEN).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s6_the_shorter_the_budget_the_less_patience_there_is() {
        let after =
            |pressure, seconds| shed(pressure, Duration::from_secs(seconds), 7).map(|shed| shed.after);
        assert_eq!(after(Pressure::None, 9), None);
        assert_eq!(after(Pressure::High, 9), None);
        assert_eq!(after(Pressure::Full, 0), Some(FULL));
        assert_eq!(after(Pressure::Full, 3), Some(Duration::ZERO));
    }
}
