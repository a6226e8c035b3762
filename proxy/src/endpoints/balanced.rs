//! The endpoints of one port, as one worker balances over them.

use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smilax_core::balance::{Epoch, Member};
use smilax_core::{Balancer, DestinationPortName, Outcome, Resource};

use super::PortEndpoints;
use super::wanted::Said;
use crate::worker::Worker;

/// What a worker keeps of one port of a destination. What it has measured survives changes of the configuration and of
/// the endpoints.
#[derive(Debug)]
pub struct Balanced {
    of: DestinationPortName,
    /// Version of what `families` was made of.
    version: Cell<Option<u64>>,
    families: RefCell<Families>,
    used: Cell<bool>,
    said: Cell<bool>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Families {
    told: Option<Arc<PortEndpoints>>,
    zone: Option<Arc<str>>,
    v4: Balancer,
    v6: Balancer,
}

/// An endpoint that was picked for a request or connection, which is in flight there for as long as this lives. What it
/// says about the endpoint is recorded once; a request that is dropped before was cancelled by its client.
#[derive(Debug)]
pub struct Picked {
    member: Rc<Member>,
    among: Rc<Balanced>,
    since: Duration,
    epoch: Epoch,
    progress: Cell<Progress>,
}

/// What is known of a request or connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Its response has not begun, or the connection is not made.
    Waiting,
    /// Its response has begun, or the connection is made, and it is a success unless it breaks off.
    Responding,
    /// Its response has begun, and its trailers will say how it ended.
    AwaitingTrailers,
    /// Its outcome is recorded.
    Recorded,
}

/// What to do when every endpoint is ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenEjected {
    /// None is picked: there is somewhere else to go.
    None,
    /// The same, but for want of the expected identity: somewhere else would be reached in plaintext.
    UnlessWrongIdentity,
    /// One is picked all the same: there is nowhere else to go.
    Pick,
}

impl Balanced {
    /// Of this port, of which nothing is known yet.
    pub fn new(of: DestinationPortName) -> Self {
        Self {
            of,
            version: Cell::new(None),
            families: RefCell::default(),
            used: Cell::new(false),
            said: Cell::new(false),
            started: Instant::now(),
        }
    }

    /// The endpoint that takes something now, of the family of this address, and none of `tried`. Says that this port is
    /// used.
    pub fn pick(
        self: &Rc<Self>,
        worker: &Worker,
        family: IpAddr,
        when_ejected: WhenEjected,
        tried: &[SocketAddr],
    ) -> Option<Picked> {
        self.used.set(true);
        if !self.said.get() {
            let said = worker.shared.wanted.say(vec![self.resource()]);
            self.said.set(said == Said::Yes);
        }
        self.follow(worker);
        let families = self.families.borrow();
        let balancer = match (family.is_ipv4(), when_ejected) {
            (true, WhenEjected::Pick) if families.v4.is_empty() => &families.v6,
            (false, WhenEjected::Pick) if families.v6.is_empty() => &families.v4,
            (true, _) => &families.v4,
            (false, _) => &families.v6,
        };
        let (now, random) = (self.now(), fastrand::u64(..));
        let picked = balancer.pick(now, random, tried);
        let picked = picked.or_else(|| match when_ejected {
            WhenEjected::None => None,
            WhenEjected::UnlessWrongIdentity if !balancer.has_wrong_identity() => None,
            WhenEjected::UnlessWrongIdentity | WhenEjected::Pick => balancer.pick_ejected(now, random, tried),
        });
        let member = Rc::clone(picked?);
        let epoch = member.begin(now);
        Some(Picked {
            member,
            among: Rc::clone(self),
            since: now,
            epoch,
            progress: Cell::new(Progress::Waiting),
        })
    }

    /// Takes what was told since the last time.
    fn follow(&self, worker: &Worker) {
        let version = worker.endpoints(|known| {
            if self.version.get() == Some(known.version) {
                return known.version;
            }
            let told = known.port(&self.of);
            let mut families = self.families.borrow_mut();
            let same = match (&families.told, told) {
                (None, None) => true,
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                _ => false,
            };
            if !same || families.zone != known.zone {
                let zone = known.zone.as_deref();
                let (v4, v6) = told.map_or((&[][..], &[][..]), |told| (&told.v4, &told.v6));
                families.v4.update(v4, zone);
                families.v6.update(v6, zone);
                families.told = told.cloned();
                families.zone.clone_from(&known.zone);
            }
            known.version
        });
        self.version.set(Some(version));
    }

