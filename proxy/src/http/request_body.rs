//! What a client sends as the body of a request, and how much of it has been taken.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::transport::HeadClock;

/// Bytes of the body of a request that the proxy answers itself, taken to keep its connection in use.
const DISCARDED_BYTES: usize = 64 * 1024;
/// How long a server that has answered may take to take more of the request.
const STALLED: Duration = Duration::from_secs(5);

/// How much of a request's body has been taken. A request without one has none.
#[derive(Debug)]
pub struct Progress {
    stage: Cell<Stage>,
    waker: AtomicWaker,
    clock: Option<Arc<HeadClock>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nobody has asked for it.
    Untouched,
    /// So many frames.
    Begun(u64),
    /// All of it.
    Ended,
    /// Nobody will ask for the rest.
    GivenUp,
}

/// The body of a request.
#[derive(Debug)]
pub struct ClientBody {
    incoming: Incoming,
    progress: Option<Rc<Progress>>,
}

impl Progress {
    /// That of the request whose body this is, unless it has none. `clock` is that of its connection.
    pub fn of(body: &Incoming, clock: Option<&Arc<HeadClock>>) -> Option<Rc<Self>> {
        (!body.is_end_stream()).then(|| {
            Rc::new(Self {
                stage: Cell::new(Stage::Untouched),
                waker: AtomicWaker::new(),
                clock: clock.cloned(),
            })
        })
    }

    /// Whether all of it was taken.
    pub fn has_ended(&self) -> bool {
        self.stage.get() == Stage::Ended
    }

    /// Returns when all of it was taken, or when the rest will not be: the server takes none of it for a while, has
    /// closed its connection, or never asked for it.
    pub async fn over(&self) {
        let mut seen = self.stage.get();
        while let Stage::Begun(_) = seen {
            let more = futures::future::poll_fn(|cx| {
                self.waker.register(cx.waker());
                if self.stage.get() == seen {
                    Poll::Pending
                } else {
                    Poll::Ready(self.stage.get())
                }
            });
            match tokio::time::timeout(STALLED, more).await {
                Ok(stage) => seen = stage,
                Err(_) => return,
            }
        }
    }

    fn turn_to(&self, stage: Stage) {
        self.stage.set(stage);
        self.waker.wake();
        if matches!(stage, Stage::Ended | Stage::GivenUp)
            && let Some(clock) = &self.clock
        {
            clock.body_ends();
        }
    }

    fn frame(&self) {
        let frames = match self.stage.get() {
            Stage::Begun(frames) => frames,
            _ => 0,
        };
        self.turn_to(Stage::Begun(frames + 1));
    }
}

impl ClientBody {
    /// A body whose taking is seen in `progress`.
    pub fn new(incoming: Incoming, progress: Option<Rc<Progress>>) -> Self {
        Self { incoming, progress }
    }

    /// Takes what is here already, where that is little.
    pub async fn discard(mut self) {
        let mut bytes = 0;
        let mut waited = 0;
        while bytes < DISCARDED_BYTES && waited < 2 {
            let next = futures::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut self).poll_frame(cx))).await;
            match next {
                Poll::Ready(Some(Ok(frame))) => {
                    bytes += frame.data_ref().map_or(0, Bytes::len);
                    waited = 0;
                }
                Poll::Ready(None | Some(Err(_))) => return,
                // hyper decodes a piece only once it is asked for, in the task that polls this.
                Poll::Pending => {
                    waited += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.incoming).poll_frame(cx);
        if let Some(progress) = &this.progress {
            match &polled {
                Poll::Pending if progress.stage.get() == Stage::Untouched => {
                    progress.turn_to(Stage::Begun(0));
                }
                Poll::Pending => {}
                Poll::Ready(Some(Ok(_))) if this.incoming.is_end_stream() => progress.turn_to(Stage::Ended),
                Poll::Ready(Some(Ok(_))) => progress.frame(),
                Poll::Ready(None) => progress.turn_to(Stage::Ended),
                Poll::Ready(Some(Err(_))) => progress.turn_to(Stage::GivenUp),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        if let Some(progress) = &self.progress
            && progress.stage.get() != Stage::Ended
        {
            progress.turn_to(Stage::GivenUp);
        }
    }
}
