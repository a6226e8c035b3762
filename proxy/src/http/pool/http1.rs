//! Connections of HTTP/1: one request at a time on each.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use smilax_core::ExpectedIdentity;
use tokio::time::Instant;

use super::keep_alive::KeepAlive;
use super::{Endpoint, Kind, OpenError};
use crate::http::body::RequestBody;
use crate::http::expect::Unwanted;
use crate::http::limits::{HEADER_BYTES, MAX_HEADERS};
use crate::http::request_body::Progress;
use crate::tls::{Peer, Wire};
use crate::transport::{Expected, ServerSignals, ServerStream, Unacknowledged, fits};

/// Connections kept unused at most.
const MOST_IDLE: usize = 256;
/// Bytes buffered at most; a body waits when they are full.
const BUFFER_BYTES: usize = HEADER_BYTES + 4 * 1024;

/// Connections of HTTP/1 to one address.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// Unused ones, the one that was used last at the end.
    idle: RefCell<VecDeque<Idle>>,
    /// Unused ones and those in use.
    live: Cell<usize>,
    server: Cell<KeepAlive>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    peer: Option<Arc<Peer>>,
    expires: Instant,
    since: Instant,
    link: Link,
}

/// What a connection shares with the task that drives it.
#[derive(Debug)]
struct Link {
    signals: Arc<ServerSignals>,
    /// Since when it is idle. When it ends then, its server has closed it.
    idle_since: Rc<Cell<Option<Instant>>>,
    /// For how long it was idle when it was last asked whether it is open.
    looked_after: Cell<Option<Duration>>,
}

/// What a request asks of the connection that it is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reuse {
    /// Nothing: should its server close it now, the request is sent again.
    Any,
    /// That its server will most likely not close it now, as the request cannot be sent again.
    Safe,
}

/// A connection in use. Dropped, it is closed.
#[derive(Debug)]
pub struct Lease {
    endpoint: Rc<Endpoint>,
    sender: Option<SendRequest<RequestBody>>,
    peer: Option<Arc<Peer>>,
    expires: Instant,
    reused: Reused,
    link: Link,
    progress: Option<Rc<Progress>>,
    unwanted: Option<Unwanted>,
}

/// Whether a connection has served before, so that its server may be closing it right now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reused {
    /// It has.
    Yes,
    /// It was made for this request.
    No,
}

impl Connections {
    pub(super) fn is_empty(&self) -> bool {
        self.live.get() == 0
    }

    /// Closes what is too old or has been unused for too long.
    pub(super) fn reap(&self, now: Instant, longest_idle: Duration) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|one| !one.sender.is_closed() && one.expires > now && now - one.since < longest_idle);
        self.gone(before - idle.len());
    }

    /// Closes what leads to others than these.
    pub(super) fn retain(&self, keep: impl Fn(Option<&Peer>) -> bool) {
        let mut idle = self.idle.borrow_mut();
        let before = idle.len();
        idle.retain(|one| keep(one.peer.as_deref()));
        self.gone(before - idle.len());
    }

    /// An unused connection. While there are few, they take turns, so that all of them are used; of many, the one
    /// used last, so that the others grow old.
    fn take(
        &self,
        now: Instant,
        expected: Option<&[ExpectedIdentity]>,
        spread: usize,
        longest_idle: Duration,
    ) -> Option<Idle> {
        if self.live.get() < spread {
            return None;
        }
        let mut idle = self.idle.borrow_mut();
        for _ in 0..idle.len() {
            let at = if idle.len() <= spread {
                idle.iter().position(|one| now - one.since < longest_idle)?
            } else {
                idle.len() - 1
            };
            if now - idle.get(at)?.since >= longest_idle {
                return None;
            }
            let one = idle.remove(at)?;
            if one.sender.is_closed() || one.expires <= now || !fits(one.peer.as_deref(), expected) {
                self.gone(1);
            } else if one.sender.is_ready() {
                return Some(one);
            } else {
                // Its last request is still being sent.
                idle.push_front(one);
            }
        }
        None
    }

    /// How long a connection may have been idle to be taken.
    fn longest_idle(&self, reuse: Reuse, now: Instant, limit: Duration) -> Duration {
        if reuse == Reuse::Any {
            return limit;
        }
        let mut server = self.server.get();
        if let Some(oldest) = self.idle.borrow().front()
            && !oldest.sender.is_closed()
        {
            let link = &oldest.link;
            if let Some(idle) = link.looked_after.get()
                && !link.signals.is_verifying()
            {
                server.kept(idle);
                self.server.set(server);
            }
            let idle = now - oldest.since;
            if server.learns_from(idle) {
                link.looked_after.set(Some(idle));
                link.signals.look();
            }
        }
        server.safe_idle(now).min(limit)
    }

    fn closed_by_server(&self, idle: Duration, now: Instant) {
        let mut server = self.server.get();
        server.closed(idle, now);
        self.server.set(server);
    }

    fn put(&self, one: Idle) {
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= MOST_IDLE && idle.pop_front().is_some() {
            self.gone(1);
        }
        idle.push_back(one);
    }

    fn gone(&self, count: usize) {
        self.live.set(self.live.get().saturating_sub(count));
    }
}