    /// What is to be subscribed to, if this was used since it was last asked. What was not used is said again at once
    /// when it is.
    pub fn take_use(&self) -> Option<Resource> {
        if self.used.take() {
            return Some(self.resource());
        }
        self.said.set(false);
        None
    }

    fn resource(&self) -> Resource {
        Resource::Endpoints(self.of.clone())
    }

    /// Time since this was made, by which its balancers know moments.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn balancer_of(&self, member: &Member, act: impl FnOnce(&Balancer, Duration)) {
        let families = self.families.borrow();
        let balancer = if member.address.is_ipv4() {
            &families.v4
        } else {
            &families.v6
        };
        act(balancer, self.now());
    }
}

impl Picked {
    /// The endpoint.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// The balancer that it was picked by.
    pub fn among(&self) -> &Rc<Balanced> {
        &self.among
    }

    /// A connection that is carried as bytes was made.
    pub fn connected(&self) {
        self.member.has_expected_identity();
        self.turn_to(Progress::Responding);
    }

    /// The response began `after` this time, and says this; `None` where its trailers will say it. A success is one only
    /// once the response is complete.
    pub fn responded(&self, outcome: Option<Outcome>, after: Duration) {
        self.member.has_expected_identity();
        let now = self.among.now();
        match outcome {
            Some(Outcome::Success) => {
                self.member.answered(after, now);
                self.turn_to(Progress::Responding);
            }
            None => {
                self.member.answered(after, now);
                self.turn_to(Progress::AwaitingTrailers);
            }
            Some(outcome) => self.record(outcome, Some(after)),
        }
    }

    /// The trailers of a response of gRPC have this status.
    pub fn trailers(&self, grpc_status: u16) {
        if self.progress.get() == Progress::AwaitingTrailers {
            self.record(Outcome::of_response(200, Some(grpc_status)), None);
        }
    }

    /// The response is complete. One of gRPC without a status is none (gRPC over HTTP/2, "Responses").
    pub fn ended(self) {
        match self.progress.get() {
            Progress::AwaitingTrailers => self.record(Outcome::Failure, None),
            Progress::Responding => self.record(Outcome::Success, None),
            Progress::Waiting | Progress::Recorded => {}
        }
    }

    /// The response, or the connection, ended before it was complete.
    pub fn reset(&self) {
        if self.progress.get() != Progress::Recorded {
            self.record(Outcome::Failure, None);
        }
    }

    /// There is no response.
    pub fn failed(&self, outcome: Outcome) {
        self.record(outcome, None);
    }

    /// Another identity than the expected one was found there.
    pub fn has_wrong_identity(&self) {
        self.turn_to(Progress::Recorded);
        let (member, epoch) = (&self.member, self.epoch);
        self.among.balancer_of(member, |balancer, now| {
            balancer.record_wrong_identity(member, epoch, now);
        });
    }

    fn record(&self, outcome: Outcome, elapsed: Option<Duration>) {
        self.turn_to(Progress::Recorded);
        let (member, epoch) = (&self.member, self.epoch);
        self.among.balancer_of(member, |balancer, now| {
            balancer.record(member, epoch, outcome, elapsed, now);
        });
    }

    fn turn_to(&self, progress: Progress) {
        if self.progress.replace(progress) == Progress::Waiting {
            self.member.settle(self.epoch);
        }
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        match self.progress.get() {
            Progress::Waiting => {
                let waited = self.among.now().saturating_sub(self.since);
                self.record(Outcome::Cancelled, Some(waited));
            }
            // The client has gone away in the middle of a response, or a connection has ended.
            Progress::Responding => self.record(Outcome::Success, None),
            Progress::AwaitingTrailers => self.record(Outcome::Ignored, None),
            Progress::Recorded => {}
        }
        self.member.end();
    }
}
