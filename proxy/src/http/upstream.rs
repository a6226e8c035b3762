//! Sending a request to a server, again where that cannot do harm.

use std::error::Error as _;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Extensions, HeaderMap, Method, Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use prometheus::IntCounter;

use super::body::{BodyError, GatedBody, RequestBody};
use super::pool::http1::{Reuse, Reused};
use super::pool::{Endpoint, Hold, OpenError};
use super::raw_target::RawTarget;
use super::replay::Replay;
use crate::overload::Flow;
use crate::tls::Peer;
use crate::transport::{ConnectError, Expected, HeadClock, ServerSignals};

/// How often a request that was not even begun to be sent is taken to another connection.
const MOST_UNSENT: usize = 3;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No connection.
    #[error(transparent)]
    Connect(ConnectError),
    /// The server allows no requests for now. Nothing was sent.
    #[error("{0} allows no streams of HTTP/2")]
    NoStreams(std::net::SocketAddr),
    /// The server has not answered, and allows no requests. Whether it got this one is not known.
    #[error("{0} does not answer, and allows no streams of HTTP/2")]
    Starved(std::net::SocketAddr),
    /// The connection broke before anything of the request was sent.
    #[error("the server broke off before the request was sent: {0}")]
    Unsent(hyper::Error),
    /// The server says that it did not process the request (RFC 9113 sections 6.8 and 8.7).
    #[error("the server did not process the request: {0}")]
    NotProcessed(hyper::Error),
    /// The server stopped answering.
    #[error("the server stopped answering: {0}")]
    Lost(hyper::Error),
    /// The connection broke, or what came back is no answer.
    #[error("the server broke off: {0}")]
    Broken(hyper::Error),
    /// The request came to no end.
    #[error("the body of the request was cut off: {0}")]
    CutOff(hyper::Error),
}

/// A request that has no answer.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: SendError,
    /// The request, where nothing of it was sent, or where repeating it does no harm.
    pub again: Option<Box<Request<RequestBody>>>,
}

/// The answer to a request.
#[derive(Debug)]
pub struct Answer {
    /// Its beginning.
    pub response: Response<Incoming>,
    /// What it holds of its connection.
    pub hold: Hold,
    /// Time from sending the request to the end of the response's headers.
    pub after: Duration,
    /// The request, for the case that the answer is that it was not processed.
    pub spare: Option<Spare>,
}

/// Which protocol goes upstream: the one that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// A request that can be sent once more.
#[derive(Debug)]
pub struct Spare {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    extensions: Extensions,
    body: SpareBody,
}

#[derive(Debug)]
enum SpareBody {
    Empty,
    Replay(Replay<GatedBody>, Arc<Flow>),
}

/// Sends a request to a server. What was not begun to be sent goes to another connection. What was sent on a connection
/// that had served before, and was closed before it answered, is sent once more when it has no body and its method is
/// idempotent (RFC 9110 section 9.2.2): its server most likely closed it for being unused.
///
/// # Errors
/// [`Failure`], with the request where another server may be sent it.
pub async fn send(
    endpoint: &Rc<Endpoint>,
    expected: &Expected,
    protocol: Protocol,
    mut request: Request<RequestBody>,
    client: Option<&HeadClock>,
    retries: &IntCounter,
) -> Result<Answer, Failure> {
    for attempt in 0.. {
        let hold = match (protocol, attempt) {
            (Protocol::Http1, 0) => endpoint.http1(expected, reuse(&request)).await.map(Hold::Http1),
            (Protocol::Http1, _) => endpoint.fresh_http1(expected).await.map(Hold::Http1),
            (Protocol::Http2, _) => endpoint.http2(expected).await.map(Hold::Http2),
        };
        let mut hold = match hold {
            Ok(hold) => hold,
            Err(error) => return Err(Failure::of(error.into(), Some(request))),
        };
        let reused = hold.reused();
        let spare = match expected {
            // Another proxy may say that it did not process the request.
            Some(_) => Spare::of(&request),
            None if reused == Reused::Yes => Spare::of(&request).filter(Spare::is_safe_to_repeat),
            None => None,
        };
        let began = Instant::now();
        let signals = hold.signals();
        let starving = hold.starves(endpoint);
        let answer = tokio::select! {
            biased;
            answer = pass_on_end(client, signals, hold.try_send(request)) => answer,
            () = starving => {
                let error = SendError::Starved(endpoint.address());
                let spare = spare.filter(|spare| spare.may_follow(&error, expected));
                return Err(Failure::of(error, spare.and_then(Spare::request)));
            }
        };
        let Some(answer) = answer else {
            return Err(Failure::of(gone(endpoint), None));
        };
        let mut error = match answer {
            Ok(response) => {
                return Ok(Answer {
                    response,
                    hold,
                    after: began.elapsed(),
                    spare,
                });
            }
            Err(error) => error,
        };
        request = if let Some(unsent) = error.take_message() {
            // A server that ends a new connection at once does so again.
            if attempt >= MOST_UNSENT || reused == Reused::No {
                return Err(Failure::of(endpoint.unsent(error.into_error()), Some(unsent)));
            }
            unsent
        } else {
            if reused == Reused::Yes && closed_before_answering(error.error()) {
                hold.lost();
            }
            let error = endpoint.broken(error.into_error());
            let spare = spare.filter(|spare| spare.may_follow(&error, expected));
            let stale = attempt == 0 && reused == Reused::Yes && matches!(error, SendError::Broken(_));
            match spare.and_then(Spare::request) {
                Some(again) if stale => again,
                again => return Err(Failure::of(error, again)),
            }
        };
        retries.inc();
    }
    Err(Failure::of(gone(endpoint), None))
}

