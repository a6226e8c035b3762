//! Serving one of the ports that people and kubelet ask: bounded connections, and bounded bytes held for them.

use std::cell::Cell;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use smilax_core::admission::{Activity, Admissions, Busy, Caps, Limits, Shed};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::answer::{Content, Sending};
use super::{Answer, HookFailed};
use crate::listener::accept_forever;

/// Connections to one of these ports at a time. Anybody in the cluster may open them, and nobody knows from which address
/// kubelet comes, so another one has to end for each that is above.
const PLACES: Caps = Caps { all: 128, of_one: 64 };
/// How long a client may take for its headers, and stay unused.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// Bytes of a request's headers at most. hyper looks at all of them again for each blank line before them.
const BUFFER_BYTES: usize = 16 * 1024;
/// Bytes held for clients of one port at most, but for what they share and for the last answer. A configuration alone may
/// have 16 MiB.
const MOST_HELD: usize = 16 * 1024 * 1024;

/// How long connections may go on.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// How long one may last, however slowly its client reads.
    pub(super) longest: Duration,
    /// How long its client may take nothing of an answer.
    pub(super) unread: Duration,
}

/// The connections of a port.
#[derive(Clone)]
struct Port {
    admissions: Admissions<CancellationToken>,
    began: Instant,
    unread: Duration,
    held: Rc<Cell<usize>>,
}

impl Port {
    fn new(unread: Duration) -> Self {
        Self {
            admissions: Admissions::new(PLACES, Busy::GivesWay),
            began: Instant::now(),
            unread,
            held: Rc::default(),
        }
    }

    /// Ends connections whose client takes nothing, and more of them while more is held than may be.
    fn sweep(&self, shed: Option<Shed>) {
        let limits = Limits {
            idle: Duration::MAX,
            stalled: self.unread,
            shed,
        };
        for (end, reason) in self.admissions.sweep(self.began.elapsed(), &limits) {
            tracing::debug!(?reason, "closed a connection that did not read its answer");
            end.cancel();
        }
    }

    async fn sweep_forever(&self) {
        loop {
            tokio::time::sleep(self.unread / 2).await;
            self.sweep(None);
        }
    }

    /// Makes room for an answer: whoever holds most gives way.
    fn make_room(&self, bytes: usize) {
        let excess = (self.held.get() + bytes).saturating_sub(MOST_HELD);
        if excess > 0 && bytes > 0 {
            self.sweep(Some(Shed {
                bytes: excess,
                after: Duration::ZERO,
            }));
        }
    }
}

/// Serves what `handle` answers.
pub(super) async fn serve<H, F>(listener: TcpListener, patience: Patience, handle: H)
where
    H: Fn(IpAddr, Request<Incoming>) -> F + 'static,
    F: Future<Output = Result<Answer, HookFailed>> + 'static,
{
    let handle = Rc::new(handle);
    let port = Port::new(patience.unread);
    let accept = accept_forever(listener, |stream, client| {
        let (activity, end) = (Activity::new(), CancellationToken::new());
        let entered = port.admissions.enter(client.ip(), &activity, end.clone());
        let Some((place, gives_way)) = entered else {
            return;
        };
        if let Some(other) = gives_way {
            other.cancel();
        }
        let (handle, port) = (Rc::clone(&handle), port.clone());
        tokio::task::spawn_local(async move {
            let ended = end.clone();
            let service = service_fn(move |request| {
                let (under_way, answer) = (activity.begin(), handle(client.ip(), request));
                let (activity, end, port) = (activity.clone(), end.clone(), port.clone());
                async move {
                    let answer: Response<Content> = answer.await?;
                    port.make_room(answer.body().own_bytes());
                    let answer = answer.map(|content| Sending::new(content, &activity, &end, &port.held));
                    drop(under_way);
                    Ok::<_, HookFailed>(answer)
                }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIME)
                .max_buf_size(BUFFER_BYTES)
                // What is shared is not copied before it is sent.
                .writev(true)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away is no concern of ours.
            tokio::select! {
                _ = served => {}
                () = ended.cancelled() => tracing::debug!(%client, "closed a connection that gave way to another"),
                () = tokio::time::sleep(patience.longest) => {}
            }
            drop(place);
        });
    });
    tokio::join!(accept, port.sweep_forever());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s35_whoever_holds_most_gives_way_when_too_much_is_held() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let port = Port::new(Duration::from_secs(10));
        let enter = |last: u8, held| {
            let (activity, end) = (Activity::new(), CancellationToken::new());
            let place = port
                .admissions
                .enter([10, 0, 0, last].into(), &activity, end.clone());
            activity.hold(held);
            port.held.set(port.held.get() + held);
            (place, end)
        };
        let (_greedy, greedy) = enter(1, MOST_HELD - 10);
        let (_modest, modest) = enter(2, 10);
        port.make_room(0);
        assert!(!greedy.is_cancelled() && !modest.is_cancelled());
        port.make_room(1);
        assert!(greedy.is_cancelled() && !modest.is_cancelled());
    }
}
