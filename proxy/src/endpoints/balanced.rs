//! The endpoints of one port, as one worker balances over them.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smilax_core::balance::Member;
use smilax_core::{Balancer, DestinationPortName, Resource};

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
}

#[derive(Debug, Default)]
struct Families {
    told: Option<Arc<PortEndpoints>>,
    zone: Option<Arc<str>>,
    v4: Balancer,
    v6: Balancer,
}

/// An endpoint that was picked. It counts as busy for as long as this lives.
#[derive(Debug)]
pub struct Picked {
    member: Rc<Member>,
}

/// What to do when every endpoint rests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// There is somewhere else to go.
    Respected,
    /// There is, in plaintext: not when it is for want of whoever is meant that all of them rest.
    RespectedInGoodFaith,
    /// There is not.
    Disturbed,
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
        }
    }

    /// The endpoint that takes something now, of the family of this address. Says that this port is used.
    pub fn pick(&self, worker: &Worker, family: IpAddr, rest: Rest) -> Option<Picked> {
        self.used.set(true);
        if !self.said.get() {
            let said = worker.shared.wanted.say(vec![self.resource()]);
            self.said.set(said == Said::Yes);
        }
        self.follow(worker);
        let families = self.families.borrow();
        let balancer = match (family.is_ipv4(), rest) {
            (true, Rest::Disturbed) if families.v4.is_empty() => &families.v6,
            (false, Rest::Disturbed) if families.v6.is_empty() => &families.v4,
            (true, _) => &families.v4,
            (false, _) => &families.v6,
        };
        let (now, random) = (worker.now(), fastrand::u64(..));
        let picked = balancer.pick(now, random);
        let picked = picked.or_else(|| match rest {
            Rest::Respected => None,
            Rest::RespectedInGoodFaith if !balancer.is_mistrusted() => None,
            Rest::RespectedInGoodFaith | Rest::Disturbed => balancer.pick_resting(now, random),
        });
        Some(Picked::new(Rc::clone(picked?)))
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
}

impl Picked {
    fn new(member: Rc<Member>) -> Self {
        member.begin();
        Self { member }
    }

    /// The endpoint.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// It answered after this long.
    pub fn answered(self, now: Duration, after: Duration) {
        self.member.answered(now, after);
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.member.end();
    }
}
