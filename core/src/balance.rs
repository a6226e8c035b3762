//! Which endpoint takes the next request.
//!
//! Of two endpoints drawn at random, the one with less to do takes it (power of two choices). The load of an endpoint is
//! its latency, an average over the last seconds (EWMA), times the requests it has in flight. Latencies that hardly
//! differ count as equal; then the endpoint with fewer requests in flight takes the request, and of two with equally many
//! the one that was picked less recently. So sequential requests at a low rate are spread evenly over equal endpoints,
//! however few they are.
//!
//! Of two idle endpoints whose latencies do differ, the faster one is more likely to be picked, but
//! not certain to be: one bad moment must not starve an endpoint.
//!
//! Failed answers count as slow ones, and failures in a row eject an endpoint ([`crate::outlier`]).
//!
//! Nothing here reads a clock: moments are durations since any fixed one. One worker has one balancer, and shares it
//! with nobody.

mod latency;

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use self::latency::Latency;
use crate::endpoints::{Endpoint, EndpointState};
use crate::expected::ExpectedIdentity;
use crate::outlier::{EjectionBudget, Health, Outcome, OutlierDetection};

/// Least latency that a failed answer counts as. Failing at once must not look like serving fast.
const FAILURE_LATENCY: Duration = Duration::from_millis(250);

/// Endpoints of one port of a destination, in the order in which they are preferred.
#[derive(Debug, Default)]
pub struct Balancer {
    members: Box<[Rc<Member>]>,
    /// Ready, and meant for the own zone.
    near: usize,
    /// Ready; those above included.
    ready: usize,
    detection: OutlierDetection,
    picks: Cell<u64>,
}

/// One endpoint, and how it does.
#[derive(Debug)]
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whom it must prove to be; `None` where connections to it are not secured.
    pub expected: Option<Arc<[ExpectedIdentity]>>,
    load: Rc<Load>,
}

/// What was measured of one address. It survives changes of everything else about the endpoint.
#[derive(Debug, Default)]
struct Load {
    in_flight: Cell<u32>,
    latency: Cell<Option<Latency>>,
    health: Cell<Health>,
    identity: Cell<IdentityCheck>,
    /// Number of the balancer's pick that this endpoint was picked by last.
    last_pick: Cell<u64>,
    /// Ejections so far.
    epoch: Cell<Epoch>,
}

/// The time between two ejections of an endpoint. Outcomes of requests from an earlier one are no news.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(u32);

/// What the last connection found about the identity at an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum IdentityCheck {
    /// The expected one, or none was looked at.
    #[default]
    Passed,
    /// Another one.
    Failed,
}

/// How an endpoint does, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointLoad {
    /// Requests in flight, and connections carried as bytes.
    pub in_flight: u32,
    /// How long it takes to answer; `None` before it ever did.
    pub latency: Option<Duration>,
    /// Whether it is ejected.
    pub health: Health,
}

