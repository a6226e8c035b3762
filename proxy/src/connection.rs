//! One connection from a client: where it was going, what it speaks, and how it is carried.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use prometheus::IntGauge;
use smilax_core::config::Protocol;
use tokio::net::TcpStream;

use crate::detect::{self, Patience, Spoken};
use crate::http::server::{self, Version};
use crate::metrics::traffic::Telemetry;
use crate::tcp::{self, CarryError};
use crate::transport::{self, Upstream};
use crate::worker::Worker;
use crate::{inbound, outbound};

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the application.
    Outbound,
    /// To the application.
    Inbound,
}

/// A client's connection.
#[derive(Clone)]
pub struct Connection {
    /// The worker that it belongs to.
    pub worker: Rc<Worker>,
    /// Which way it goes.
    pub direction: Direction,
    /// Where it was going.
    pub original: SocketAddr,
}

/// Where a connection is carried to.
pub struct Target {
    /// The address.
    pub address: SocketAddr,
    /// What is measured there.
    pub telemetry: Rc<Telemetry>,
}

/// Counts a connection while it lives, so that a panic does not leave it counted.
struct Open(IntGauge);

/// Carries a connection to its end.
pub async fn accept(worker: Rc<Worker>, direction: Direction, stream: TcpStream, client: SocketAddr) {
    let metrics = &worker.shared.metrics;
    let _counted = worker.shared.lifecycle.connection();
    let _open = Open::new(match direction {
        Direction::Outbound => &metrics.open_outbound,
        Direction::Inbound => &metrics.open_inbound,
    });
    let settings = &worker.shared.settings;
    let resolver = match direction {
        Direction::Outbound => settings.outbound_destination,
        Direction::Inbound => settings.inbound_destination,
    };
    let original = match resolver.resolve(&stream) {
        Ok(original) => original,
        Err(error) => {
            metrics.refused.inc();
            tracing::debug!(%client, ?direction, %error, "closed a connection that was not redirected here");
            return tcp::reset(&stream);
        }
    };
    let accepted = match direction {
        Direction::Outbound => outbound::accepts(settings, &stream, original),
        Direction::Inbound => inbound::accepts(settings, original),
    };
    if !accepted {
        metrics.refused.inc();
        tracing::debug!(%client, ?direction, %original, "closed a connection that may not be carried");
        return tcp::reset(&stream);
    }
    let connection = Connection {
        worker: Rc::clone(&worker),
        direction,
        original,
    };
    if let Err(error) = connection.carry(stream).await {
        tracing::debug!(%client, ?direction, %original, %error, "a connection ended early");
    }
}

impl Connection {
    async fn carry(self, stream: TcpStream) -> Result<(), CarryError> {
        let protocol = match self.direction {
            Direction::Outbound => outbound::protocol(&self.worker, self.original),
            Direction::Inbound => inbound::protocol(&self.worker, self.original),
        };
        let limits = self.worker.shared.settings.limits;
        match protocol {
            Protocol::Tcp => self.carry_bytes(stream).await,
            Protocol::Http => match detect::wait(&stream, patience(limits.idle, limits.header_read)).await? {
                Some(Spoken::Tls) => self.carry_bytes(stream).await,
                Some(Spoken::Http2) => self.serve(stream, Version::Http2).await,
                // What is no HTTP is told so by the server.
                Some(Spoken::Http1 | Spoken::Bytes) => self.serve(stream, Version::Http1).await,
                None => Err(CarryError::Idle(limits.idle)),
            },
            Protocol::Detect => self.carry_unknown(stream).await,
        }
    }

    /// Finds out what is spoken. A client that says nothing may be waiting for the server: then a server is asked, and
    /// whoever speaks first decides. Whatever comes out, the policy holds.
    async fn carry_unknown(self, mut stream: TcpStream) -> Result<(), CarryError> {
        let limits = self.worker.shared.settings.limits;
        let known = self.worker.server_first.borrow().knows(self.original);
        let brief = patience(limits.detect, limits.detect);
        if !known && let Some(spoken) = detect::wait(&stream, brief).await? {
            return match version(spoken) {
                Some(version) => self.serve(stream, version).await,
                None => self.carry_bytes(stream).await,
            };
        }
        let target = self.target();
        let mut upstream = self.connect(&stream, &target).await?;
        let spoken = tokio::select! {
            biased;
            spoken = detect::wait(&stream, patience(limits.idle, limits.detect)) => {
                Some(spoken?.ok_or(CarryError::Idle(limits.idle))?)
            }
            ready = upstream.readable() => {
                ready?;
                None
            }
        };
        match spoken.map(version) {
            Some(Some(version)) => self.serve(stream, version).await,
            Some(None) => self.between(&mut stream, &mut upstream, &target).await,
            None => {
                self.worker.server_first.borrow_mut().remember(self.original);
                self.between(&mut stream, &mut upstream, &target).await
            }
        }
    }

    async fn serve(self, stream: TcpStream, version: Version) -> Result<(), CarryError> {
        Ok(server::serve(self, stream, version).await?)
    }

    async fn carry_bytes(&self, mut stream: TcpStream) -> Result<(), CarryError> {
        let target = self.target();
        let mut upstream = self.connect(&stream, &target).await?;
        self.between(&mut stream, &mut upstream, &target).await
    }

    /// Chosen once for the whole connection.
    fn target(&self) -> Target {
        match self.direction {
            Direction::Outbound => outbound::target(&self.worker, self.original),
            Direction::Inbound => inbound::target(&self.worker, self.original),
        }
    }

    /// A client that cannot be connected is reset, as it would be without a proxy between.
    async fn connect(&self, stream: &TcpStream, target: &Target) -> Result<Upstream, CarryError> {
        let connected = if self.goes_to_a_service() {
            self.worker.outbound.endpoint(target.address).connect().await
        } else {
            let shared = &self.worker.shared;
            let connected = transport::connect(target.address, shared.settings.limits.connect).await;
            connected.inspect_err(|_| shared.metrics.connect_failures.inc())
        };
        connected.map_err(|error| {
            tcp::reset(stream);
            error.into()
        })
    }

    /// Behind the address of a Service there may be nobody, and the kernel seldom says so; any other host answers for
    /// itself.
    fn goes_to_a_service(&self) -> bool {
        self.direction == Direction::Outbound && self.worker.state().table.port(self.original).is_some()
    }

    async fn between(
        &self,
        stream: &mut TcpStream,
        upstream: &mut Upstream,
        target: &Target,
    ) -> Result<(), CarryError> {
        let recording = target.telemetry.connection();
        let idle = self.worker.shared.settings.limits.idle;
        tcp::carry(stream, upstream, idle, &recording).await
    }
}

fn patience(first: Duration, clear: Duration) -> Patience {
    Patience { first, clear }
}

fn version(spoken: Spoken) -> Option<Version> {
    match spoken {
        Spoken::Http1 => Some(Version::Http1),
        Spoken::Http2 => Some(Version::Http2),
        Spoken::Tls | Spoken::Bytes => None,
    }
}

impl Open {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}