/// What a request asks of a connection. Nothing, if it can be sent again.
fn reuse(request: &Request<RequestBody>) -> Reuse {
    if Spare::is_possible(request) {
        Reuse::Any
    } else {
        Reuse::Safe
    }
}

/// Waits for an answer, and tells the server meanwhile when the client has finished sending.
async fn pass_on_end<F: Future>(
    client: Option<&HeadClock>,
    server: Option<Arc<ServerSignals>>,
    answer: F,
) -> F::Output {
    let (Some(client), Some(server)) = (client, server) else {
        return answer.await;
    };
    let mut answer = pin!(answer);
    poll_fn(|cx| {
        if client.client_has_finished() {
            server.finish();
        }
        answer.as_mut().poll(cx)
    })
    .await
}

fn gone(endpoint: &Endpoint) -> SendError {
    let reason = std::io::ErrorKind::NotConnected.into();
    SendError::Connect(ConnectError::Refused(endpoint.address(), reason))
}

impl Hold {
    /// Who is at the other end, where that was proven and one request has the connection for itself.
    pub fn peer(&self) -> Option<&Arc<Peer>> {
        match self {
            Self::Http1(lease) => lease.peer(),
            Self::Http2(_) => None,
        }
    }

    fn reused(&self) -> Reused {
        match self {
            Self::Http1(lease) => lease.reused(),
            Self::Http2(stream) => stream.reused(),
        }
    }

    /// Completes when its server most likely never lets the request in.
    fn starves(&self, endpoint: &Endpoint) -> impl Future<Output = ()> + use<> {
        let starves = match self {
            Self::Http1(_) => None,
            Self::Http2(stream) => Some(stream.starves(endpoint.stream_limit())),
        };
        async move {
            match starves {
                Some(starves) => starves.await,
                None => std::future::pending().await,
            }
        }
    }

    async fn try_send(
        &mut self,
        mut request: Request<RequestBody>,
    ) -> Option<Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> {
        Some(match self {
            Self::Http1(lease) => {
                if let Some(target) = request.extensions().get::<RawTarget>() {
                    lease.signals().set_raw_target(target.clone());
                }
                let signals = Arc::clone(lease.signals());
                signals.awaits();
                say_chunked(&mut request);
                let answer = lease.sender()?.try_send_request(request).await;
                signals.answers();
                answer
            }
            Self::Http2(stream) => stream.sender().try_send_request(request).await,
        })
    }
}

/// Says that the body of a GET or HEAD has chunks. hyper takes one whose length it does not know for none, and would leave
/// it out, unless a header says that it is there.
fn say_chunked<B: http_body::Body>(request: &mut Request<B>) {
    let unexpected = matches!(*request.method(), Method::GET | Method::HEAD);
    if unexpected
        && !request.body().is_end_stream()
        && request.body().size_hint().exact().is_none()
        && !request.headers().contains_key(CONTENT_LENGTH)
    {
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, chunked);
    }
}

impl Spare {
    fn is_possible(request: &Request<RequestBody>) -> bool {
        request.method().is_idempotent() && request.body().is_end_stream()
    }

