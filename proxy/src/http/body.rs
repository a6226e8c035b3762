//! Bodies on their way through.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::expect::Gate;
use super::identity_headers;
use super::limits::{self, Sender, TooLarge};
use super::pool::Hold;
use super::request_body::ClientBody;
use crate::metrics::traffic::{Flags, Recording};
use crate::transport::HeadClock;

const GRPC_STATUS: &str = "grpc-status";

/// Body of a request on its way upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// What the client sends.
    Client(ClientBody),
    /// The same, once the server wants it.
    Gated(ClientBody, Gate),
    /// Nothing.
    Empty,
}

/// Body of a response on its way to the client. When it has ended, its connection upstream can serve again, and the
/// request is counted; dropped before that, the request upstream is cancelled.
#[derive(Debug)]
pub struct ResponseBody {
    source: Source,
    hold: Option<Hold>,
    recording: Recording,
    clock: Option<Arc<HeadClock>>,
}

#[derive(Debug)]
enum Source {
    Upstream(Incoming),
    Own(Bytes),
}

/// Why a body does not end as it should. Whoever gets it must not take it for complete.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It broke off.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// Its trailers are not taken.
    #[error("the trailers are too large: {0}")]
    Trailers(#[from] TooLarge),
}

type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

/// Refuses trailers that are too large.
fn checked(polled: Polled<hyper::Error>) -> Polled<BodyError> {
    let Poll::Ready(Some(frame)) = polled else {
        return polled.map_err(BodyError::Broken);
    };
    let frame = frame?;
    if let Some(trailers) = frame.trailers_ref() {
        limits::check(trailers, Sender::Proxy)?;
    }
    Poll::Ready(Some(Ok(frame)))
}

impl ResponseBody {
    /// What the server sends.
    pub fn upstream(body: Incoming, hold: Hold, recording: Recording, clock: Option<Arc<HeadClock>>) -> Self {
        Self::new(Source::Upstream(body), Some(hold), recording, clock)
    }

    /// What the proxy says itself.
    pub fn own(text: Bytes, recording: Recording, clock: Option<Arc<HeadClock>>) -> Self {
        Self::new(Source::Own(text), None, recording, clock)
    }

    fn new(source: Source, hold: Option<Hold>, recording: Recording, clock: Option<Arc<HeadClock>>) -> Self {
        let mut body = Self {
            source,
            hold,
            recording,
            clock,
        };
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    fn finish(&mut self) {
        self.recording.finish();
        if let Some(hold) = self.hold.take() {
            hold.release();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let incoming = match &mut this.source {
            Source::Own(text) => {
                let text = std::mem::take(text);
                this.finish();
                return Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text))));
            }
            Source::Upstream(incoming) => incoming,
        };
        if let (Some(clock), Some(hold)) = (&this.clock, &this.hold)
            && clock.client_has_finished()
        {
            hold.client_has_finished();
        }
        let polled = checked(Pin::new(incoming).poll_frame(cx));
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => this.finish(),
            Poll::Ready(Some(Err(_))) => this.recording.flag(Flags::UpstreamTermination),
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(status) = frame
                    .trailers_ref()
                    .and_then(|trailers| trailers.get(GRPC_STATUS))
                {
                    this.recording.grpc_status(status.as_bytes());
                }
                if this.is_end_stream() {
                    this.finish();
                }
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream(incoming) => incoming.is_end_stream(),
            Source::Own(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(incoming) => incoming.size_hint(),
            Source::Own(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(clock) = &self.clock {
            clock.request_ends();
        }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let incoming = match self.get_mut() {
            Self::Client(incoming) => incoming,
            Self::Gated(incoming, gate) => match gate.poll_open(cx) {
                Poll::Ready(()) => incoming,
                Poll::Pending => return Poll::Pending,
            },
            Self::Empty => return Poll::Ready(None),
        };
        let mut polled = checked(Pin::new(incoming).poll_frame(cx));
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            // Some applications read trailers as headers.
            identity_headers::strip(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(incoming) | Self::Gated(incoming, _) => incoming.is_end_stream(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(incoming) | Self::Gated(incoming, _) => incoming.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}
