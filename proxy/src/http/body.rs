//! Bodies on their way through.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use smilax_core::admission::{Permit, UnderWay};
use smilax_core::grpc;

use super::expect::Gate;
use super::headers;
use super::identity_headers;
use super::limits::{self, TooLarge};
use super::local_reply::LocalReply;
use super::pool::Hold;
use super::replay::ReplayBody;
use super::request_body::ClientBody;
use crate::endpoints::Picked;
use crate::metrics::traffic::{Flags, Recording};
use crate::overload::{Admitted, Flow, Held, Way};
use crate::transport::HeadClock;

const GRPC_STATUS: &str = "grpc-status";

/// Body of a request on its way upstream.
#[derive(Debug)]
pub enum RequestBody {
    /// What the client sends.
    Client(GatedBody, Arc<Flow>),
    /// The same, where the request may have to be sent again.
    Replay(ReplayBody<GatedBody>, Arc<Flow>),
    /// Nothing.
    Empty,
}

/// What the client sends, once the server wants it.
#[derive(Debug)]
pub struct GatedBody {
    body: ClientBody,
    gate: Option<Gate>,
}

/// Body of a response on its way to the client. When it has ended, its connection upstream can serve again, and the
/// request is counted; dropped before that, the request upstream is cancelled.
#[derive(Debug)]
pub struct ResponseBody {
    source: Source,
    hold: Option<Hold>,
    picked: Option<Picked>,
    recording: Recording,
    flow: Arc<Flow>,
    client: Client,
}

/// Whom a response goes to.
#[derive(Debug)]
pub struct Client {
    /// What is known of a client of HTTP/1.
    pub clock: Option<Arc<HeadClock>>,
    /// Its connection, for which what is on its way counts.
    pub admitted: Arc<Admitted>,
    /// What its request costs while it is under way.
    pub permit: Option<Permit>,
    /// Its request.
    pub under_way: UnderWay,
}

#[derive(Debug)]
enum Source {
    Upstream(Incoming, Begun),
    Own(Bytes),
}

/// What was taken of a body before it is passed on.
#[derive(Debug, Default)]
pub enum Begun {
    /// Nothing.
    #[default]
    Nothing,
    /// This.
    Frame(Frame<Bytes>),
    /// All of it, which is nothing.
    Ended,
}

