//! Connections of HTTP/1: one request at a time on each.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use smilax_core::Workload;
use tokio::time::Instant;

use super::{Endpoint, OpenError};
use crate::http::body::RequestBody;
use crate::tls::{Peer, Wire};
use crate::transport::{Expected, fits};

/// Connections kept unused at most.
const MOST_IDLE: usize = 256;
/// Bytes of a response's headers at most.
const HEADER_BYTES: usize = 64 * 1024;
/// Bytes buffered at most; a body waits when they are full.
const BUFFER_BYTES: usize = 128 * 1024;

/// Connections of HTTP/1 to one address.
#[derive(Debug, Default)]
pub(super) struct Connections {
    /// Unused ones, the one that was used last at the end.
    idle: RefCell<VecDeque<Idle>>,
    /// Unused ones and those in use.
    live: Cell<usize>,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<RequestBody>,
    peer: Option<Arc<Peer>>,
    expires: Instant,
    since: Instant,
}

/// A connection in use. Dropped, it is closed.
#[derive(Debug)]
pub struct Lease {
    endpoint: Rc<Endpoint>,
    sender: Option<SendRequest<RequestBody>>,
    peer: Option<Arc<Peer>>,
    expires: Instant,
    reused: Reused,
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
        expected: Option<&[Workload]>,
        spread: usize,
        longest_idle: Duration,
    ) -> Option<Idle> {
        if self.live.get() < spread {
            return None;
        }
        let mut idle = self.idle.borrow_mut();
        for _ in 0..idle.len() {
            let one = if idle.len() <= spread {
                idle.pop_front()
            } else {
                idle.pop_back()
            }?;
            let old = one.expires <= now || now - one.since >= longest_idle;
            if one.sender.is_closed() || old || !fits(one.peer.as_deref(), expected) {
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
    pub async fn http1(self: &Rc<Self>, expected: &Expected) -> Result<Lease, OpenError> {
        let (spread, longest_idle) = (self.spread, self.limits.pool_idle);
        let kept = self
            .http1
            .take(Instant::now(), expected.as_deref(), spread, longest_idle);
        match kept {
            Some(Idle {
                sender,
                peer,
                expires,
                ..
            }) => Ok(Lease {
                endpoint: Rc::clone(self),
                sender: Some(sender),
                peer,
                expires,
                reused: Reused::Yes,
            }),
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
        };
        let upstream = self.open(Wire::Http1, expected.as_ref()).await?;
        let (sender, connection) = Builder::new()
            .max_header_size(HEADER_BYTES)
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(upstream.stream))
            .await?;
        self.drive(upstream.peer.clone(), connection.with_upgrades());
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

    /// Keeps the connection for further requests, if it is good for any.
    pub(super) fn give_back(mut self) {
        let now = Instant::now();
        if let Some(sender) = self.sender.take_if(|sender| {
            let trusted = self
                .peer
                .as_ref()
                .is_none_or(|peer| self.endpoint.shared.trusts(peer));
            !sender.is_closed() && self.expires > now && trusted
        }) {
            // Counted down when this is dropped.
            self.endpoint.http1.live.set(self.endpoint.http1.live.get() + 1);
            self.endpoint.http1.put(Idle {
                sender,
                peer: self.peer.take(),
                expires: self.expires,
                since: now,
            });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.http1.gone(1);
    }
}
