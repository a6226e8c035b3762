//! Sending a request to a server, again where that cannot do harm.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use prometheus::IntCounter;

use super::body::RequestBody;
use super::pool::http1::{Reuse, Reused};
use super::pool::{Endpoint, Hold, OpenError};
use super::raw_target::RawTarget;
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
    /// The request, where nothing of it was sent, or nothing that repeating it would do harm.
    pub unsent: Option<Box<Request<RequestBody>>>,
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
}

/// Which protocol goes upstream: the one that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// The parts of a request that can be sent once more: it has no body, and repeating it does no harm.
struct Spare {
    method: Method,
    uri: Uri,
    version: Version,
    headers: HeaderMap,
    raw_target: Option<RawTarget>,
}

/// Sends a request to whom it is meant for. What was not begun to be sent goes to another connection. What was sent on a connection that had
/// served before, and was closed before it answered, is sent once more when it has no body and its method is idempotent
/// (RFC 9110 section 9.2.2): its server most likely closed it for being unused. Nothing else is sent again.
///
/// # Errors
/// [`Failure`], with the request when no connection could be made for it.
pub async fn send(
    endpoint: &Rc<Endpoint>,
    expected: &Expected,
    protocol: Protocol,
    mut request: Request<RequestBody>,
    client: Option<&HeadClock>,
    retries: &IntCounter,
) -> Result<Answer, Failure> {
    let mut spare = None;
    for attempt in 0.. {
        let hold = match (protocol, attempt) {
            (Protocol::Http1, 0) => endpoint.http1(expected, reuse(&request)).await.map(Hold::Http1),
            (Protocol::Http1, _) => endpoint.fresh_http1(expected).await.map(Hold::Http1),
            (Protocol::Http2, _) => endpoint.http2(expected).await.map(Hold::Http2),
        };
        let mut hold = match hold {
            Ok(hold) => hold,
            Err(error) => {
                return Err(Failure {
                    error: error.into(),
                    unsent: Some(Box::new(request)),
                });
            }
        };
        if attempt == 0 && hold.reused() == Reused::Yes {
            spare = Spare::of(&request);
        }
        let began = Instant::now();
        let signals = hold.signals();
        let Some(answer) = pass_on_end(client, signals, hold.try_send(request)).await else {
            return Err(Failure::of(gone(endpoint)));
        };
        let mut error = match answer {
            Ok(response) => {
                return Ok(Answer {
                    response,
                    hold,
                    after: began.elapsed(),
                });
            }
            Err(error) => error,
        };
        let unsent = error.take_message();
        if unsent.is_none() && hold.reused() == Reused::Yes && closed_before_answering(error.error()) {
            hold.lost();
        }
        request = match (unsent, spare.take()) {
            (Some(unsent), kept) if attempt < MOST_UNSENT => {
                spare = kept;
                unsent
            }
            (None, Some(spare)) if attempt == 0 && closed_before_answering(error.error()) => spare.request(),
            (unsent, _) => {
                return Err(Failure {
                    error: endpoint.broken(error.into_error()),
                    unsent: unsent.map(Box::new),
                });
            }
        };
        retries.inc();
    }
    Err(Failure::of(gone(endpoint)))
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

/// Not when something came back that is no answer: that server is alive, and has acted.
fn closed_before_answering(error: &hyper::Error) -> bool {
    !error.is_parse() && !error.is_user() && !error.is_timeout()
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

    async fn try_send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Option<Result<Response<Incoming>, TrySendError<Request<RequestBody>>>> {
        Some(match self {
            Self::Http1(lease) => {
                if let Some(target) = request.extensions().get::<RawTarget>() {
                    lease.signals().set_raw_target(target.clone());
                }
                lease.sender()?.try_send_request(request).await
            }
            Self::Http2(stream) => stream.sender().try_send_request(request).await,
        })
    }
}

impl Spare {
    fn is_possible(request: &Request<RequestBody>) -> bool {
        request.method().is_idempotent() && request.body().is_end_stream()
    }

    fn of(request: &Request<RequestBody>) -> Option<Self> {
        Self::is_possible(request).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            version: request.version(),
            headers: request.headers().clone(),
            raw_target: request.extensions().get().cloned(),
        })
    }

    fn request(self) -> Request<RequestBody> {
        let mut request = Request::new(RequestBody::Empty);
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.version_mut() = self.version;
        *request.headers_mut() = self.headers;
        if let Some(target) = self.raw_target {
            request.extensions_mut().insert(target);
        }
        request
    }
}

impl Failure {
    fn of(error: SendError) -> Self {
        Self { error, unsent: None }
    }
}

impl From<OpenError> for SendError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Connect(error) => Self::Connect(error),
            OpenError::Handshake(error) => Self::Broken(error),
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
