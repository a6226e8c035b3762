//! Which endpoint takes the next request.
//!
//! Of two endpoints drawn at random, the one with less to do takes it (power of two choices). What an endpoint has to
//! do is how long it takes to answer, weighted towards the last seconds and towards bad news (peak EWMA), times the
//! requests that it has to answer. Differences in latency that mean nothing decide nothing, so that equal endpoints get
//! equal shares however few requests there are.
//!
//! Nothing here reads a clock: moments are durations since any fixed one. One worker has one balancer, and shares it
//! with nobody.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::endpoints::{Endpoint, EndpointState};
use crate::name::Workload;

/// Time in which what was measured loses most of its weight. Short, as bad news counts at once: a pause that happens
/// once must not keep an endpoint without requests for long.
const MEMORY: Duration = Duration::from_secs(2);
/// How long an endpoint rests after it could not be reached; twice as long for each time in a row.
const REST: Duration = Duration::from_secs(1);
/// Doublings of the rest at most.
const MOST_DOUBLINGS: u32 = 3;
/// Latencies that differ by less than a factor of two, or by less than this, in seconds, count as equal.
const NEGLIGIBLE: f64 = 0.001;

/// Endpoints of one port of a destination, in the order in which they are preferred.
#[derive(Debug, Default)]
pub struct Balancer {
    members: Box<[Rc<Member>]>,
    /// Ready, and meant for the own zone.
    near: usize,
    /// Ready; those above included.
    ready: usize,
}

/// One endpoint, and how it does.
#[derive(Debug)]
pub struct Member {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whom it must prove to be; `None` where connections to it are not secured.
    pub expected: Option<Arc<[Workload]>>,
    load: Rc<Load>,
}

/// What was measured of one address. It survives changes of everything else about the endpoint.
#[derive(Debug, Default)]
struct Load {
    under_way: Cell<u32>,
    latency: Cell<Option<Latency>>,
    failures: Cell<u32>,
    met: Cell<Met>,
    rests_until: Cell<Duration>,
}

/// Who was met there last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Met {
    /// Whoever is meant, or nobody.
    #[default]
    Nobody,
    /// Somebody else.
    Somebody,
}

#[derive(Clone, Copy, Debug)]
struct Latency {
    seconds: f64,
    at: Duration,
}

/// How an endpoint does, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doing {
    /// Requests sent and not answered yet, and connections carried as bytes.
    pub under_way: u32,
    /// How long it takes to answer; `None` before it ever did.
    pub latency: Option<Duration>,
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
    /// one that is about to end only when no other is there. One that rests takes nothing. `random` is any
    /// evenly distributed number.
    pub fn pick(&self, now: Duration, random: u64) -> Option<&Rc<Member>> {
        let awake = |member: &Member| member.load.rests_until.get() <= now;
        let preferred = if self.ready == 0 {
            &self.members[..]
        } else {
            self.members.get(..self.ready)?
        };
        let near = self.members.get(..self.near)?;
        pick_from(near, now, random, awake).or_else(|| pick_from(preferred, now, random, awake))
    }

    /// The same when all of them rest and there is nowhere else to go.
    pub fn pick_resting(&self, now: Duration, random: u64) -> Option<&Rc<Member>> {
        let preferred = if self.ready == 0 {
            &self.members[..]
        } else {
            self.members.get(..self.ready)?
        };
        pick_from(preferred, now, random, |_| true)
    }

    /// Whether one rests because somebody else was met there than who is meant. Then whoever rests is to be asked again,
    /// rather than that anything goes anywhere in plaintext instead.
    pub fn is_mistrusted(&self) -> bool {
        self.members
            .iter()
            .any(|member| member.load.met.get() == Met::Somebody)
    }

    /// Whether there is no endpoint.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// All of them.
    pub fn members(&self) -> &[Rc<Member>] {
        &self.members
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

fn pick_from(
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
        (Some(a), Some(b)) => Some(if b.is_better_than(a, now) { b } else { a }),
        (Some(only), None) | (None, Some(only)) => Some(only),
        // Seldom: whoever is next.
        (None, None) => (0..count)
            .filter_map(|step| at(one + step))
            .find(|member| eligible(member)),
    }
}

/// A number below `count`, from the high bits of an evenly distributed one.
fn draw(random: u64, count: u64) -> u64 {
    u64::try_from((u128::from(random) * u128::from(count)) >> 64).unwrap_or(0)
}

impl Member {
    /// A request was sent to it, or a connection is carried to it.
    pub fn begin(&self) {
        self.load
            .under_way
            .set(self.load.under_way.get().saturating_add(1));
    }

    /// That is over.
    pub fn end(&self) {
        self.load
            .under_way
            .set(self.load.under_way.get().saturating_sub(1));
    }

    /// It answered after this long.
    pub fn answered(&self, now: Duration, after: Duration) {
        self.reached();
        let sample = after.as_secs_f64();
        let seconds = match self.load.latency.get() {
            Some(known) if known.seconds > sample => {
                let kept = known.weight(now);
                known.seconds * kept + sample * (1.0 - kept)
            }
            _ => sample,
        };
        self.load.latency.set(Some(Latency { seconds, at: now }));
    }

    /// It could be reached.
    pub fn reached(&self) {
        self.load.failures.set(0);
        self.load.met.set(Met::Nobody);
    }

    /// It could not be reached: it rests for a moment.
    pub fn failed(&self, now: Duration) {
        self.load.met.set(Met::Nobody);
        let failures = self.load.failures.get();
        self.load.failures.set(failures.saturating_add(1));
        self.load
            .rests_until
            .set(now + REST * (1 << failures.min(MOST_DOUBLINGS)));
    }

    /// Somebody else was met there than who is meant. It rests too.
    pub fn mistrusted(&self, now: Duration) {
        self.failed(now);
        self.load.met.set(Met::Somebody);
    }

    /// How it does.
    pub fn doing(&self) -> Doing {
        let seconds = self.load.latency.get().map(|latency| latency.seconds);
        Doing {
            under_way: self.load.under_way.get(),
            latency: seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()),
        }
    }

    fn is_better_than(&self, other: &Self, now: Duration) -> bool {
        let (own, others) = (self.load.under_way.get(), other.load.under_way.get());
        match (self.load.latency.get(), other.load.latency.get()) {
            (Some(mine), Some(theirs)) => {
                let (mine, theirs) = (mine.now(now), theirs.now(now));
                if mine <= 2.0 * theirs + NEGLIGIBLE && theirs <= 2.0 * mine + NEGLIGIBLE {
                    own < others
                } else {
                    mine * (f64::from(own) + 1.0) < theirs * (f64::from(others) + 1.0)
                }
            }
            // Nothing is known of one of them.
            _ => own < others,
        }
    }
}

impl Latency {
    /// What is left of it after a time without news: a slow endpoint gets another chance.
    fn now(self, now: Duration) -> f64 {
        self.seconds * self.weight(now)
    }

    fn weight(self, now: Duration) -> f64 {
        (-now.saturating_sub(self.at).as_secs_f64() / MEMORY.as_secs_f64()).exp()
    }
}

#[cfg(test)]
mod tests;