impl Endpoint {
    /// A connection for one request: a kept one, or else a new one.
    ///
    /// # Errors
    /// [`OpenError`] when a new one was needed and could not be made.
    pub async fn http1(self: &Rc<Self>, expected: &Expected, reuse: Reuse) -> Result<Lease, OpenError> {
        let (now, connections) = (Instant::now(), &self.http1);
        let longest_idle = connections.longest_idle(reuse, now, self.limits.pool_idle);
        match connections.take(now, expected.as_deref(), self.spread, longest_idle) {
            Some(Idle {
                sender,
                peer,
                expires,
                link,
                ..
            }) => {
                link.idle_since.set(None);
                link.signals.verify();
                Ok(Lease {
                    endpoint: Rc::clone(self),
                    sender: Some(sender),
                    peer,
                    expires,
                    reused: Reused::Yes,
                    link,
                    progress: None,
                    unwanted: None,
                })
            }
            None => self.fresh_http1(expected).await,
        }
    }

    /// A new connection for one request.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn fresh_http1(self: &Rc<Self>, expected: &Expected) -> Result<Lease, OpenError> {
        // Counted from here on, so that requests that come together do not all think that they are the first.
        self.http1.live.set(self.http1.live.get() + 1);
        let mut lease = Lease {
            endpoint: Rc::clone(self),
            sender: None,
            peer: None,
            expires: self.expiry(),
            reused: Reused::No,
            link: Link::new(),
            progress: None,
            unwanted: None,
        };
        let upstream = self.open(Wire::Http1, expected.as_ref()).await?;
        let unacknowledged = if upstream.peer.is_some() || self.kind == Kind::Endpoints {
            Unacknowledged::Limited(0)
        } else {
            Unacknowledged::Unlimited
        };
        let (sender, connection) = Builder::new()
            .max_headers(MAX_HEADERS)
            .max_header_size(HEADER_BYTES)
            .max_buf_size(BUFFER_BYTES)
            // RFC 9112 section 5.1: a proxy must remove such a space from a response. In requests it is refused.
            .allow_spaces_after_header_name_in_responses(true)
            // RFC 9112 section 5.2: a proxy may replace a line break in a value with spaces, as hyper does. Lines that
            // are no header at all are not ignored: without them, the response would be another.
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(ServerStream::new(
                upstream.stream,
                Arc::clone(&lease.link.signals),
                unacknowledged,
                Arc::clone(self.shared.overload.budgets.of(self.kind.receiver())),
            ))
            .await?;
        let idle_since = Rc::clone(&lease.link.idle_since);
        let endpoint = Rc::downgrade(self);
        self.drive(upstream.peer.clone(), async move {
            let result = connection.with_upgrades().await;
            if let (Some(since), Some(endpoint)) = (idle_since.get(), endpoint.upgrade()) {
                let now = Instant::now();
                endpoint.http1.closed_by_server(now - since, now);
            }
            result
        });
        lease.peer = upstream.peer;
        lease.sender = Some(sender);
        Ok(lease)
    }
}

impl Lease {
    /// Where to send.
    pub fn sender(&mut self) -> Option<&mut SendRequest<RequestBody>> {
        self.sender.as_mut()
    }

    /// Who is at its other end, where that was proven.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        self.peer.as_ref()
    }

    /// Whether it has served before.
    pub fn reused(&self) -> Reused {
        self.reused
    }

    /// Says how much of the request's body has been taken.
    pub fn sends(&mut self, progress: Rc<Progress>) {
        self.progress = Some(progress);
    }

    /// Ends the request and the connection with this lease.
    pub fn holds_back(&mut self, unwanted: Unwanted) {
        self.unwanted = Some(unwanted);
    }

    /// Whether the server has answered without wanting the request's body.
    pub fn is_unwanted(&self) -> bool {
        self.unwanted.is_some()
    }

    /// What the task that drives the connection heeds.
    pub fn signals(&self) -> &Arc<ServerSignals> {
        &self.link.signals
    }

    /// The server has closed the connection instead of answering.
    pub(super) fn lost(&self) {
        let connections = &self.endpoint.http1;
        let mut server = connections.server.get();
        server.lost(Instant::now());
        connections.server.set(server);
    }

    /// The response has ended. The request may not have: a server that answers early may still read it, and is given
    /// the rest for as long as it takes it. Its connection does not serve again, as such a server may take the rest for a
    /// request, whose response would go to whoever is next. One that never wanted the body may do so with all of it.
    pub(super) fn response_ended(self) {
        match &self.progress {
            Some(progress) if !progress.has_ended() => {
                let progress = Rc::clone(progress);
                tokio::task::spawn_local(async move {
                    progress.over().await;
                    drop(self);
                });
            }
            _ if self.is_unwanted() => drop(self),
            _ => self.give_back(),
        }
    }

    /// Keeps the connection for further requests, if it is good for any.
    fn give_back(mut self) {
        let now = Instant::now();
        if let Some(sender) = self.sender.take_if(|sender| {
            let trusted = self
                .peer
                .as_ref()
                .is_none_or(|peer| self.endpoint.shared.trusts(peer));
            !sender.is_closed() && self.expires > now && trusted && !self.link.signals.is_finished()
        }) {
            // Counted down when this is dropped.
            self.endpoint.http1.live.set(self.endpoint.http1.live.get() + 1);
            let link = std::mem::replace(&mut self.link, Link::new());
            link.idle_since.set(Some(now));
            link.looked_after.set(None);
            self.endpoint.http1.put(Idle {
                sender,
                peer: self.peer.take(),
                expires: self.expires,
                since: now,
                link,
            });
        }
    }
}

impl Link {
    fn new() -> Self {
        Self {
            signals: Arc::default(),
            idle_since: Rc::default(),
            looked_after: Cell::default(),
        }
    }
}

impl Drop for Link {
    /// The connection is closed from this side.
    fn drop(&mut self) {
        self.idle_since.set(None);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.http1.gone(1);
    }
}
