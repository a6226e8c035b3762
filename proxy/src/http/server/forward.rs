//! Sending a request on, and elsewhere when it was not processed.

use std::net::SocketAddr;

use http::request::Parts;
use http::{Request, Response};
use http_body::Body as _;
use hyper::body::Incoming;
use smilax_core::{Outcome, grpc};

use crate::connection::{Connection, Direction};
use crate::endpoints::Picked;
use crate::http::body::{Begun, RequestBody};
use crate::http::headers::{self, Upgrade};
use crate::http::local_reply::LocalReply;
use crate::http::pool::{Hold, Pool};
use crate::http::upstream::{self, Answer, Failure, Protocol, SendError, Spare};
use crate::http::wire::{self, Form};
use crate::target::{AttemptFailure, Elsewhere, Target};
use crate::transport::HeadClock;
use crate::worker::Worker;

/// How a request is sent.
pub(super) struct Sent<'a> {
    /// What the application speaks.
    pub(super) spoken: Protocol,
    /// What goes upstream.
    pub(super) protocol: Protocol,
    /// What the request would become.
    pub(super) upgrade: &'a Upgrade,
    /// What is known of a client of HTTP/1.
    pub(super) client: Option<&'a HeadClock>,
}

/// What a request is put into on its way.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrapping {
    /// What [`wire`] says.
    BetweenProxies,
    /// Nothing.
    None,
}

impl Wrapping {
    fn of(target: &Target) -> Self {
        if target.expected.is_some() {
            Self::BetweenProxies
        } else {
            Self::None
        }
    }
}

/// A response, and what is held until it ends.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    /// What was taken of its body.
    pub(super) begun: Begun,
    /// Its connection.
    pub(super) hold: Hold,
    /// The endpoint that it comes from, where it was picked among several.
    pub(super) picked: Option<Picked>,
}

/// Sends a request that is ready for the target. Where it was provably not processed, or repeating it does no harm,
/// another target is tried, which is what `target` says afterwards.
///
/// # Errors
/// [`SendError`] of the last one.
pub(super) async fn send(
    connection: &Connection,
    target: &mut Target,
    mut request: Request<RequestBody>,
    sent: &Sent<'_>,
) -> Result<Answered, SendError> {
    let worker = &connection.worker;
    let retries = &worker.shared.metrics.retries;
    let mut protocol = sent.protocol;
    loop {
        let endpoint = pool(connection, target).endpoint(target.address);
        let before = Wrapping::of(target);
        let outcome = upstream::send(
            &endpoint,
            &target.expected,
            protocol,
            request,
            sent.client,
            retries,
        )
        .await;
        request = match outcome {
            Ok(answer) => match settle(worker, target, answer) {
                Settled::Answered(answered) => {
                    connection.answered_in(answered.response.version());
                    return Ok(answered);
                }
                Settled::Again(request) => *request,
            },
            Err(Failure { error, again }) => {
                let failure = attempt_failure(&error);
                match again {
                    Some(again) if target.go_elsewhere(worker, failure) == Elsewhere::Found => *again,
                    Some(_) => return Err(error),
                    None => {
                        target.failed(failure);
                        return Err(error);
                    }
                }
            }
        };
        if Wrapping::of(target) != before {
            (request, protocol) = wrap_anew(request, target, sent, connection.original);
        }
    }
}

#[allow(
    clippy::large_enum_variant,
    reason = "the usual one is the large one, and a box would be an allocation"
)]
enum Settled {
    Answered(Answered),
    Again(Box<Request<RequestBody>>),
}

/// Says what becomes of an answer: it goes to the client, unless it comes from another proxy and says that the request
/// was not processed. Whoever else says so is not believed, and nobody hears of it.
fn settle(worker: &Worker, target: &mut Target, answer: Answer) -> Settled {
    let Answer {
        mut response,
        hold,
        after,
        spare,
    } = answer;
    let reply = LocalReply::take(response.headers_mut()).filter(|_| target.expected.is_some());
    let outcome = match reply {
        Some(LocalReply::NotProcessed) => {
            if !target.is_endpoint() {
                // Behind a virtual address, another connection may lead to another endpoint.
                hold.retire();
            }
            // The body is taken from this attempt only when there is somewhere else to send it.
            if let Some(spare) = spare.filter(Spare::is_whole)
                && target.go_elsewhere(worker, AttemptFailure::NotProcessed) == Elsewhere::Found
                && let Some(request) = spare.request()
            {
                worker.shared.metrics.endpoints.handed_back.inc();
                return Settled::Again(Box::new(request));
            }
            Some(Outcome::Unreachable)
        }
        Some(LocalReply::Policy) => Some(Outcome::Ignored),
        None => outcome_of(&response),
    };
    let picked = target.responded(outcome, after);
    Settled::Answered(Answered {
        response,
        begun: Begun::Nothing,
        hold,
        picked,
    })
}

/// What a response says about its endpoint; `None` when the trailers of gRPC will say it.
fn outcome_of(response: &Response<Incoming>) -> Option<Outcome> {
    let status = response.status().as_u16();
    if !headers::has_grpc_trailers(response.headers()) {
        return Some(Outcome::of_response(status, None));
    }
    match response.headers().get("grpc-status") {
        Some(said) => Some(Outcome::of_response(
            status,
            Some(grpc::parse_status(said.as_bytes())),
        )),
        None if response.body().is_end_stream() => Some(Outcome::of_response(status, None)),
        None => None,
    }
}

fn attempt_failure(error: &SendError) -> AttemptFailure<'_> {
    match error {
        SendError::Connect(error) => AttemptFailure::Connect(error),
        SendError::Unsent(_) | SendError::NoStreams(_) => AttemptFailure::NotProcessed,
        SendError::Lost(_) => AttemptFailure::Lost,
        // A refused stream may be a sign of overload, or of a connection's age.
        SendError::NotProcessed(_) | SendError::Starved(_) | SendError::Broken(_) => AttemptFailure::Reset,
        SendError::CutOff(_) => AttemptFailure::ClientGone,
    }
}

fn pool<'a>(connection: &'a Connection, target: &Target) -> &'a Pool {
    let worker = &connection.worker;
    match connection.direction() {
        Direction::Inbound => &worker.inbound,
        Direction::Outbound if target.is_endpoint() => &worker.endpoint_pool,
        Direction::Outbound => &worker.outbound,
    }
}

/// Makes a request fit for where it goes, and says over what it goes there.
pub(super) fn wrap(
    parts: &mut Parts,
    target: &Target,
    spoken: Protocol,
    upgrade: &Upgrade,
    original: SocketAddr,
) -> Protocol {
    match Wrapping::of(target) {
        Wrapping::BetweenProxies => wire::prepare(parts, spoken, upgrade, original),
        Wrapping::None => {
            upstream::prepare(parts, spoken, original);
            spoken
        }
    }
}

/// The same of a request that was fit for somewhere else.
fn wrap_anew(
    request: Request<RequestBody>,
    target: &Target,
    sent: &Sent<'_>,
    original: SocketAddr,
) -> (Request<RequestBody>, Protocol) {
    let (mut parts, body) = request.into_parts();
    // An application may claim a form of its own; only ours is taken back.
    if Wrapping::of(target) == Wrapping::None
        && let Some(form) = Form::take(&mut parts)
    {
        form.restore(&mut parts);
    }
    let protocol = wrap(&mut parts, target, sent.spoken, sent.upgrade, original);
    (Request::from_parts(parts, body), protocol)
}