    /// `None` for a request whose body cannot be sent twice.
    fn of(request: &Request<RequestBody>) -> Option<Self> {
        let body = match request.body() {
            RequestBody::Replay(body, flow) => SpareBody::Replay(body.handle(), Arc::clone(flow)),
            body if body.is_end_stream() => SpareBody::Empty,
            RequestBody::Client(..) | RequestBody::Empty => return None,
        };
        Some(Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            extensions: request.extensions().clone(),
            body,
        })
    }

    /// Whether it may be sent although the server may have acted on it: RFC 9110 section 9.2.2.
    fn is_safe_to_repeat(&self) -> bool {
        self.method.is_idempotent() && matches!(self.body, SpareBody::Empty)
    }

    /// Whether it may be sent after this error. Only another proxy is believed that it did not process a request.
    fn may_follow(&self, error: &SendError, expected: &Expected) -> bool {
        match error {
            SendError::NotProcessed(_) if expected.is_some() => true,
            SendError::Broken(error) => self.is_safe_to_repeat() && closed_before_answering(error),
            // An error of TLS says nothing about what was delivered before it.
            SendError::Connect(_)
            | SendError::Unsent(_)
            | SendError::NotProcessed(_)
            | SendError::NoStreams(_)
            | SendError::Starved(_)
            | SendError::Lost(_) => self.is_safe_to_repeat(),
            SendError::CutOff(_) => false,
        }
    }

    /// Whether its body is kept from its beginning.
    pub fn is_whole(&self) -> bool {
        match &self.body {
            SpareBody::Empty => true,
            SpareBody::Replay(replay, _) => replay.is_whole(),
        }
    }

    /// The request, once more. `None` when its body was too long to be kept.
    pub fn request(self) -> Option<Request<RequestBody>> {
        let body = match self.body {
            SpareBody::Empty => RequestBody::Empty,
            SpareBody::Replay(replay, flow) => RequestBody::Replay(replay.again()?, flow),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        *request.extensions_mut() = self.extensions;
        Some(request)
    }
}

/// Whether the client broke off its request.
pub(super) fn body_failed(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        // Over HTTP/2, hyper resets the stream itself when the body fails, and says only that.
        let reset = cause
            .downcast_ref::<h2::Error>()
            .is_some_and(|error| error.is_reset() && !error.is_remote() && !error.is_library());
        if reset || cause.is::<BodyError>() {
            return true;
        }
        source = cause.source();
    }
    false
}

/// Not when something came back that is no answer: that server is alive, and has acted.
fn closed_before_answering(error: &hyper::Error) -> bool {
    !error.is_parse() && !body_failed(error)
}

impl Failure {
    fn of(error: SendError, again: Option<Request<RequestBody>>) -> Self {
        Self {
            error,
            again: again.map(Box::new),
        }
    }
}

impl From<OpenError> for SendError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Connect(error) => Self::Connect(error),
            OpenError::NoStreams(address) => Self::NoStreams(address),
            OpenError::Handshake(error) => Self::Unsent(error),
        }
    }
}

/// Makes what came over one protocol fit to go on.
pub fn prepare(parts: &mut Parts, protocol: Protocol, fallback_host: std::net::SocketAddr) {
    match protocol {
        Protocol::Http1 => {
            // HTTP/1.0 needs no Host; HTTP/1.1, as which it goes on, does (RFC 9112 section 3.2).
            if parts.version < Version::HTTP_11
                && !parts.headers.contains_key(http::header::HOST)
                && let Ok(host) = http::HeaderValue::from_str(&fallback_host.to_string())
            {
                parts.headers.insert(http::header::HOST, host);
            }
            parts.version = Version::HTTP_11;
        }
        Protocol::Http2 => {
            // HTTP/2 goes on with an authority, which a Host may stand for (RFC 9113 section 8.3.1).
            if parts.uri.authority().is_none()
                && let Some(host) = parts.headers.get(http::header::HOST)
                && let Ok(authority) = http::uri::Authority::try_from(host.as_bytes())
            {
                let mut uri = std::mem::take(&mut parts.uri).into_parts();
                uri.scheme = Some(uri.scheme.unwrap_or(http::uri::Scheme::HTTP));
                uri.authority = Some(authority);
                if let Ok(uri) = Uri::from_parts(uri) {
                    parts.uri = uri;
                }
            }
        }
    }
}