impl Balancer {
    /// Takes the endpoints that there are now. Those that were there before keep what was measured of them.
    pub fn update<'a>(&mut self, endpoints: impl IntoIterator<Item = &'a Endpoint>, zone: Option<&str>) {
        let known: HashMap<_, _> = self
            .members
            .iter()
            .map(|member| (member.address, member))
            .collect();
        let mut near = Vec::new();
        let mut ready = Vec::new();
        let mut draining = Vec::new();
        for endpoint in endpoints {
            let member = member(known.get(&endpoint.address).copied(), endpoint);
            let meant = zone.is_some_and(|zone| endpoint.for_zones.iter().any(|one| **one == *zone));
            match endpoint.state {
                EndpointState::Ready if meant => near.push(member),
                EndpointState::Ready => ready.push(member),
                EndpointState::Draining => draining.push(member),
            }
        }
        self.near = near.len();
        self.ready = near.len() + ready.len();
        near.append(&mut ready);
        near.append(&mut draining);
        self.members = near.into();
    }

    /// The endpoint that takes a request at `now`: one meant for the own zone if there is any, else one that is ready, and
    /// one that is draining only when no other is there. None that is ejected, nor any of `tried`. `random` is any evenly
    /// distributed number.
    pub fn pick(&self, now: Duration, random: u64, tried: &[SocketAddr]) -> Option<&Rc<Member>> {
        let eligible =
            |member: &Member| !tried.contains(&member.address) && member.load.health.get().admits(now);
        let recovering =
            |member: &Member| !tried.contains(&member.address) && !member.load.health.get().is_ejected(now);
        let near = self.members.get(..self.near)?;
        self.pick_from(near, now, random, eligible)
            .or_else(|| self.pick_from(self.preferred(), now, random, eligible))
            // More trials than usual are better than no endpoint.
            .or_else(|| self.pick_from(self.preferred(), now, random, recovering))
    }

    /// The same when all of them are ejected and there is nowhere else to go.
    pub fn pick_ejected(&self, now: Duration, random: u64, tried: &[SocketAddr]) -> Option<&Rc<Member>> {
        let eligible = |member: &Member| !tried.contains(&member.address);
        self.pick_from(self.preferred(), now, random, eligible)
    }

    /// Takes what a request or connection says about its endpoint. `elapsed` is the time until the response began, or
    /// until nobody waited for it any longer, where that was measured. `epoch` is that of the endpoint when it was picked.
    pub fn record(
        &self,
        member: &Member,
        epoch: Epoch,
        outcome: Outcome,
        elapsed: Option<Duration>,
        now: Duration,
    ) {
        let load = &member.load;
        match (outcome, elapsed) {
            (Outcome::Success, Some(elapsed)) => member.answered(elapsed, now),
            (Outcome::Failure | Outcome::Overloaded, _) => {
                member.penalise(elapsed.unwrap_or_default().max(FAILURE_LATENCY), now);
            }
            (Outcome::Cancelled, Some(elapsed)) => member.penalise(elapsed, now),
            (Outcome::Success | Outcome::Unreachable | Outcome::Cancelled | Outcome::Ignored, _) => {}
        }
        if epoch != load.epoch.get() {
            return;
        }
        let before = load.health.get();
        // Counting the ejected looks at every endpoint, and only failures need it.
        let budget = match outcome {
            Outcome::Failure if before.is_healthy() => self.budget(),
            _ => EjectionBudget::Available,
        };
        let after = before.after(outcome, now, &self.detection, budget);
        load.health.set(after);
        if after.is_ejected(now) && !before.is_ejected(now) {
            // Latencies of its bad time would keep requests away from it afterwards.
            load.latency.set(None);
            load.epoch.set(Epoch(epoch.0.wrapping_add(1)));
        }
    }

    /// Takes that another identity than the expected one was found at this endpoint. It is ejected.
    pub fn record_wrong_identity(&self, member: &Member, epoch: Epoch, now: Duration) {
        self.record(member, epoch, Outcome::Unreachable, None, now);
        member.load.identity.set(IdentityCheck::Failed);
    }

    /// Whether one was found to have another identity than the expected one. Then those that are ejected are to be tried
    /// again, rather than anything in plaintext.
    pub fn has_wrong_identity(&self) -> bool {
        self.members
            .iter()
            .any(|member| member.load.identity.get() == IdentityCheck::Failed)
    }

    /// Whether there is no endpoint.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All of them.
    pub fn members(&self) -> &[Rc<Member>] {
        &self.members
    }

    /// Those that are ready, or else all.
    fn preferred(&self) -> &[Rc<Member>] {
        let ready = if self.ready == 0 {
            self.members.len()
        } else {
            self.ready
        };
        self.members.get(..ready).unwrap_or(&self.members)
    }

    fn budget(&self) -> EjectionBudget {
        let preferred = self.preferred();
        // One that recovers takes little yet.
        let unhealthy = preferred
            .iter()
            .filter(|member| !member.load.health.get().is_healthy())
            .count();
        self.detection.budget(preferred.len(), unhealthy)
    }

    fn pick_from<'a>(
        &self,
        members: &'a [Rc<Member>],
        now: Duration,
        random: u64,
        eligible: impl Fn(&Member) -> bool,
    ) -> Option<&'a Rc<Member>> {
        let picked = choose(members, now, random, eligible)?;
        self.picks.set(self.picks.get() + 1);
        picked.load.last_pick.set(self.picks.get());
        Some(picked)
    }
}

/// An endpoint as it is now, with what was measured of it before.
fn member(known: Option<&Rc<Member>>, endpoint: &Endpoint) -> Rc<Member> {
    let same = |known: &Member| match (&known.expected, &endpoint.workload) {
        (None, None) => true,
        (Some(known), Some(workload)) => known.contains(workload),
        _ => false,
    };
    match known {
        Some(known) if same(known) => Rc::clone(known),
        _ => Rc::new(Member {
            address: endpoint.address,
            expected: endpoint.workload.clone().map(|workload| [workload].into()),
            load: known.map(|known| Rc::clone(&known.load)).unwrap_or_default(),
        }),
    }
}