/// Why a body does not end as it should. Whoever gets it must not take it for complete.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It broke off.
    #[error(transparent)]
    Broken(#[from] hyper::Error),
    /// It broke off with a word that only proxies may say to each other: that a stream was refused, and not processed
    /// (RFC 9113 section 8.7). Passed on, it would be believed, although the application may have acted on the request.
    #[error("{0}")]
    Refused(String),
    /// Its trailers are not taken.
    #[error("the trailers are too large: {0}")]
    Trailers(#[from] TooLarge),
    /// The server has answered without wanting it.
    #[error("the server has answered without the body")]
    Unwanted,
    /// The request is sent to another endpoint now.
    #[error("the request is sent to another endpoint")]
    Superseded,
}

type Polled<E> = Poll<Option<Result<Frame<Bytes>, E>>>;

/// Counts the data that comes as held.
fn held(polled: Polled<BodyError>, flow: &Arc<Flow>) -> Poll<Option<Result<Frame<Held>, BodyError>>> {
    polled.map(|next| next.map(|frame| frame.map(|frame| frame.map_data(|bytes| flow.hold(bytes)))))
}

/// Refuses trailers that are too large.
fn checked(polled: Polled<hyper::Error>) -> Polled<BodyError> {
    let Poll::Ready(Some(frame)) = polled else {
        return polled.map_err(BodyError::Broken);
    };
    let frame = frame.map_err(|error| {
        if is_refused(&error) {
            BodyError::Refused(error.to_string())
        } else {
            BodyError::Broken(error)
        }
    })?;
    if let Some(trailers) = frame.trailers_ref() {
        limits::check_trailers(trailers)?;
    }
    Poll::Ready(Some(Ok(frame)))
}

fn is_refused(error: &hyper::Error) -> bool {
    error
        .source()
        .and_then(|cause| cause.downcast_ref::<h2::Error>())
        .is_some_and(|error| error.reason() == Some(h2::Reason::REFUSED_STREAM))
}

impl ResponseBody {
    /// What the server sends. `picked` is the endpoint that it comes from, where it was one of several.
    pub fn upstream(
        body: Incoming,
        begun: Begun,
        hold: Hold,
        picked: Option<Picked>,
        recording: Recording,
        client: Client,
    ) -> Self {
        let mut body = Self {
            source: Source::Upstream(body, begun),
            hold: Some(hold),
            picked,
            recording,
            flow: Flow::new(&client.admitted, Way::Response),
            client,
        };
        if body.is_end_stream() {
            body.finish();
        }
        body
    }

    /// What the proxy says itself.
    pub fn own(text: Bytes, recording: Recording, client: Client) -> Self {
        let mut body = Self {
            source: Source::Own(text),
            hold: None,
            picked: None,
            recording,
            flow: Flow::new(&client.admitted, Way::Response),
            client,
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
        if let Some(picked) = self.picked.take() {
            picked.ended();
        }
    }

    fn grpc_status(&mut self, status: &[u8]) {
        self.recording.grpc_status(status);
        if let Some(picked) = &self.picked {
            picked.trailers(grpc::parse_status(status));
        }
    }
}

impl Begun {
    /// Takes what has come already of a body in chunks, so that one which is wrong from its beginning can be answered
    /// for. Waits for nothing.
    ///
    /// # Errors
    /// What came is wrong.
    pub async fn take(body: &mut Incoming) -> Result<Self, hyper::Error> {
        std::future::poll_fn(|cx| {
            Poll::Ready(match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => Ok(Self::Nothing),
                Poll::Ready(None) => Ok(Self::Ended),
                Poll::Ready(Some(frame)) => frame.map(Self::Frame),
            })
        })
        .await
    }

    fn poll_frame(&mut self, incoming: Pin<&mut Incoming>, cx: &mut Context<'_>) -> Polled<hyper::Error> {
        match std::mem::take(self) {
            Self::Nothing => incoming.poll_frame(cx),
            Self::Frame(frame) => Poll::Ready(Some(Ok(frame))),
            Self::Ended => {
                *self = Self::Ended;
                Poll::Ready(None)
            }
        }
    }
}

impl Body for ResponseBody {
    type Data = Held;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Held>, BodyError>>> {
        let this = self.get_mut();
        let (incoming, begun) = match &mut this.source {
            Source::Own(text) => {
                let text = std::mem::take(text);
                this.finish();
                return Poll::Ready((!text.is_empty()).then(|| Ok(Frame::data(text.into()))));
            }
            Source::Upstream(incoming, begun) => (incoming, begun),
        };
        let clock = &this.client.clock;
        ready!(this.flow.poll_room(cx));
        if let (Some(clock), Some(hold)) = (clock, &this.hold)
            && clock.client_has_finished()
        {
            hold.client_has_finished();
        }
        let mut polled = checked(begun.poll_frame(Pin::new(incoming), cx));
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            LocalReply::take(trailers);
            headers::strip_trailers(trailers);
        }
        match &polled {
            Poll::Pending => {}
            Poll::Ready(None) => this.finish(),
            Poll::Ready(Some(Err(_))) => {
                this.recording.flag(Flags::UpstreamTermination);
                if let Some(picked) = this.picked.take() {
                    picked.reset();
                }
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(status) = frame
                    .trailers_ref()
                    .and_then(|trailers| trailers.get(GRPC_STATUS))
                {
                    this.grpc_status(status.as_bytes());
                }
                if this.is_end_stream() {
                    this.finish();
                }
            }
        }
        held(polled, &this.flow)
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Upstream(_, Begun::Frame(_)) => false,
            Source::Upstream(_, Begun::Ended) => true,
            Source::Upstream(incoming, Begun::Nothing) => incoming.is_end_stream(),
            Source::Own(text) => text.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Upstream(incoming, _) => incoming.size_hint(),
            Source::Own(text) => SizeHint::with_exact(text.len() as u64),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if let Some(clock) = &self.client.clock {
            clock.request_ends();
        }
    }
}

impl GatedBody {
    /// What a client sends; through `gate`, where it waits for the server to want it.
    pub fn new(body: ClientBody, gate: Option<Gate>) -> Self {
        Self { body, gate }
    }
}

impl Body for GatedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Some(gate) = &mut this.gate
            && ready!(gate.poll_open(cx)).is_err()
        {
            return Poll::Ready(Some(Err(BodyError::Unwanted)));
        }
        let mut polled = checked(Pin::new(&mut this.body).poll_frame(cx));
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            // Some applications read trailers as headers.
            identity_headers::strip(trailers);
            headers::strip_trailers(trailers);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Body for RequestBody {
    type Data = Held;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Held>, BodyError>>> {
        match self.get_mut() {
            Self::Client(body, flow) => poll_held(body, flow, cx),
            Self::Replay(body, flow) => poll_held(body, flow, cx),
            Self::Empty => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Client(body, _) => body.is_end_stream(),
            Self::Replay(body, _) => body.is_end_stream(),
            Self::Empty => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Client(body, _) => body.size_hint(),
            Self::Replay(body, _) => body.size_hint(),
            Self::Empty => SizeHint::with_exact(0),
        }
    }
}

/// Takes the next piece of a body once there is room for it.
fn poll_held<B>(
    body: &mut B,
    flow: &Arc<Flow>,
    cx: &mut Context<'_>,
) -> Poll<Option<Result<Frame<Held>, BodyError>>>
where
    B: Body<Data = Bytes, Error = BodyError> + Unpin,
{
    ready!(flow.poll_room(cx));
    held(Pin::new(body).poll_frame(cx), flow)
}
