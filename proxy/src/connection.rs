//! One connection from a client: where it was going, what it speaks, and how it is carried.

mod admit;
mod from_application;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use prometheus::IntGauge;
use tokio::net::TcpStream;

use crate::access::{Caller, Judge, Refused};
use crate::detect::Patience;
use crate::http::server::{self, Version};
use crate::inbound::{self, arrival};
use crate::metrics::traffic::Telemetry;
use crate::outbound;
use crate::overload::{Admitted, Flow, Way};
use crate::target::{AttemptFailure, Elsewhere, Target};
use crate::tcp::{self, CarryError, Watch};
use crate::tls::{Peer, Wire};
use crate::transport::{self, ConnectError, Stream, Upstream};
use crate::worker::Worker;

/// Which way a connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the application.
    Outbound,
    /// To the application.
    Inbound,
}

/// How long a connection that has to end may take over ending in good order: enough for what the other side is told, and
/// little, as all that end for a flood of others live for so long beside them.
const LAST_WORDS: Duration = Duration::from_millis(10);

/// A client's connection.
pub struct Connection {
    /// The worker that it belongs to.
    pub worker: Rc<Worker>,
    /// Where it was going.
    pub original: SocketAddr,
    /// Which way it goes.
    pub side: Side,
    /// What it costs.
    pub admitted: Arc<Admitted>,
}

/// What is particular to each way.
pub enum Side {
    /// From the application.
    Outbound,
    /// To the application.
    Inbound {
        /// Whether it may.
        judge: Box<Judge>,
        /// What is measured about its caller.
        telemetry: Rc<Telemetry>,
    },
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
    let Some(admitted) = admit::admit(&worker, direction, client) else {
        tracing::debug!(%client, ?direction, %original, "closed a connection: there is no room for it");
        return tcp::reset(&stream);
    };
    let end = admitted.end.clone();
    let carry = async {
        match direction {
            // On the heap by itself, as is each stage that lasts: a task is as large as the largest that it ever holds.
            Direction::Outbound => {
                let connection = Connection {
                    worker: Rc::clone(&worker),
                    original,
                    side: Side::Outbound,
                    admitted,
                };
                Box::pin(Rc::new(connection).carry_outbound(stream)).await
            }
            Direction::Inbound => Box::pin(arrival::carry(&worker, admitted, stream, client, original)).await,
        }
    };
    let ended = async {
        end.cancelled().await;
        tokio::time::sleep(LAST_WORDS).await;
    };
    let carried = tokio::select! {
        carried = carry => carried,
        () = ended => Err(CarryError::Overload),
    };
    if let Err(error) = carried {
        tracing::debug!(%client, ?direction, %original, %error, "a connection ended early");
    }
}

impl Connection {
    /// One to the application.
    pub(crate) fn inbound(
        worker: &Rc<Worker>,
        admitted: Arc<Admitted>,
        original: SocketAddr,
        caller: Caller,
        telemetry: Rc<Telemetry>,
    ) -> Self {
        let judge = Judge::new(Rc::clone(worker), caller, original.port());
        Self {
            worker: Rc::clone(worker),
            original,
            side: Side::Inbound {
                judge: Box::new(judge),
                telemetry,
            },
            admitted,
        }
    }

    /// The other side of these lets the server speak first.
    pub(crate) fn remember(&self, silent: SocketAddr) {
        self.worker.server_first.borrow_mut().remember(silent);
    }

    /// What this client sends to this port is HTTP, whatever it looks like.
    fn remember_as_misread(&self) {
        if let Some(judge) = self.judge() {
            let client = SocketAddr::new(judge.caller().address, self.original.port());
            self.worker.misread.borrow_mut().remember(client);
        }
    }

    /// The server has answered a request in this version. Where that is the application and HTTP/1, its port is known
    /// from then on: a server of HTTP/2 may share a port with other protocols.
    pub(crate) fn answered_in(&self, version: http::Version) {
        if self.direction() == Direction::Inbound && version <= http::Version::HTTP_11 {
            self.worker.shared.http_ports.remember(self.original.port());
        }
    }

    /// Which way it goes.
    pub fn direction(&self) -> Direction {
        match self.side {
            Side::Outbound => Direction::Outbound,
            Side::Inbound { .. } => Direction::Inbound,
        }
    }

    /// What is measured about a request before it is known where it goes.
    pub fn telemetry(&self) -> &Rc<Telemetry> {
        match &self.side {
            Side::Outbound => &self.worker.unknown_telemetry,
            Side::Inbound { telemetry, .. } => telemetry,
        }
    }

    /// Who decides about it; nobody does about what the application sends.
    pub fn judge(&self) -> Option<&Judge> {
        match &self.side {
            Side::Outbound => None,
            Side::Inbound { judge, .. } => Some(judge),
        }
    }

