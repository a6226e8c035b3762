//! Where something is carried to, and where else when nobody is there.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use crate::endpoints::balanced::Rest;
use crate::endpoints::{Balanced, Picked};
use crate::metrics::traffic::Telemetry;
use crate::transport::{ConnectError, Expected, TlsFailure};
use crate::worker::Worker;

/// Endpoints tried one after the other at most.
const MOST_ENDPOINTS: u8 = 3;

/// Where a connection or a request is carried to.
#[derive(Debug)]
pub struct Target {
    /// The address.
    pub address: SocketAddr,
    /// Whom the server must prove to be.
    pub expected: Expected,
    /// What is measured there.
    pub telemetry: Rc<Telemetry>,
    /// The endpoint that was picked, where the address is that of one.
    pub endpoint: Option<Chosen>,
}

/// An endpoint that was picked among others.
#[derive(Debug)]
pub struct Chosen {
    picked: Picked,
    among: Rc<Balanced>,
    family: IpAddr,
    tried: u8,
    fallback: Fallback,
}

/// What the configuration says of a port, whatever endpoints say.
#[derive(Clone, Debug)]
pub struct Fallback {
    /// Where to go when no endpoint can be reached: the virtual address, where there is one.
    pub address: Option<SocketAddr>,
    /// Whom the server must prove to be. Where it must, no endpoint is an exception.
    pub expected: Expected,
}

/// Whether there is somewhere else to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// There is, and the target says where.
    Found,
    /// There is not.
    Nowhere,
}

impl Target {
    /// One at an address that nothing is chosen for.
    pub fn straight(address: SocketAddr, expected: Expected, telemetry: Rc<Telemetry>) -> Self {
        Self {
            address,
            expected,
            telemetry,
            endpoint: None,
        }
    }

    /// One endpoint of these, or else the virtual address. `None` when there is neither.
    pub fn balanced(
        worker: &Worker,
        among: Rc<Balanced>,
        family: IpAddr,
        fallback: Fallback,
        telemetry: &Rc<Telemetry>,
    ) -> Option<Self> {
        let Some(picked) = among.pick(worker, family, rest(&fallback)) else {
            let Fallback { address, expected } = fallback;
            return Some(Self::straight(address?, expected, Rc::clone(telemetry)));
        };
        Some(Self {
            address: picked.member().address,
            expected: fallback.expected_of(&picked),
            telemetry: Rc::clone(telemetry),
            endpoint: Some(Chosen {
                picked,
                among,
                family,
                tried: 1,
                fallback,
            }),
        })
    }

    /// Nobody could be reached there, and nothing was sent: goes to another endpoint, and at last to the virtual
    /// address. Who was met and is not who is meant is never made up for by going on in plaintext.
    pub fn go_elsewhere(&mut self, worker: &Worker, error: &ConnectError) -> Elsewhere {
        let Some(chosen) = self.endpoint.take() else {
            return Elsewhere::Nowhere;
        };
        let own_fault = matches!(error, ConnectError::Insecure(_, TlsFailure::NoIdentity));
        let suspicious = matches!(error, ConnectError::Insecure(..)) && !own_fault;
        let Chosen {
            picked,
            among,
            family,
            tried,
            fallback,
        } = chosen;
        if suspicious {
            picked.member().mistrusted(worker.now());
        } else if !own_fault {
            picked.member().failed(worker.now());
        }
        drop(picked);
        worker.shared.metrics.endpoints.failed_over.inc();
        let acceptable = |expected: &Expected| !suspicious || expected.is_some();
        if !own_fault
            && tried < MOST_ENDPOINTS
            && let Some(picked) = among.pick(worker, family, Rest::Respected)
            && let expected = fallback.expected_of(&picked)
            && acceptable(&expected)
        {
            self.address = picked.member().address;
            self.expected = expected;
            self.endpoint = Some(Chosen {
                picked,
                among,
                family,
                tried: tried + 1,
                fallback,
            });
            return Elsewhere::Found;
        }
        match fallback.address {
            Some(address) if acceptable(&fallback.expected) => {
                self.address = address;
                self.expected = fallback.expected;
                Elsewhere::Found
            }
            _ => Elsewhere::Nowhere,
        }
    }

    /// A connection to it was made.
    pub fn reached(&self) {
        if let Some(chosen) = &self.endpoint {
            chosen.picked.member().reached();
        }
    }

    /// It answered a request after this long.
    pub fn answered(&mut self, worker: &Worker, after: Duration) {
        if let Some(chosen) = self.endpoint.take() {
            chosen.picked.answered(worker.now(), after);
        }
    }
}

impl Fallback {
    /// Whom an endpoint must prove to be: who the operator says is there; and where it says nobody, whom the
    /// configuration expects, if it expects anybody.
    fn expected_of(&self, picked: &Picked) -> Expected {
        let told = &picked.member().expected;
        told.as_ref().or(self.expected.as_ref()).cloned()
    }
}

/// Where there is somewhere else to go, endpoints that rest are let alone.
fn rest(fallback: &Fallback) -> Rest {
    match (fallback.address, &fallback.expected) {
        (None, _) => Rest::Disturbed,
        (Some(_), None) => Rest::RespectedInGoodFaith,
        (Some(_), Some(_)) => Rest::Respected,
    }
}
