//! Sending a request on, and elsewhere when nobody is there.

use std::net::SocketAddr;

use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;

use crate::connection::{Connection, Direction};
use crate::http::body::RequestBody;
use crate::http::headers::Upgrade;
use crate::http::pool::{Hold, Pool};
use crate::http::upstream::{self, Answer, Failure, Protocol, SendError};
use crate::http::wire::{self, Form};
use crate::target::{Elsewhere, Target};
use crate::transport::HeadClock;

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

/// Sends a request that is ready for the target. Where no connection can be made and nothing was sent, another target
/// is tried, which is what `target` says afterwards.
///
/// # Errors
/// [`SendError`] of the last one.
pub(super) async fn send(
    connection: &Connection,
    target: &mut Target,
    mut request: Request<RequestBody>,
    sent: &Sent<'_>,
) -> Result<(Response<Incoming>, Hold), SendError> {
    let worker = &connection.worker;
    let retries = &worker.shared.metrics.retries;
    let mut protocol = sent.protocol;
    loop {
        let endpoint = pool(connection, target).endpoint(target.address);
        match upstream::send(
            &endpoint,
            &target.expected,
            protocol,
            request,
            sent.client,
            retries,
        )
        .await
        {
            Ok(Answer {
                response,
                hold,
                after,
            }) => {
                target.answered(worker, after);
                return Ok((response, hold));
            }
            Err(Failure {
                error: SendError::Connect(error),
                unsent: Some(unsent),
            }) => {
                let before = Wrapping::of(target);
                if target.go_elsewhere(worker, &error) == Elsewhere::Nowhere {
                    return Err(SendError::Connect(error));
                }
                request = *unsent;
                if Wrapping::of(target) != before {
                    (request, protocol) = wrap_anew(request, target, sent, connection.original);
                }
            }
            Err(Failure { error, .. }) => return Err(error),
        }
    }
}

fn pool<'a>(connection: &'a Connection, target: &Target) -> &'a Pool {
    let worker = &connection.worker;
    match connection.direction() {
        Direction::Inbound => &worker.inbound,
        Direction::Outbound if target.endpoint.is_some() => &worker.endpoint_pool,
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
