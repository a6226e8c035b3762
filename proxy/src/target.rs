//! Where something is carried to, and where else when that fails.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use smilax_core::Outcome;

use crate::endpoints::balanced::WhenEjected;
use crate::endpoints::{Balanced, Picked};
use crate::metrics::traffic::Telemetry;
use crate::transport::{ConnectError, Expected, TlsFailure};
use crate::worker::Worker;

/// Attempts at most, each at another endpoint. A called proxy that lies about what it did with a request can have it sent
/// as often as this and no more.
const MAX_ATTEMPTS: u8 = 3;

/// Where a connection or a request is carried to.
#[derive(Debug)]
pub struct Target {
    /// The address.
    pub address: SocketAddr,
    /// Whom the server must prove to be.
    pub expected: Expected,
    /// What is measured there.
    pub telemetry: Rc<Telemetry>,
    via: Via,
    attempts: u8,
}

/// How a target's address came about.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "it is made for each request, and a box would be an allocation"
)]
enum Via {
    /// It is that of an endpoint, picked among others.
    Endpoint(Chosen),
    /// It is the virtual one of a destination, behind which the kernel picks an endpoint for each connection.
    VirtualAddress,
    /// The caller chose it itself.
    Direct,
}

/// An endpoint that was picked among others.
#[derive(Debug)]
struct Chosen {
    picked: Picked,
    family: IpAddr,
    tried: Vec<SocketAddr>,
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

/// Why a request or connection got no answer from an endpoint.
#[derive(Clone, Copy, Debug)]
pub enum AttemptFailure<'a> {
    /// No connection could be made; nothing was sent.
    Connect(&'a ConnectError),
    /// The called proxy did not hand the request to its application.
    NotProcessed,
    /// The other side stopped answering.
    Lost,
    /// The other side broke off.
    Reset,
    /// The client did.
    ClientGone,
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
    /// An address that the caller chose itself.
    pub fn direct(address: SocketAddr, expected: Expected, telemetry: Rc<Telemetry>) -> Self {
        Self {
            address,
            expected,
            telemetry,
            via: Via::Direct,
            attempts: 1,
        }
    }

    /// The virtual address of a destination.
    pub fn virtual_address(address: SocketAddr, expected: Expected, telemetry: Rc<Telemetry>) -> Self {
        Self {
            via: Via::VirtualAddress,
            ..Self::direct(address, expected, telemetry)
        }
    }

    /// One endpoint of these, or else the virtual address. `None` when there is neither.
    pub fn balanced(
        worker: &Worker,
        among: &Rc<Balanced>,
        family: IpAddr,
        fallback: Fallback,
        telemetry: &Rc<Telemetry>,
    ) -> Option<Self> {
        let Some(picked) = among.pick(worker, family, when_ejected(&fallback), &[]) else {
            let Fallback { address, expected } = fallback;
            return Some(Self::virtual_address(address?, expected, Rc::clone(telemetry)));
        };
        Some(Self {
            address: picked.member().address,
            expected: fallback.expected_of(&picked),
            telemetry: Rc::clone(telemetry),
            via: Via::Endpoint(Chosen {
                picked,
                family,
                tried: vec![],
                fallback,
            }),
            attempts: 1,
        })
    }

    /// Whether its address is that of an endpoint that was picked among others.
    pub fn is_endpoint(&self) -> bool {
        matches!(self.via, Via::Endpoint(_))
    }

    /// Whether a request that was not processed may be sent elsewhere.
    pub fn has_alternatives(&self) -> bool {
        !matches!(self.via, Via::Direct)
    }

    /// Takes note of a failed attempt, and goes elsewhere: to another endpoint, and at last to the virtual address, where
    /// another connection may lead to another endpoint. A server with the wrong identity is never made up for by going on
    /// in plaintext.
    pub fn go_elsewhere(&mut self, worker: &Worker, failure: AttemptFailure<'_>) -> Elsewhere {
        let via = std::mem::replace(&mut self.via, Via::Direct);
        let found = match via {
            Via::Endpoint(chosen) => self.go_elsewhere_from(worker, chosen, failure),
            Via::VirtualAddress if self.attempts < MAX_ATTEMPTS && may_be_another_endpoint(failure) => {
                self.via = Via::VirtualAddress;
                Elsewhere::Found
            }
            Via::VirtualAddress | Via::Direct => Elsewhere::Nowhere,
        };
        self.attempts += 1;
        found
    }

    fn go_elsewhere_from(
        &mut self,
        worker: &Worker,
        chosen: Chosen,
        failure: AttemptFailure<'_>,
    ) -> Elsewhere {
        let Chosen {
            picked,
            family,
            mut tried,
            fallback,
        } = chosen;
        let blame = Blame::of(failure);
        blame.record(&picked);
        tried.push(picked.member().address);
        let among = Rc::clone(picked.among());
        // Ends it, so that it is not in flight there any more.
        drop(picked);
        worker.shared.metrics.endpoints.failed_over.inc();
        // Once something may have been exchanged with a proven peer, nobody may bring about plaintext by breaking it off.
        let nothing_sent = matches!(failure, AttemptFailure::Connect(_)) && blame != Blame::WrongIdentity;
        let secured = self.expected.is_some();
        let acceptable = |expected: &Expected| {
            expected.is_some() || nothing_sent || !secured && blame != Blame::WrongIdentity
        };
        let when_ejected = match fallback.address {
            Some(_) => WhenEjected::None,
            None => WhenEjected::Pick,
        };
        if blame != Blame::OwnFault
            && self.attempts < MAX_ATTEMPTS
            && let Some(picked) = among.pick(worker, family, when_ejected, &tried)
            && let expected = fallback.expected_of(&picked)
            && acceptable(&expected)
        {
            self.address = picked.member().address;
            self.expected = expected;
            self.via = Via::Endpoint(Chosen {
                picked,
                family,
                tried,
                fallback,
            });
            return Elsewhere::Found;
        }
        // What was sent is not sent more often; where nothing was, one more attempt does no harm.
        let may_try = self.attempts < MAX_ATTEMPTS || matches!(failure, AttemptFailure::Connect(_));
        match fallback.address {
            Some(address) if may_try && acceptable(&fallback.expected) => {
                self.address = address;
                self.expected = fallback.expected;
                self.via = Via::VirtualAddress;
                Elsewhere::Found
            }
            _ => Elsewhere::Nowhere,
        }
    }

    /// A connection that is carried as bytes was made.
    pub fn connected(&self) {
        if let Via::Endpoint(chosen) = &self.via {
            chosen.picked.connected();
        }
    }

    /// That connection broke before the server said anything.
    pub fn broke_off(&self) {
        if let Via::Endpoint(chosen) = &self.via {
            chosen.picked.reset();
        }
    }

    /// The request has no answer, and is not sent again.
    pub fn failed(&self, failure: AttemptFailure<'_>) {
        if let Via::Endpoint(chosen) = &self.via {
            Blame::of(failure).record(&chosen.picked);
        }
    }

    /// The response began `after` this time, and says this about the endpoint; `None` where its trailers will say it.
    /// Returns the endpoint, where one was picked, to be kept until the response ends.
    pub fn responded(&mut self, outcome: Option<Outcome>, after: Duration) -> Option<Picked> {
        match std::mem::replace(&mut self.via, Via::Direct) {
            Via::Endpoint(chosen) => {
                chosen.picked.responded(outcome, after);
                Some(chosen.picked)
            }
            Via::VirtualAddress | Via::Direct => None,
        }
    }
}

/// Whether another connection to the same virtual address may succeed: the kernel may pick another endpoint for it. It
/// has none to pick where there is none, and what took too long took all the time that there is.
fn may_be_another_endpoint(failure: AttemptFailure<'_>) -> bool {
    match failure {
        AttemptFailure::Connect(error) => match error {
            ConnectError::Refused(..) => true,
            // A pod that is ending breaks off. One that proves a wrong identity proves it again.
            ConnectError::Insecure(_, failure) => matches!(failure, TlsFailure::Handshake(_)),
            ConnectError::Absent(_) | ConnectError::TimedOut(..) => false,
        },
        AttemptFailure::NotProcessed | AttemptFailure::Lost | AttemptFailure::Reset => true,
        AttemptFailure::ClientGone => false,
    }
}

/// What a failed attempt says about the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// It cannot be reached.
    Unreachable,
    /// It failed.
    Failure,
    /// It is not what was expected.
    WrongIdentity,
    /// Nothing: this proxy has no certificate.
    OwnFault,
    /// Nothing.
    None,
}

