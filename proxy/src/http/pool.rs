//! Connections upstream that are kept for further requests, by address. They belong to one worker.

mod failure;
pub mod http1;
pub mod http2;
mod keep_alive;
pub mod presence;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use smilax_core::ExpectedIdentity;
use tokio::net::TcpStream;
use tokio::time::Instant;

use self::failure::ConnectionFailure;
pub use self::failure::OpenError;
use self::presence::Presence;
use super::expect::Unwanted;
use super::request_body::Progress;
use super::upstream::{self, SendError};
use crate::overload::Receiver;
use crate::settings::Limits;
use crate::tls::{Peer, TlsContext, Wire};
use crate::transport::liveness::{self, Silence};
use crate::transport::{self, ConnectError, ServerSignals, TlsFailure, Upstream};
use crate::worker::Shared;

/// Connections over which requests to one Service are spread at least, as kube-proxy picks a pod for each.
const SERVICE_SPREAD: usize = 4;
/// One process is behind the address, so that one connection serves where one suffices.
const SINGLE: usize = 1;
/// An age that no connection comes to.
const AGES: Duration = Duration::from_hours(24 * 365);
/// Time without a request after which a connection of HTTP/2 is closed.
const UNUSED: Duration = Duration::from_mins(1);
/// How often unused connections are closed.
const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// Every connection upstream that a worker keeps.
#[derive(Debug)]
pub struct Pool {
    endpoints: RefCell<HashMap<SocketAddr, Rc<Endpoint>>>,
    kind: Kind,
    shared: Arc<Shared>,
}

/// What the addresses of a pool are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Those of Services and of other hosts. Behind one there may be many endpoints, over which connections must be spread,
    /// and spread anew after some time.
    Services,
    /// Those of single endpoints, with others to go to when one does not answer.
    Endpoints,
    /// Those of the application.
    Application,
}

/// Connections to one address.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    kind: Kind,
    spread: usize,
    used: Cell<Instant>,
    limits: Limits,
    shared: Arc<Shared>,
    http1: http1::Connections,
    http2: http2::Connections,
    presence: Presence,
}

/// What a response holds of its connection while it lasts.
#[derive(Debug)]
pub enum Hold {
    /// All of it.
    Http1(http1::Lease),
    /// One stream.
    Http2(http2::Stream),
}

impl Kind {
    /// Who gets what the servers there say.
    fn receiver(self) -> Receiver {
        match self {
            Self::Services | Self::Endpoints => Receiver::Application,
            Self::Application => Receiver::Client,
        }
    }

    fn spread(self) -> usize {
        match self {
            Self::Services => SERVICE_SPREAD,
            Self::Endpoints | Self::Application => SINGLE,
        }
    }
}

impl Pool {
    /// An empty pool.
    pub fn new(kind: Kind, shared: &Arc<Shared>) -> Self {
        Self {
            endpoints: RefCell::default(),
            kind,
            shared: Arc::clone(shared),
        }
    }

    /// Connections to this address.
    pub fn endpoint(&self, address: SocketAddr) -> Rc<Endpoint> {
        let mut endpoints = self.endpoints.borrow_mut();
        let endpoint = endpoints.entry(address).or_insert_with(|| {
            Rc::new(Endpoint {
                address,
                kind: self.kind,
                spread: self.kind.spread(),
                used: Cell::new(Instant::now()),
                limits: self.shared.settings.limits,
                shared: Arc::clone(&self.shared),
                http1: http1::Connections::default(),
                http2: http2::Connections::default(),
                presence: self.shared.presences.of(address),
            })
        });
        Rc::clone(endpoint)
    }

    /// Closes what has not been used for too long, for ever.
    pub async fn reap_forever(&self) {
        let mut interval = tokio::time::interval(REAP_INTERVAL);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            self.reap();
        }
    }

    /// Lets go of connections to whoever is no longer trusted, for ever.
    pub async fn distrust_forever(&self) {
        let mut changes = self.shared.changes.watch();
        while changes.changed().await.is_ok() {
            if let Some(context) = self.shared.tls.load_full() {
                for endpoint in self.endpoints.borrow().values() {
                    endpoint.distrust(&context);
                }
            }
        }
    }

    fn reap(&self) {
        let now = Instant::now();
        self.endpoints.borrow_mut().retain(|_, endpoint| {
            endpoint.http1.reap(now, endpoint.limits.pool_idle);
            endpoint.http2.prune(now);
            if now - endpoint.used.get() >= UNUSED {
                endpoint.http2.close_unused();
            }
            // Somebody who is about to use it has a handle of their own.
            Rc::strong_count(endpoint) > 1 || !endpoint.is_empty()
        });
    }
}