/// Draws two eligible members and takes the better one.
fn choose(
    members: &[Rc<Member>],
    now: Duration,
    random: u64,
    eligible: impl Fn(&Member) -> bool,
) -> Option<&Rc<Member>> {
    let count = u64::try_from(members.len()).ok().filter(|count| *count > 0)?;
    let one = draw(random, count);
    // Another one: any of the rest.
    let other = one + 1 + draw(random.rotate_left(32), (count - 1).max(1));
    let at = |index: u64| members.get(usize::try_from(index % count).ok()?);
    let one_member = at(one).filter(|member| eligible(member));
    let other_member = at(other).filter(|member| eligible(member));
    match (one_member, other_member) {
        (Some(a), Some(b)) => Some(better(a, b, now, random)),
        (Some(only), None) | (None, Some(only)) => Some(only),
        // Seldom: the next eligible one.
        (None, None) => (0..count)
            .filter_map(|step| at(one + step))
            .find(|member| eligible(member)),
    }
}

fn better<'a>(a: &'a Rc<Member>, b: &'a Rc<Member>, now: Duration, random: u64) -> &'a Rc<Member> {
    let (in_flight_a, in_flight_b) = (a.load.in_flight.get(), b.load.in_flight.get());
    let latencies = a.latency(now).zip(b.latency(now));
    let b_is_better = match latencies {
        Some((latency_a, latency_b)) if !latency::are_comparable(latency_a, latency_b) => {
            if in_flight_a == 0 && in_flight_b == 0 {
                latency::share(latency_b, latency_a) > fraction(random.rotate_left(16))
            } else {
                let load = |latency: f64, in_flight: u32| latency * (f64::from(in_flight) + 1.0);
                load(latency_b, in_flight_b) < load(latency_a, in_flight_a)
            }
        }
        _ => (in_flight_b, b.load.last_pick.get()) < (in_flight_a, a.load.last_pick.get()),
    };
    if b_is_better { b } else { a }
}

/// A number below `count`, from the high bits of an evenly distributed one.
fn draw(random: u64, count: u64) -> u64 {
    u64::try_from((u128::from(random) * u128::from(count)) >> 64).unwrap_or(0)
}

/// A number from 0 to 1, from the high bits of an evenly distributed one.
fn fraction(random: u64) -> f64 {
    let high = u32::try_from(random >> 32).unwrap_or(u32::MAX);
    f64::from(high) / f64::from(u32::MAX)
}

impl Member {
    /// A request is sent to it at `now`, or a connection is carried to it.
    pub fn begin(&self, now: Duration) -> Epoch {
        let load = &self.load;
        load.in_flight.set(load.in_flight.get().saturating_add(1));
        load.health.set(load.health.get().admitted(now));
        load.epoch.get()
    }

    /// A request that began in `epoch` is answered or given up, or a connection is made.
    pub fn settle(&self, epoch: Epoch) {
        if epoch == self.load.epoch.get() {
            self.load.health.set(self.load.health.get().settled());
        }
    }

    /// The expected identity was found there, or none was looked for.
    pub fn has_expected_identity(&self) {
        self.load.identity.set(IdentityCheck::Passed);
    }

    /// That is over.
    pub fn end(&self) {
        let load = &self.load;
        load.in_flight.set(load.in_flight.get().saturating_sub(1));
    }

    /// How it does.
    pub fn load(&self) -> EndpointLoad {
        EndpointLoad {
            in_flight: self.load.in_flight.get(),
            latency: self.load.latency.get().and_then(Latency::average),
            health: self.load.health.get(),
        }
    }

    /// Its latency in seconds, where it is to be weighed against that of another.
    fn latency(&self, now: Duration) -> Option<f64> {
        let latency = self.load.latency.get()?;
        // Only an idle one is due: what is in flight will tell soon enough, and where it does not, nothing should follow it.
        let is_due = self.load.in_flight.get() == 0 && latency.is_due_for_retrial(now);
        if is_due { None } else { latency.aged(now) }
    }

    /// Its response began after `elapsed`; how it ends is recorded later.
    pub fn answered(&self, elapsed: Duration, now: Duration) {
        let latency = match self.load.latency.get() {
            Some(latency) => latency.with(elapsed, now),
            None => Latency::first(elapsed, now),
        };
        self.load.latency.set(Some(latency));
    }

    fn penalise(&self, penalty: Duration, now: Duration) {
        let latency = match self.load.latency.get() {
            Some(latency) => latency.with_penalty(penalty, now),
            None => Latency::first_penalty(penalty, now),
        };
        self.load.latency.set(Some(latency));
    }
}

#[cfg(test)]
mod tests;
