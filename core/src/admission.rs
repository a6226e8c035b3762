//! Who may connect, and who gives way: a port has room for so many connections, and each source for so many of them.
//!
//! A connection that comes to a full port takes the place of another, so that nobody can shut a port by keeping
//! connections open. No source is trusted more than others: a kubelet, an API server and a pod look alike.
//!
//! ```text
//! the source has its share ─────────► one of its own gives way
//! the port is full ─────────────────► one of the source that holds most gives way, of the network that holds most
//!   among those of a source: in a handshake, then without a request so far, then idle, then busy; the oldest first
//! ```
//!
//! Whoever holds less than others therefore loses nothing to who holds more. Networks come first ([`Network`]): somebody
//! who has 2^64 addresses would otherwise hold one connection of each, and whoever has two would give way.

mod activity;
mod load;
mod network;
mod quiet;
mod seats;
mod sweep;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use parking_lot::Mutex;

pub use activity::{Activity, Standing, UnderWay};
pub use load::{Load, Permit, Share, may_have};
pub use network::Network;
pub use quiet::Quiet;
use seats::Seats;
pub use sweep::{Limits, Reason, Shed};

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// In all; at least 1 is taken.
    pub all: usize,
    /// Of one source; at least 1 is taken.
    pub of_one: usize,
}

/// What becomes of a connection that is busy when another needs its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Busy {
    /// It gives way when nobody else does. For ports whose requests are short, where every caller must get its chance.
    GivesWay,
    /// It gives way only to a source that holds less. Otherwise the newcomer is refused: what is under way is worth
    /// more than what might begin.
    Stays,
}

/// Connections of one port, by source. `H` is how one of them is told that it must end.
#[derive(Debug)]
pub struct Register<H> {
    caps: Caps,
    busy: Busy,
    next: u64,
    count: usize,
    sources: HashMap<IpAddr, Seats<H>>,
    networks: HashMap<Network, Block>,
    /// Networks in the order in which their sources give way: who holds most comes first.
    order: BTreeSet<(Reverse<usize>, Rank, Network)>,
}

/// How many connections a source holds, who of them gives way first by what was last seen, and which source it is.
type Rank = (Reverse<usize>, Option<(Standing, u64)>, IpAddr);

/// Which connection it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    source: IpAddr,
    number: u64,
}

/// What was decided about a newcomer.
#[derive(Debug)]
pub enum Admission<H> {
    /// There was room.
    Free(Ticket),
    /// Another connection has to end for it.
    InPlaceOf(Ticket, H),
    /// Everybody who could give way is busy.
    Refused,
}

impl<H> Register<H> {
    /// Nobody yet.
    #[must_use]
    pub fn new(caps: Caps, busy: Busy) -> Self {
        Self {
            caps,
            busy,
            next: 0,
            count: 0,
            sources: HashMap::new(),
            networks: HashMap::new(),
            order: BTreeSet::new(),
        }
    }

    /// Decides about one more connection.
    pub fn enter(&mut self, source: IpAddr, activity: Arc<Activity>, handle: H) -> Admission<H> {
        let source = source.to_canonical();
        let gives_way = match self.who_gives_way(source) {
            Verdict::Nobody => None,
            Verdict::Other(ticket) => self.leave(ticket),
            Verdict::Newcomer => return Admission::Refused,
        };
        let ticket = Ticket {
            source,
            number: self.next,
        };
        self.next += 1;
        self.count += 1;
        self.change(source, |seats| seats.add(ticket.number, activity, handle));
        match gives_way {
            Some(handle) => Admission::InPlaceOf(ticket, handle),
            None => Admission::Free(ticket),
        }
    }

    /// A connection has ended; nothing happens when it had given way. Returns its handle.
    pub fn leave(&mut self, ticket: Ticket) -> Option<H> {
        let handle = self.change(ticket.source, |seats| seats.remove(ticket.number))?;
        self.count -= 1;
        Some(handle)
    }

    /// What requests under way of the source of this connection cost.
    #[must_use]
    pub fn share(&self, ticket: Ticket) -> Arc<Share> {
        self.sources
            .get(&ticket.source)
            .map(|seats| Arc::clone(&seats.share))
            .unwrap_or_default()
    }

    /// Connections of this source, and of its network.
    fn held(&self, source: IpAddr) -> Held {
        Held {
            source: self.sources.get(&source).map_or(0, Seats::len),
            network: self.in_network(Network::of(source)),
        }
    }

    fn in_network(&self, network: Network) -> usize {
        self.networks.get(&network).map_or(0, |block| block.count)
    }

    /// Connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Changes something about the connections of a source, and gives it and its network the places that follow.
    fn change<T>(&mut self, source: IpAddr, change: impl FnOnce(&mut Seats<H>) -> T) -> T {
        let network = Network::of(source);
        let block = self.networks.entry(network).or_default();
        if let Some(&first) = block.ranks.first() {
            self.order.remove(&(Reverse(block.count), first, network));
        }
        let seats = self
            .sources
            .entry(source)
            .or_insert_with(|| Seats::new(Share::within(&block.under_way)));
        block.ranks.remove(&rank(source, seats));
        block.count -= seats.len();
        let changed = change(seats);
        block.count += seats.len();
        if seats.len() == 0 {
            self.sources.remove(&source);
        } else {
            block.ranks.insert(rank(source, seats));
        }
        match block.ranks.first() {
            Some(&first) => _ = self.order.insert((Reverse(block.count), first, network)),
            None => drop(self.networks.remove(&network)),
        }
        changed
    }