impl Endpoint {
    /// The address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn is_empty(&self) -> bool {
        self.http1.is_empty() && self.http2.is_empty() && !self.presence.is_known()
    }

    /// Makes a connection that carries `wire` between proxies, where somebody is expected, and is plain otherwise.
    /// Nothing is sent to anybody else.
    ///
    /// # Errors
    /// [`ConnectError`], which was counted.
    pub async fn open(
        &self,
        wire: Wire,
        expected: Option<&Arc<[ExpectedIdentity]>>,
    ) -> Result<Upstream, ConnectError> {
        let Some(expected) = expected else {
            let stream = self.connect().await?;
            if wire != Wire::Bytes && self.kind == Kind::Endpoints {
                liveness::watch(&stream, Silence::Probed);
            }
            return Ok(Upstream::from(stream));
        };
        let context = self.shared.tls.load_full();
        let secured = match context.as_deref() {
            // A server without a proxy may take a handshake for the beginning of a request, and wait for the rest.
            _ if expected.is_empty() => Err(TlsFailure::NoSidecar),
            // Spares a connection that could not be used.
            None => Err(TlsFailure::NoIdentity),
            Some(context) => {
                let stream = self.connect().await?;
                match wire {
                    Wire::Http2 => liveness::watch(&stream, Silence::Pinged),
                    Wire::Http1 => liveness::watch(&stream, Silence::Probed),
                    // Applications decide for themselves how long they wait.
                    Wire::Bytes => {}
                }
                transport::secure(stream, context, wire, expected, self.limits.upstream_handshake).await
            }
        };
        secured.map_err(|failure| {
            let metrics = &self.shared.metrics.access;
            metrics.tls_failure("outbound", failure.reason());
            tracing::debug!(address = %self.address, %failure, "a connection upstream is not secured");
            ConnectError::Insecure(self.address, failure)
        })
    }

    /// Why nothing of a request was sent.
    pub fn unsent(&self, error: hyper::Error) -> SendError {
        if upstream::body_failed(&error) {
            return SendError::CutOff(error);
        }
        match failure::classify(&error) {
            ConnectionFailure::Disbelieved(reason) => self.disbelieved(reason),
            _ => SendError::Unsent(error),
        }
    }

    /// Why there is no answer.
    pub fn broken(&self, error: hyper::Error) -> SendError {
        if upstream::body_failed(&error) {
            return SendError::CutOff(error);
        }
        match failure::classify(&error) {
            ConnectionFailure::Disbelieved(reason) => self.disbelieved(reason),
            ConnectionFailure::NotProcessed => SendError::NotProcessed(error),
            ConnectionFailure::Lost => SendError::Lost(error),
            ConnectionFailure::Broken => SendError::Broken(error),
        }
    }

    /// In TLS 1.3 a client learns only after the handshake that the server does not believe it.
    fn disbelieved(&self, reason: String) -> SendError {
        let failure = TlsFailure::Disbelieved(reason);
        let metrics = &self.shared.metrics.access;
        metrics.tls_failure("outbound", failure.reason());
        SendError::Connect(ConnectError::Insecure(self.address, failure))
    }

    /// How long a server may allow no requests.
    pub fn stream_limit(&self) -> Duration {
        match self.kind {
            Kind::Application => self.limits.handshake,
            Kind::Services | Kind::Endpoints => self.limits.upstream_handshake,
        }
    }

    /// Makes a plain connection, unless it is known that nobody is there.
    async fn connect(&self) -> Result<TcpStream, ConnectError> {
        self.presence.asked();
        let result = if self.presence.is_absent() {
            Err(ConnectError::Absent(self.address))
        } else {
            tokio::select! {
                result = self.connect_patiently() => result,
                () = self.presence.in_vain() => Err(ConnectError::Absent(self.address)),
            }
        };
        match &result {
            Ok(_) => self.presence.answered(),
            Err(error) => {
                self.shared.metrics.connect_failures.inc();
                if matches!(error, ConnectError::Refused(..)) && self.presence.refused() {
                    let (address, limit) = (self.address, self.limits.connect);
                    let attempt = move || async move { transport::connect(address, limit).await.is_ok() };
                    tokio::task::spawn_local(self.presence.clone().watch(attempt));
                    return Err(ConnectError::Absent(self.address));
                }
            }
        }
        result
    }

    /// Where there are other endpoints, waiting for one that does not answer is a loss. Behind the address of a Service, the
    /// kernel may pick another endpoint for another connection, so that trying again beats waiting.
    async fn connect_patiently(&self) -> Result<TcpStream, ConnectError> {
        let Limits {
            connect,
            endpoint_connect,
            ..
        } = self.limits;
        let (brief_tries, last) = match self.kind {
            Kind::Services => (2, connect.saturating_sub(2 * endpoint_connect)),
            Kind::Endpoints => (0, endpoint_connect),
            Kind::Application => {
                return transport::connect_to_application(self.address, connect).await;
            }
        };
        for _ in 0..brief_tries {
            match transport::connect(self.address, endpoint_connect).await {
                Err(ConnectError::TimedOut(..)) => {}
                result => return result,
            }
        }
        transport::connect(self.address, last).await
    }

    fn distrust(&self, context: &TlsContext) {
        self.http1
            .retain(|peer| peer.is_none_or(|peer| context.trusts(peer)));
        self.http2
            .retain(|peer| peer.is_none_or(|peer| context.trusts(peer)));
    }

    /// Runs a connection. One to somebody who is no longer trusted ends a while later, whatever is under way.
    fn drive<C>(&self, peer: Option<Arc<Peer>>, connection: C)
    where
        C: Future<Output = hyper::Result<()>> + 'static,
    {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_local(async move {
            let result = match peer {
                None => connection.await,
                Some(peer) => {
                    let distrusted = async {
                        shared.distrusts(&peer).await;
                        tokio::time::sleep(shared.settings.limits.distrusted).await;
                    };
                    tokio::select! {
                        result = connection => result,
                        () = distrusted => return tracing::debug!("a connection upstream to somebody who is no longer trusted ended"),
                    }
                }
            };
            if let Err(error) = result {
                tracing::debug!(%error, "a connection upstream ended early");
            }
        });
    }

    /// When a connection that is made now takes no more requests. Ages differ, so that connections made together are
    /// not replaced together.
    fn expiry(&self) -> Instant {
        let most = match self.kind {
            Kind::Services | Kind::Application => self.limits.pool_max_age,
            Kind::Endpoints => AGES,
        };
        Instant::now() + most.mul_f64(1.0 - fastrand::f64() / 4.0)
    }
}

