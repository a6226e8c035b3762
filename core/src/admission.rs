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
mod network;
mod quiet;
mod sweep;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub use activity::{Activity, Standing, UnderWay};
pub use network::Network;
pub use quiet::Quiet;
use sweep::Watch;
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
    sources: HashMap<IpAddr, BTreeMap<u64, Seat<H>>>,
    networks: HashMap<Network, usize>,
}

#[derive(Debug)]
struct Seat<H> {
    activity: Arc<Activity>,
    watch: Watch,
    handle: H,
}

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
        *self.networks.entry(Network::of(source)).or_default() += 1;
        let seats = self.sources.entry(source).or_default();
        seats.insert(
            ticket.number,
            Seat {
                activity,
                handle,
                watch: Watch::default(),
            },
        );
        match gives_way {
            Some(handle) => Admission::InPlaceOf(ticket, handle),
            None => Admission::Free(ticket),
        }
    }

    /// A connection has ended; nothing happens when it had given way. Returns its handle.
    pub fn leave(&mut self, ticket: Ticket) -> Option<H> {
        let seats = self.sources.get_mut(&ticket.source)?;
        let seat = seats.remove(&ticket.number)?;
        if seats.is_empty() {
            self.sources.remove(&ticket.source);
        }
        self.count -= 1;
        let network = Network::of(ticket.source);
        match self.networks.get_mut(&network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.networks.remove(&network)),
        }
        Some(seat.handle)
    }

    /// Connections of this source, and of its network.
    fn held(&self, source: IpAddr) -> Held {
        Held {
            source: self.sources.get(&source).map_or(0, BTreeMap::len),
            network: self.in_network(Network::of(source)),
        }
    }

    fn in_network(&self, network: Network) -> usize {
        self.networks.get(&network).copied().unwrap_or_default()
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

    fn who_gives_way(&self, newcomer: IpAddr) -> Verdict {
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
    fn first_of_the_largest(&self, newcomer: IpAddr, own: Held) -> Option<(Ticket, Standing)> {
        let most = self.networks.values().copied().max()?;
        let among_its_own = own.network > 0 && own.network + 1 >= most;
        let concerned = |source: &IpAddr| {
            let network = Network::of(*source);
            if among_its_own {
                network == Network::of(newcomer)
            } else {
                self.in_network(network) == most
            }
        };
        let sources = || self.sources.iter().filter(|(source, _)| concerned(source));
        let most = sources().map(|(_, seats)| seats.len()).max()?;
        if among_its_own && own.source > 0 && own.source + 1 >= most {
            return self.first_of(newcomer);
        }
        sources()
            .filter(|(_, seats)| seats.len() == most)
            .filter_map(|(source, _)| self.first_of(*source))
            .min_by_key(|(ticket, standing)| (*standing, ticket.number))
    }

    fn first_of(&self, source: IpAddr) -> Option<(Ticket, Standing)> {
        self.sources
            .get(&source)?
            .iter()
            .map(|(&number, seat)| (Ticket { source, number }, seat.activity.standing()))
            .min_by_key(|(ticket, standing)| (*standing, ticket.number))
    }
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
        let (ticket, gives_way) = match self.0.lock().enter(source, Arc::clone(activity), handle) {
            Admission::Free(ticket) => (ticket, None),
            Admission::InPlaceOf(ticket, handle) => (ticket, Some(handle)),
            Admission::Refused => return None,
        };
        let register = Arc::clone(&self.0);
        Some((Place { register, ticket }, gives_way))
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

impl<H> Drop for Place<H> {
    fn drop(&mut self) {
        self.register.lock().leave(self.ticket);
    }
}

#[cfg(test)]
mod tests;