impl Blame {
    fn of(failure: AttemptFailure<'_>) -> Self {
        match failure {
            AttemptFailure::Connect(ConnectError::Insecure(_, TlsFailure::NoIdentity)) => Self::OwnFault,
            AttemptFailure::Connect(ConnectError::Insecure(..)) => Self::WrongIdentity,
            AttemptFailure::Connect(_) | AttemptFailure::NotProcessed | AttemptFailure::Lost => {
                Self::Unreachable
            }
            AttemptFailure::Reset => Self::Failure,
            AttemptFailure::ClientGone => Self::None,
        }
    }

    fn record(self, picked: &Picked) {
        match self {
            Self::Unreachable => picked.failed(Outcome::Unreachable),
            Self::Failure => picked.failed(Outcome::Failure),
            Self::WrongIdentity => picked.has_wrong_identity(),
            Self::OwnFault | Self::None => picked.failed(Outcome::Ignored),
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

/// Where there is somewhere else to go, endpoints that are ejected are let alone.
fn when_ejected(fallback: &Fallback) -> WhenEjected {
    match (fallback.address, &fallback.expected) {
        (None, _) => WhenEjected::Pick,
        (Some(_), None) => WhenEjected::UnlessWrongIdentity,
        (Some(_), Some(_)) => WhenEjected::None,
    }
}