impl Hold {
    /// Sends no further requests over its connection.
    pub fn retire(&self) {
        match self {
            // It serves one request at a time, and is closed when it is not given back.
            Self::Http1(_) => {}
            Self::Http2(stream) => stream.retire(),
        }
    }

    /// The response has ended: the connection can serve again.
    pub fn release(self) {
        match self {
            Self::Http1(lease) => lease.response_ended(),
            Self::Http2(stream) => drop(stream),
        }
    }

    /// Says how much of the request's body has been taken.
    pub fn sends(&mut self, progress: Rc<Progress>) {
        match self {
            Self::Http1(lease) => lease.sends(progress),
            Self::Http2(_) => {}
        }
    }

    /// Keeps that the server has answered without wanting the request's body, so that its connection serves no other request.
    pub fn holds_back(&mut self, unwanted: Unwanted) {
        match self {
            Self::Http1(lease) => lease.holds_back(unwanted),
            Self::Http2(_) => {}
        }
    }

    /// Whether the server has answered without wanting the request's body, whether or not that was sent.
    pub fn is_unwanted(&self) -> bool {
        match self {
            Self::Http1(lease) => lease.is_unwanted(),
            Self::Http2(_) => false,
        }
    }

    /// The client has sent its request and finished sending, which a server of HTTP/1 is told. HTTP/2 has no word for
    /// it: its streams end with the request in any case.
    pub fn client_has_finished(&self) {
        match self {
            Self::Http1(lease) => lease.signals().finish(),
            Self::Http2(_) => {}
        }
    }

    /// The server has closed a connection that had served before, instead of answering.
    pub fn lost(&self) {
        match self {
            Self::Http1(lease) => lease.lost(),
            Self::Http2(_) => {}
        }
    }

    /// What the task that drives the connection heeds.
    pub fn signals(&self) -> Option<Arc<ServerSignals>> {
        match self {
            Self::Http1(lease) => Some(Arc::clone(lease.signals())),
            Self::Http2(_) => None,
        }
    }
}
