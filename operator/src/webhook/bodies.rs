//! Who may hold how much of bodies. Pure: the time comes in.
//!
//! A source is a [`Network`]. Of `n` sources each has the `n + 1`st part for itself, whatever the others do, and one part is
//! left for whoever comes next. A source may have more while nobody misses it ([`may_have`]):
//!
//! ```text
//! a source within its part ── there is room ─────► granted
//!                          └─ there is none ─────► it waits; the slowest body of the source that has most gives way
//! a source beyond its part ── nobody had to wait ► granted, as far as it leaves something
//!                          └─ somebody had to ───► it waits
//! ```

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use smilax_core::admission::{Network, may_have};
use tokio::time::Instant;

/// Nobody gets more than its part for so long after somebody within its part had to wait. What became free would otherwise be
/// taken by who has most, since that one asks most often.
const PRESSURE: Duration = Duration::from_secs(1);
/// What has only begun may still be fast, and does not give way.
const YOUNG: Duration = Duration::from_millis(250);

/// Bodies by source. `H` is how one of them is told that it must end.
#[derive(Debug)]
pub(super) struct Ledger<H> {
    limit: usize,
    all: usize,
    /// Of that, what those that gave way still hold.
    ending: usize,
    next: u64,
    sources: HashMap<Network, Source<H>>,
    pressed_until: Option<Instant>,
}

#[derive(Debug)]
struct Source<H> {
    held: usize,
    ending: usize,
    bodies: BTreeMap<u64, Body<H>>,
}

#[derive(Debug)]
struct Body<H> {
    bytes: usize,
    begun: Instant,
    standing: Standing,
    handle: H,
}

/// Whether a body gives way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It is arriving, or waits.
    Yields,
    /// Something is made of it, which ends soon.
    Stays,
    /// It was told to end.
    Ends,
}

/// Which body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    source: Network,
    number: u64,
}

/// What becomes of a body that grows.
#[derive(Debug)]
pub(super) enum Growth<H> {
    Granted,
    /// It has to wait for these to end, or for others.
    Waits(Vec<H>),
}

impl<H: Clone> Ledger<H> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            all: 0,
            ending: 0,
            next: 0,
            sources: HashMap::new(),
            pressed_until: None,
        }
    }

    /// A body of which nothing has arrived.
    pub(super) fn begin(&mut self, source: Network, handle: H, now: Instant) -> Ticket {
        let number = self.next;
        self.next += 1;
        let body = Body {
            bytes: 0,
            begun: now,
            standing: Standing::Yields,
            handle,
        };
        let of_source = self.sources.entry(source).or_insert_with(|| Source {
            held: 0,
            ending: 0,
            bodies: BTreeMap::new(),
        });
        of_source.bodies.insert(number, body);
        Ticket { source, number }
    }

    /// Room for so many bytes more of a body.
    pub(super) fn grow(&mut self, ticket: Ticket, more: usize, now: Instant) -> Growth<H> {
        let own = self.sources.get(&ticket.source).map_or(0, |source| source.held);
        let is_within = own + more <= self.part();
        let is_free = self.all + more <= self.limit;
        let may_borrow = !self.is_pressed(now) && may_have(own, self.all, more, self.limit);
        if is_free && (is_within || may_borrow) {
            self.add(ticket, more);
            return Growth::Granted;
        }
        if !is_within {
            return Growth::Waits(Vec::new());
        }
        self.pressed_until = Some(now + PRESSURE);
        Growth::Waits(self.make_room(ticket.source, more, now))
    }

    /// Whether a body gives way from now on. One that was told to end is beyond that.
    pub(super) fn stand(&mut self, ticket: Ticket, standing: Standing) {
        if let Some(body) = self.body(ticket)
            && body.standing != Standing::Ends
        {
            body.standing = standing;
        }
    }

    /// A body is gone.
    pub(super) fn end(&mut self, ticket: Ticket) {
        let Some(source) = self.sources.get_mut(&ticket.source) else {
            return;
        };
        let Some(body) = source.bodies.remove(&ticket.number) else {
            return;
        };
        source.held -= body.bytes;
        self.all -= body.bytes;
        if body.standing == Standing::Ends {
            source.ending -= body.bytes;
            self.ending -= body.bytes;
        }
        if source.bodies.is_empty() {
            self.sources.remove(&ticket.source);
        }
    }

    /// What each source has for itself.
    fn part(&self) -> usize {
        self.limit / (self.sources.len() + 1)
    }

    fn is_pressed(&self, now: Instant) -> bool {
        self.pressed_until.is_some_and(|until| now < until)
    }

    fn body(&mut self, ticket: Ticket) -> Option<&mut Body<H>> {
        self.sources
            .get_mut(&ticket.source)?
            .bodies
            .get_mut(&ticket.number)
    }

    fn add(&mut self, ticket: Ticket, more: usize) {
        let Some(source) = self.sources.get_mut(&ticket.source) else {
            return;
        };
        let Some(body) = source.bodies.get_mut(&ticket.number) else {
            return;
        };
        body.bytes += more;
        source.held += more;
        self.all += more;
        if body.standing == Standing::Ends {
            source.ending += more;
            self.ending += more;
        }
    }

    /// Tells as many to end as it takes to have so much room, unless it will be there anyway.
    fn make_room(&mut self, newcomer: Network, more: usize, now: Instant) -> Vec<H> {
        let mut told = Vec::new();
        while (self.all - self.ending).saturating_add(more) > self.limit {
            let Some(ticket) = self.who_gives_way(newcomer, now) else {
                break;
            };
            let Some(source) = self.sources.get_mut(&ticket.source) else {
                break;
            };
            let Some(body) = source.bodies.get_mut(&ticket.number) else {
                break;
            };
            body.standing = Standing::Ends;
            source.ending += body.bytes;
            self.ending += body.bytes;
            told.push(body.handle.clone());
        }
        told
    }

    /// The slowest body of the source that has most, of those that have more than their part.
    fn who_gives_way(&self, newcomer: Network, now: Instant) -> Option<Ticket> {
        let part = self.part();
        let sources = self.sources.iter();
        let others = sources.filter(|&(&network, source)| network != newcomer && source.stays() > part);
        let bodies = others.filter_map(|(&source, of_source)| {
            let slowest = of_source.bodies.iter().filter(|(_, body)| body.gives_way(now));
            let slowest = slowest.min_by_key(|(_, body)| body.speed(now));
            slowest.map(|(&number, _)| (of_source.stays(), Ticket { source, number }))
        });
        let first = bodies.max_by_key(|&(held, ticket)| (held, Reverse(ticket.number)));
        first.map(|(_, ticket)| ticket)
    }
}

impl<H> Source<H> {
    /// What it will hold when those that were told to end have ended.
    fn stays(&self) -> usize {
        self.held - self.ending
    }
}

impl<H> Body<H> {
    fn gives_way(&self, now: Instant) -> bool {
        self.standing == Standing::Yields && self.bytes > 0 && now - self.begun >= YOUNG
    }

    /// Bytes in a second, on average.
    fn speed(&self, now: Instant) -> u128 {
        let micros = (now - self.begun).as_micros().max(1);
        self.bytes as u128 * 1_000_000 / micros
    }
}

#[cfg(test)]
mod tests;
