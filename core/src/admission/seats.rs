//! The connections of one source, in the order in which they give way.
//!
//! What a connection is doing changes without a word to the register, so the order is that of what was last seen. Whoever
//! is first is looked at again before it has to go, and a few others where all seem to be busy; the sweep looks at all of
//! them. So a newcomer to a full port costs the same whether ten connections are open or ten thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use super::sweep::Watch;
use super::{Activity, Share, Standing};

/// Connections that are looked at for one newcomer at most.
const LOOKS: usize = 32;

#[derive(Debug)]
pub(super) struct Seats<H> {
    by_number: BTreeMap<u64, Seat<H>>,
    order: BTreeSet<(Standing, u64)>,
    /// Busy connections up to this one were looked at most recently.
    looked_up_to: u64,
    pub(super) share: Arc<Share>,
}

#[derive(Debug)]
pub(super) struct Seat<H> {
    pub(super) activity: Arc<Activity>,
    pub(super) watch: Watch,
    handle: H,
    /// What it was doing when it was last looked at.
    seen: Standing,
}

impl<H> Seats<H> {
    /// None, of a source whose requests count as those of this share.
    pub(super) fn new(share: Share) -> Self {
        Self {
            by_number: BTreeMap::new(),
            order: BTreeSet::new(),
            looked_up_to: 0,
            share: Arc::new(share),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn add(&mut self, number: u64, activity: Arc<Activity>, handle: H) {
        let seen = activity.standing();
        self.order.insert((seen, number));
        let watch = Watch::default();
        self.by_number.insert(
            number,
            Seat {
                activity,
                watch,
                handle,
                seen,
            },
        );
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<H> {
        let seat = self.by_number.remove(&number)?;
        self.order.remove(&(seat.seen, number));
        Some(seat.handle)
    }

    /// Who gives way first, by what was last seen.
    pub(super) fn first_seen(&self) -> Option<(Standing, u64)> {
        self.order.first().copied()
    }

    /// Who gives way first, after looking again.
    pub(super) fn first(&mut self) -> Option<(Standing, u64)> {
        for _ in 0..LOOKS {
            let (seen, number) = self.first_seen()?;
            if self.look(number) != Some(seen) {
                continue;
            }
            if seen == Standing::Busy {
                self.look_at_busy();
            }
            break;
        }
        self.first_seen()
    }

    /// Looks at the next few of those that were busy, as some may be idle by now.
    fn look_at_busy(&mut self) {
        let after = |number| (Bound::Excluded((Standing::Busy, number)), Bound::Unbounded);
        let mut next: Vec<u64> = self
            .order
            .range(after(self.looked_up_to))
            .take(LOOKS)
            .map(|(_, number)| *number)
            .collect();
        self.looked_up_to = match next.last() {
            Some(last) if next.len() == LOOKS => *last,
            _ => 0,
        };
        if self.looked_up_to == 0 {
            let rest = LOOKS - next.len();
            next.extend(self.order.iter().take(rest).map(|(_, number)| *number));
        }
        for number in next {
            self.look(number);
        }
    }

    /// What a connection is doing now.
    pub(super) fn look(&mut self, number: u64) -> Option<Standing> {
        let seat = self.by_number.get_mut(&number)?;
        let now = seat.activity.standing();
        if now != seat.seen {
            self.order.remove(&(seat.seen, number));
            self.order.insert((now, number));
            seat.seen = now;
        }
        Some(now)
    }

    /// Looks at all of them.
    pub(super) fn look_at_all(&mut self) {
        self.order.clear();
        for (&number, seat) in &mut self.by_number {
            seat.seen = seat.activity.standing();
            self.order.insert((seat.seen, number));
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut Seat<H>)> {
        self.by_number.iter_mut().map(|(number, seat)| (*number, seat))
    }

    /// Bytes held for all of these: many small offenders weigh as much as a large one.
    pub(super) fn held(&self) -> usize {
        self.by_number.values().map(|seat| seat.activity.held()).sum()
    }
}
