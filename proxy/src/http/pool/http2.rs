//! Connections of HTTP/2: many requests at a time on each.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::http1::Reused;
use super::{Endpoint, Kind, OpenError};
use crate::http::LocalExecutor;
use crate::http::body::RequestBody;
use crate::http::limits::LIST_BYTES;
use crate::http::{windows, wire};
use crate::tls::{Peer, Wire};
use crate::transport::liveness::{self, Progress, SilenceTimer};
use crate::transport::{Expected, Http2Stream, fits};

/// Connections at most, when all of them have as many streams as their server allows.
const MOST_CONNECTIONS: usize = 64;
/// Streams of one connection at most: for these there are windows.
const MOST_STREAMS: usize = windows::STREAMS as usize;
/// Streams that are opened before the server has said how many it allows; others wait for that word, since a server may
/// refuse what goes beyond (RFC 9113 section 5.1.2).
const UNASKED_STREAMS: usize = 1;

/// Connections of HTTP/2 to one address.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: RefCell<Vec<Rc<Connection>>>,
    opening: Cell<usize>,
    opened: Notify,
    next: Cell<usize>,
    /// For whom all that are open are good, once that was looked at.
    good_for: RefCell<Option<Expected>>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<RequestBody>,
    peer: Option<Arc<Peer>>,
    expires: Cell<Instant>,
    streams: Cell<usize>,
    allowance: Rc<Allowance>,
}

/// How many streams a server allows.
#[derive(Debug, Default)]
struct Allowance {
    said: Cell<Option<usize>>,
    changed: Notify,
}

/// One stream of a connection; freed when dropped.
#[derive(Debug)]
pub struct Stream {
    connection: Rc<Connection>,
    reused: Reused,
}

/// What to do for a request that needs a stream.
enum Step {
    Use(Rc<Connection>),
    Open,
    /// Until a connection is made, or its server has said how many streams it allows.
    Wait,
    /// Until a server allows streams, which it may never do.
    Starve,
}

struct Opening<'a>(&'a Connections);

impl Allowance {
    fn streams(&self) -> usize {
        self.said.get().unwrap_or(UNASKED_STREAMS).min(MOST_STREAMS)
    }

    fn is_known(&self) -> bool {
        self.said.get().is_some()
    }

    async fn starves(&self, limit: Duration) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.said.get() {
                None => changed.await,
                Some(0) if tokio::time::timeout(limit, changed).await.is_err() => return,
                Some(0) => {}
                Some(_) => std::future::pending().await,
            }
        }
    }

    /// Whether this is news.
    fn set(&self, streams: usize) -> bool {
        let news = self.said.replace(Some(streams)) != Some(streams);
        if news {
            self.changed.notify_waiters();
        }
        news
    }
}

impl Connections {
    pub(super) fn is_empty(&self) -> bool {
        self.open.borrow().is_empty() && self.opening.get() == 0
    }

    /// Lets go of what takes no more requests. Streams that are under way hold their connection.
    pub(super) fn prune(&self, now: Instant) {
        self.open
            .borrow_mut()
            .retain(|one| !one.sender.is_closed() && one.expires.get() > now);
    }

    /// Lets go of what carries no stream.
    pub(super) fn close_unused(&self) {
        self.open.borrow_mut().retain(|one| one.streams.get() > 0);
    }

    /// Lets go of what leads to others than these.
    pub(super) fn retain(&self, keep: impl Fn(Option<&Peer>) -> bool) {
        self.open.borrow_mut().retain(|one| keep(one.peer.as_deref()));
    }

    fn keep_only_good(&self, expected: &Expected) {
        let mut good_for = self.good_for.borrow_mut();
        let known = good_for.as_ref().is_some_and(|known| match (known, expected) {
            (None, None) => true,
            (Some(known), Some(expected)) => Arc::ptr_eq(known, expected),
            (None, Some(_)) | (Some(_), None) => false,
        });
        if !known {
            self.retain(|peer| fits(peer, expected.as_deref()));
            *good_for = Some(expected.clone());
        }
    }

    fn add(&self, connection: &Rc<Connection>) {
        self.open.borrow_mut().push(Rc::clone(connection));
        // Others may be expected by now than when it was begun.
        *self.good_for.borrow_mut() = None;
    }

    /// Connections take turns. There are `spread` of them, and more when these are full.
    fn step(&self, expected: &Expected, spread: usize) -> Step {
        self.prune(Instant::now());
        self.keep_only_good(expected);
        let open = self.open.borrow();
        let known = open.len() + self.opening.get();
        let start = self.next.get();
        self.next.set(start.wrapping_add(1));
        let free = (0..open.len())
            .filter_map(|offset| open.get(start.wrapping_add(offset) % open.len()))
            .find(|one| one.streams.get() < one.allowance.streams());
        let closed = open.iter().filter(|one| one.allowance.streams() == 0).count();
        match free {
            _ if known < spread => Step::Open,
            Some(free) => Step::Use(Rc::clone(free)),
            // A server that has not said yet how many it allows is slow, not full: the first request waits as well.
            None if self.opening.get() > 0 || open.iter().any(|one| !one.allowance.is_known()) => Step::Wait,
            // Of a server that allows no streams, one more connection is tried.
            None if known < MOST_CONNECTIONS && closed <= spread => Step::Open,
            // The request waits in its connection until a stream is free.
            None => match open
                .iter()
                .filter(|one| one.allowance.streams() > 0)
                .min_by_key(|one| one.streams.get())
            {
                Some(least) => Step::Use(Rc::clone(least)),
                None => Step::Starve,
            },
        }
    }
}