    /// Whoever has proven to be at the other end of it.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        self.judge()?.caller().peer.as_ref()
    }

    /// Serves what is HTTP.
    pub(crate) async fn serve(
        self: Rc<Self>,
        stream: impl Into<Stream>,
        version: Version,
    ) -> Result<(), CarryError> {
        Box::pin(server::serve(self, stream.into(), version)).await
    }

    /// Carries what is not, or is not looked into.
    pub(crate) async fn carry_bytes(&self, stream: Stream, watch: Watch) -> Result<(), CarryError> {
        if let Err(refused) = self.judged() {
            tcp::reset(stream.socket());
            return Err(refused.into());
        }
        let mut target = self.bytes_target();
        let upstream = self.connect(stream.socket(), &mut target).await?;
        self.between(stream, upstream, &target, &Bytes::new(), watch)
            .await
    }

    /// Whether it may be carried as bytes.
    pub(crate) fn judged(&self) -> Result<(), Refused> {
        self.judge().map_or(Ok(()), Judge::connection)
    }

    /// Chosen once for the whole connection.
    pub(crate) fn bytes_target(&self) -> Target {
        match &self.side {
            Side::Outbound => outbound::target(&self.worker, self.original),
            Side::Inbound { telemetry, .. } => inbound::target(self.original, telemetry),
        }
    }

    /// A client that cannot be connected is reset, as it would be without a proxy between.
    pub(crate) async fn connect(
        &self,
        client: &TcpStream,
        target: &mut Target,
    ) -> Result<Upstream, CarryError> {
        let result = loop {
            match self.connect_upstream(target).await {
                Err(error)
                    if target.go_elsewhere(&self.worker, AttemptFailure::Connect(&error))
                        == Elsewhere::Found => {}
                result => break result,
            }
        };
        if result.is_err() {
            tcp::reset(client);
        }
        Ok(result?)
    }

    async fn connect_upstream(&self, target: &Target) -> Result<Upstream, ConnectError> {
        if target.is_endpoint() {
            let endpoint = self.worker.endpoint_pool.endpoint(target.address);
            let upstream = endpoint.open(Wire::Bytes, target.expected.as_ref()).await?;
            target.connected();
            return Ok(upstream);
        }
        if self.goes_to_a_service() || target.expected.is_some() {
            let endpoint = self.worker.outbound.endpoint(target.address);
            return endpoint.open(Wire::Bytes, target.expected.as_ref()).await;
        }
        let shared = &self.worker.shared;
        let limit = shared.settings.limits.connect;
        let connected = match self.direction() {
            Direction::Inbound => transport::connect_to_application(target.address, limit).await,
            Direction::Outbound => transport::connect(target.address, limit).await,
        };
        let stream = connected.inspect_err(|_| shared.metrics.connect_failures.inc())?;
        Ok(Upstream::from(stream))
    }

    /// Behind the address of a Service there may be nobody, and the kernel seldom says so; any other host answers for
    /// itself.
    fn goes_to_a_service(&self) -> bool {
        self.direction() == Direction::Outbound && self.worker.state().table.port(self.original).is_some()
    }

    /// Carries bytes until both are done, or until either may not go on. `greeting` is what the server has said already.
    pub(crate) async fn between(
        &self,
        mut client: Stream,
        mut upstream: Upstream,
        target: &Target,
        greeting: &Bytes,
        watch: Watch,
    ) -> Result<(), CarryError> {
        let _under_way = self.admitted.activity.begin();
        let flows = self.flows();
        let meter = tcp::Answered::new(target.telemetry.connection());
        let idle = self.worker.shared.settings.limits.idle;
        tcp::greet(&mut client, greeting, &meter).await?;
        let over = self.over(None, upstream.peer.as_deref());
        let carried = Box::pin(tcp::carry(
            &mut client,
            &mut upstream.stream,
            idle,
            &meter,
            &flows,
            watch,
            over,
        ))
        .await;
        // A proxy whose application is down takes the connection, and then resets it.
        if matches!(carried, Err(CarryError::Broken(_))) && !meter.has_answered() {
            target.broke_off();
        }
        if matches!(carried, Err(CarryError::Misread)) {
            self.remember_as_misread();
        }
        carried
    }

    /// What is held of it from here on, as it is carried as bytes.
    pub fn flows(&self) -> tcp::Flows {
        self.admitted.activity.allow_pauses();
        tcp::Flows {
            up: Flow::new(&self.admitted, Way::Request),
            down: Flow::new(&self.admitted, Way::Response),
        }
    }

    /// Completes when what is carried as bytes may not go on; `request` began it, if it was not bytes from its beginning.
    pub async fn over(&self, request: Option<&Parts>, upstream: Option<&Peer>) -> CarryError {
        let right_is_gone = async {
            match (self.judge(), upstream) {
                (Some(judge), _) => judge.right_is_gone(request).await.into(),
                (None, Some(peer)) => {
                    self.worker.shared.distrusts(peer).await;
                    Refused::Distrusted.into()
                }
                (None, None) => std::future::pending().await,
            }
        };
        tokio::select! {
            error = right_is_gone => error,
            () = self.admitted.end.cancelled() => CarryError::Overload,
        }
    }
}

pub(crate) fn patience(first: Duration, clear: Duration) -> Patience {
    Patience { first, clear }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of what a function of these arguments returns.
    fn size<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn s6_a_task_is_not_as_large_as_all_that_a_connection_may_become() {
        let task = size(accept);
        assert!(task <= 1024, "{task} bytes");
    }
}
