//! Which connections end because of what they cost: those that are idle for too long, those whose other side does not take
//! what is held for it, and, while too much is held in all, the worst of these at once.

use std::cmp::Reverse;
use std::time::Duration;

use super::{Activity, Network, Quiet, Register, Ticket};

/// How long connections may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Without a request under way.
    pub idle: Duration,
    /// With bytes held, of which the other side takes none; of connections that may not pause.
    pub stalled: Duration,
    /// What else has to go, if too much is held in all.
    pub shed: Option<Shed>,
}

/// Too much is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shed {
    /// So many bytes should be held no longer.
    pub bytes: usize,
    /// Only of connections whose other side has taken nothing for so long.
    pub after: Duration,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nothing was under way for too long.
    Idle,
    /// Its other side did not take what was held for it.
    Stalled,
    /// Too much was held, and most of it for the source that it is of.
    Shed,
}

/// What was seen of a connection when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Watch {
    quiet: Option<Quiet>,
    taken: u32,
    stalled_since: Option<Duration>,
}

impl Watch {
    /// For how long nothing has been under way, and for how long nothing was taken of what is held.
    fn look(&mut self, activity: &Activity, now: Duration) -> (Duration, Duration) {
        let quiet = self.quiet.get_or_insert_with(|| Quiet::begins(now));
        let idle = quiet.look(activity, now);
        let taken = activity.taken();
        if activity.held() == 0 || taken != self.taken {
            self.stalled_since = None;
        }
        self.taken = taken;
        let stalled = if activity.held() == 0 {
            Duration::ZERO
        } else {
            now.saturating_sub(*self.stalled_since.get_or_insert(now))
        };
        (idle, stalled)
    }
}

impl<H> Register<H> {
    /// Looks at every connection, and takes out those that have to end. `now` is the time since any fixed moment.
    pub fn sweep(&mut self, now: Duration, limits: &Limits) -> Vec<(H, Reason)> {
        let mut over = Vec::new();
        let mut shed = Vec::new();
        for (&source, seats) in &mut self.sources {
            let of_source = seats.held();
            for (number, seat) in seats.iter_mut() {
                let ticket = Ticket { source, number };
                let (idle, stalled) = seat.watch.look(&seat.activity, now);
                let bytes = seat.activity.held();
                match limits.shed {
                    _ if seat.activity.is_idle() && bytes == 0 && idle >= limits.idle => {
                        over.push((ticket, Reason::Idle));
                    }
                    // One paused stream must not end the others of its connection.
                    _ if bytes > 0 && stalled >= limits.stalled && !seat.activity.may_pause() => {
                        over.push((ticket, Reason::Stalled));
                    }
                    Some(Shed { after, .. }) if bytes > 0 && stalled >= after => {
                        shed.push((Reverse(of_source), source, Reverse(bytes), number));
                    }
                    _ => {}
                }
            }
        }
        shed.sort_unstable();
        let mut left = limits.shed.map_or(0, |shed| shed.bytes);
        for (_, source, Reverse(bytes), number) in shed {
            if left == 0 {
                break;
            }
            left = left.saturating_sub(bytes);
            over.push((Ticket { source, number }, Reason::Shed));
        }
        self.look_at_all();
        over.into_iter()
            .filter_map(|(ticket, reason)| Some((self.leave(ticket)?, reason)))
            .collect()
    }

    /// Sees what all are doing, which decides who gives way.
    fn look_at_all(&mut self) {
        for block in self.networks.values_mut() {
            block.ranks.clear();
        }
        for (&source, seats) in &mut self.sources {
            seats.look_at_all();
            if let Some(block) = self.networks.get_mut(&Network::of(source)) {
                block.ranks.insert(super::rank(source, seats));
            }
        }
        let placed = self.networks.iter().filter_map(|(&network, block)| {
            let first = *block.ranks.first()?;
            Some((Reverse(block.count), first, network))
        });
        self.order = placed.collect();
    }
}