impl Endpoint {
    /// A stream for one request.
    ///
    /// # Errors
    /// [`OpenError`] when a connection was needed and could not be made.
    pub async fn http2(self: &Rc<Self>, expected: &Expected) -> Result<Stream, OpenError> {
        self.used.set(Instant::now());
        let mut starved_since = None;
        loop {
            let mut opened = pin!(self.http2.opened.notified());
            match self.http2.step(expected, self.spread) {
                Step::Use(connection) => return Ok(Stream::new(connection, Reused::Yes)),
                Step::Open => return self.open_http2(expected).await,
                Step::Wait => {
                    opened.as_mut().enable();
                    opened.await;
                }
                Step::Starve => {
                    opened.as_mut().enable();
                    let since = *starved_since.get_or_insert_with(Instant::now);
                    tokio::time::timeout_at(since + self.stream_limit(), opened)
                        .await
                        .map_err(|_| OpenError::NoStreams(self.address))?;
                }
            }
        }
    }

    async fn open_http2(self: &Rc<Self>, expected: &Expected) -> Result<Stream, OpenError> {
        self.http2.opening.set(self.http2.opening.get() + 1);
        let _opening = Opening(&self.http2);
        let upstream = match self.open(Wire::Http2, expected.as_ref()).await {
            Ok(upstream) => upstream,
            Err(error) => return self.any_http2(expected).ok_or(error.into()),
        };
        let progress = Progress::new();
        let (stream_window, connection_window) = match self.kind {
            Kind::Application => (windows::APPLICATION_STREAM, windows::APPLICATION_CONNECTION),
            Kind::Services | Kind::Endpoints => (windows::STREAM, windows::CONNECTION),
        };
        let mut builder = Builder::new(LocalExecutor);
        builder
            .timer(SilenceTimer::new(progress.clone()))
            .initial_stream_window_size(stream_window)
            .initial_connection_window_size(connection_window)
            .max_header_list_size(LIST_BYTES)
            .initial_max_send_streams(UNASKED_STREAMS);
        if upstream.peer.is_some() {
            builder
                .max_concurrent_reset_streams(wire::RESETS)
                .keep_alive_interval(liveness::PING_AFTER)
                .keep_alive_timeout(liveness::PING_TIMEOUT);
        }
        let stream = Http2Stream::of_server(upstream.stream, progress, self.limits.header_read);
        let settings = stream.settings();
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
        let allowance = Rc::new(Allowance::default());
        self.drive(upstream.peer.clone(), {
            let allowance = Rc::clone(&allowance);
            let endpoint = Rc::downgrade(self);
            async move {
                let mut connection = pin!(connection);
                poll_fn(|cx| {
                    let settings = settings.have_come(cx);
                    let polled = connection.as_mut().poll(cx);
                    let said = connection.current_max_send_streams();
                    let changes = settings && allowance.set(said);
                    if (changes || polled.is_ready())
                        && let Some(endpoint) = endpoint.upgrade()
                    {
                        endpoint.http2.opened.notify_waiters();
                    }
                    polled
                })
                .await
            }
        });
        let connection = Rc::new(Connection {
            sender,
            peer: upstream.peer,
            expires: Cell::new(self.expiry()),
            streams: Cell::new(0),
            allowance,
        });
        self.http2.add(&connection);
        Ok(Stream::new(connection, Reused::No))
    }

    /// When one more connection cannot be made, those that exist have to do.
    fn any_http2(&self, expected: &Expected) -> Option<Stream> {
        let open = self.http2.open.borrow();
        let least = open
            .iter()
            .filter(|one| !one.sender.is_closed() && fits(one.peer.as_deref(), expected.as_deref()))
            .filter(|one| one.allowance.streams() > 0)
            .min_by_key(|one| one.streams.get())?;
        Some(Stream::new(Rc::clone(least), Reused::Yes))
    }
}

impl Stream {
    fn new(connection: Rc<Connection>, reused: Reused) -> Self {
        connection.streams.set(connection.streams.get() + 1);
        Self { connection, reused }
    }

    /// Where to send.
    pub fn sender(&self) -> SendRequest<RequestBody> {
        self.connection.sender.clone()
    }

    /// Completes when its server allows no streams, for so long that it would have answered one that was opened before it
    /// said so. Never for a stream that was allowed.
    pub fn starves(&self, limit: Duration) -> impl Future<Output = ()> + use<> {
        let allowance = (self.reused == Reused::No).then(|| Rc::clone(&self.connection.allowance));
        async move {
            match allowance {
                Some(allowance) => allowance.starves(limit).await,
                None => std::future::pending().await,
            }
        }
    }

    /// Gives no further requests to its connection.
    pub(super) fn retire(&self) {
        self.connection.expires.set(Instant::now());
    }

    /// Whether its connection has served before.
    pub fn reused(&self) -> Reused {
        self.reused
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.connection
            .streams
            .set(self.connection.streams.get().saturating_sub(1));
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.set(self.0.opening.get().saturating_sub(1));
        self.0.opened.notify_waiters();
    }
}