    fn who_gives_way(&mut self, newcomer: IpAddr) -> Verdict {
        let own = self.held(newcomer);
        let candidate = if own.source >= self.caps.of_one.max(1) {
            self.first_of(newcomer)
        } else if self.count >= self.caps.all.max(1) {
            self.first_of_the_largest(newcomer, own)
        } else {
            return Verdict::Nobody;
        };
        let Some((ticket, standing)) = candidate else {
            return Verdict::Nobody;
        };
        let its = self.held(ticket.source);
        let holds_more = if Network::of(ticket.source) == Network::of(newcomer) {
            its.source > own.source + 1
        } else {
            its.network > own.network + 1
        };
        if standing == Standing::Busy && self.busy == Busy::Stays && !holds_more {
            return Verdict::Newcomer;
        }
        Verdict::Other(ticket)
    }

    /// Who gives way of the source that holds most, in the network that holds most. The newcomer's own count with the
    /// newcomer, and come first among equals.
    fn first_of_the_largest(&mut self, newcomer: IpAddr, own: Held) -> Option<(Ticket, Standing)> {
        for _ in 0..LOOKS {
            let &(Reverse(most), first, _) = self.order.first()?;
            let among_its_own = own.network > 0 && own.network + 1 >= most;
            let (Reverse(most), seen, source) = if among_its_own {
                *self.networks.get(&Network::of(newcomer))?.ranks.first()?
            } else {
                first
            };
            if among_its_own && own.source > 0 && own.source + 1 >= most {
                return self.first_of(newcomer);
            }
            let first = self.first_of(source)?;
            if seen == Some((first.1, first.0.number)) {
                return Some(first);
            }
        }
        let &(_, (_, _, source), _) = self.order.first()?;
        self.first_of(source)
    }

    fn first_of(&mut self, source: IpAddr) -> Option<(Ticket, Standing)> {
        if !self.sources.contains_key(&source) {
            return None;
        }
        let (standing, number) = self.change(source, Seats::first)?;
        Some((Ticket { source, number }, standing))
    }
}

/// Sources of the same size that are looked at for one newcomer at most.
const LOOKS: usize = 32;

fn rank<H>(source: IpAddr, seats: &Seats<H>) -> Rank {
    (Reverse(seats.len()), seats.first_seen(), source)
}

/// The sources of a network.
#[derive(Debug, Default)]
struct Block {
    /// Connections of all of them.
    count: usize,
    /// In the order in which they give way: who holds most comes first.
    ranks: BTreeSet<Rank>,
    /// What requests under way of all of them cost.
    under_way: Arc<AtomicUsize>,
}

/// Connections that somebody has.
#[derive(Clone, Copy)]
struct Held {
    source: usize,
    network: usize,
}

enum Verdict {
    Nobody,
    Other(Ticket),
    Newcomer,
}

/// A register that several threads share.
#[derive(Debug)]
pub struct Admissions<H>(Arc<Mutex<Register<H>>>);

/// The place of one connection; free when dropped.
#[derive(Debug)]
pub struct Place<H> {
    register: Arc<Mutex<Register<H>>>,
    ticket: Ticket,
    share: Arc<Share>,
}

impl<H> Clone for Admissions<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H> Admissions<H> {
    /// Nobody yet.
    #[must_use]
    pub fn new(caps: Caps, busy: Busy) -> Self {
        Self(Arc::new(Mutex::new(Register::new(caps, busy))))
    }

    /// A place for one more connection, and the handle of the one that must end for it. `None`: it is refused.
    #[must_use]
    pub fn enter(
        &self,
        source: IpAddr,
        activity: &Arc<Activity>,
        handle: H,
    ) -> Option<(Place<H>, Option<H>)> {
        let mut register = self.0.lock();
        let (ticket, gives_way) = match register.enter(source, Arc::clone(activity), handle) {
            Admission::Free(ticket) => (ticket, None),
            Admission::InPlaceOf(ticket, handle) => (ticket, Some(handle)),
            Admission::Refused => return None,
        };
        let place = Place {
            share: register.share(ticket),
            register: Arc::clone(&self.0),
            ticket,
        };
        Some((place, gives_way))
    }

    /// See [`Register::sweep`].
    #[must_use]
    pub fn sweep(&self, now: Duration, limits: &Limits) -> Vec<(H, Reason)> {
        self.0.lock().sweep(now, limits)
    }

    /// Connections there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<H> Place<H> {
    /// What requests under way of its source cost.
    #[must_use]
    pub fn share(&self) -> &Arc<Share> {
        &self.share
    }
}

impl<H> Drop for Place<H> {
    fn drop(&mut self) {
        self.register.lock().leave(self.ticket);
    }
}

#[cfg(test)]
mod tests;
