//! Serving a client's connection, and deciding for each of its requests.

mod ending;
mod forward;
mod http1;
mod servers;
mod tunnel;
mod unreadable;
mod vetting;

use std::convert::Infallible;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use smilax_core::convention::wire::REASON_HEADER;

use self::ending::{finish, has_to_end};
use self::forward::{Answered, Sent};
pub use self::servers::Servers;
use super::body::{Client, GatedBody, RequestBody, ResponseBody};
use super::errors::{self, Refusal};
use super::expect::{self, Expectation, Gate};
use super::headers::{self, BadRequest, Handshake, Upgrade};
use super::identity_headers;
use super::limits::{self, Sender};
use super::replay::ReplayBody;
use super::request_body::{ClientBody, Progress};
use super::upgrade::Switched;
use super::upstream::{self, Protocol};
use super::wire::Form;
use crate::connection::{Connection, Direction, Side};
use crate::drain::Stage;
use crate::metrics::traffic::{Recording, RequestProtocol};
use crate::overload::{Admitted, Flow, Way};
use crate::settings::Reasons;
use crate::target::Target;
use crate::tcp::CarryError;
use crate::transport::{HeadClock, HeadDefect, Http2Stream, Stream};
use crate::{inbound, outbound};

/// Which version of HTTP a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// HTTP/2 of another proxy, which has proven who it is: requests in the form of [`super::wire`].
    Multiplexed,
}

/// Serves a client's connection until it ends. Draining ends it gently, between two requests.
///
/// # Errors
/// When the client breaks off, or sends what is no HTTP.
pub async fn serve(connection: Rc<Connection>, stream: Stream, version: Version) -> Result<(), CarryError> {
    match version {
        Version::Http1 => Box::pin(http1::serve(connection, stream)).await,
        Version::Http2 | Version::Multiplexed => {
            Ok(Box::pin(serve_http2(connection, stream, version)).await?)
        }
    }
}

async fn serve_http2(connection: Rc<Connection>, stream: Stream, version: Version) -> hyper::Result<()> {
    let worker = Rc::clone(&connection.worker);
    let lifecycle = &worker.shared.lifecycle;
    let end = match (connection.direction(), lifecycle.stage()) {
        (Direction::Inbound, Stage::Serving) => lifecycle.draining(),
        // A caller that connects while this pod drains knows no other, or does not know yet. Sending it away at once
        // would cost a handshake for each of its requests.
        (Direction::Inbound, Stage::Draining | Stage::Stopping) | (Direction::Outbound, _) => {
            lifecycle.stopping()
        }
    };
    let admitted = Arc::clone(&connection.admitted);
    admitted.activity.allow_pauses();
    let builder = match version {
        Version::Multiplexed => &worker.servers.multiplexed,
        Version::Http1 | Version::Http2 => &worker.servers.http2,
    };
    let service = service_fn(|request| {
        let exchange = Exchange {
            connection: Rc::clone(&connection),
            clock: None,
            version,
        };
        exchange.answer(request)
    });
    let stream = Http2Stream::of_client(stream, admitted, worker.shared.settings.limits.header_read);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    let mut served = pin!(served);
    let ending = tokio::select! {
        result = served.as_mut() => return result,
        ending = has_to_end(&connection, end) => ending,
    };
    served.as_mut().graceful_shutdown();
    finish(served, ending, worker.shared.settings.limits.distrusted).await
}

/// One request and its response.
struct Exchange {
    connection: Rc<Connection>,
    clock: Option<Arc<HeadClock>>,
    version: Version,
}

impl Exchange {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<ResponseBody>, Infallible> {
        let (mut form, counted_as) = if headers::is_grpc(request.headers()) {
            (errors::Form::Grpc, RequestProtocol::Grpc)
        } else {
            (errors::Form::Plain, RequestProtocol::Http)
        };
        let worker = &self.connection.worker;
        let admitted = &self.connection.admitted;
        let (permit, turned_away) = match admitted.begin_request(limits::cost(request.headers())) {
            Ok(permit) => (permit, None),
            Err(too_many) => (None, Some(too_many)),
        };
        let client = Client {
            clock: self.clock.clone(),
            admitted: Arc::clone(admitted),
            permit,
            under_way: admitted.activity.begin(),
        };
        let mut recording = self.connection.telemetry().request(counted_as);
        let progress = Progress::of(request.body(), self.clock.as_ref());
        let tunnel = *request.method() == Method::CONNECT;
        let unframed;
        let outcome = match turned_away {
            None => self.carry(request, progress.clone(), &mut recording).await,
            Some(too_many) => {
                if form == errors::Form::Plain && self.version != Version::Http1 {
                    form = errors::Form::Bare;
                }
                let (parts, body) = request.into_parts();
                Err(turn_away(&parts, ClientBody::new(body, progress.clone()), too_many.into()).await)
            }
        };
        let mut response = match outcome {
            Ok(Answered {
                response,
                begun,
                hold,
                picked,
            }) => {
                let switches = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                unframed = hold.is_unwanted() && !switches && self.ends();
                recording.status(response.status());
                if let Some(status) = response.headers().get("grpc-status") {
                    recording.grpc_status(status.as_bytes());
                }
                response.map(|body| ResponseBody::upstream(body, begun, hold, picked, recording, client))
            }
            Err(refusal) => {
                tracing::debug!(original = %self.connection.original, %refusal, "answered a request");
                unframed = !refusal.is_framed() && self.ends();
                let called = self.called(&refusal, &recording);
                let mut response = refusal.answer(form, called.as_deref(), recording, client);
                // Only another proxy understands it, and only an inbound one has proven peers.
                if self.connection.peer().is_some()
                    && let Some(reply) = refusal.local_reply()
                {
                    reply.insert(response.headers_mut());
                }
                if worker.shared.settings.reasons == Reasons::Told
                    && let Some(reason) = refusal.reason()
                {
                    let reason = HeaderValue::from_static(reason);
                    response.headers_mut().insert(REASON_HEADER, reason);
                }
                response
            }
        };
        let unread = self.leaves_unread(progress.as_deref()) || unframed;
        let switches =
            response.status() == StatusCode::SWITCHING_PROTOCOLS || tunnel && response.status().is_success();
        if (unread || self.asks_to_go_elsewhere()) && !switches {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    /// What was called in vain. Only a pod that may know reasons is told: what it answers itself may reach strangers.
    fn called(&self, refusal: &Refusal, recording: &Recording) -> Option<String> {
        let Connection { worker, original, .. } = &*self.connection;
        let told = worker.shared.settings.reasons == Reasons::Told
            && self.connection.direction() == Direction::Outbound
            && refusal.is_of_service();
        told.then(|| outbound::called(worker, *original, recording.destination()))
            .flatten()
    }

    /// Whether the response has come before all of the request was read. A connection of HTTP/1 ends then: nobody can
    /// say whether the rest will be read (RFC 9112 section 9.6).
    fn leaves_unread(&self, progress: Option<&Progress>) -> bool {
        match (&self.clock, progress) {
            (Some(clock), Some(progress)) if !progress.has_ended() => {
                clock.leaves_unread();
                true
            }
            _ => false,
        }
    }

    /// Ends a connection of HTTP/1 after the response, as nobody can say where the next request begins.
    fn ends(&self) -> bool {
        self.clock.as_ref().is_some_and(|clock| {
            clock.leaves_unread();
            true
        })
    }

    /// A caller that keeps a connection of HTTP/1 is told to make another; HTTP/2 has its own way.
    fn asks_to_go_elsewhere(&self) -> bool {
        self.version == Version::Http1
            && match (
                self.connection.direction(),
                self.connection.worker.shared.lifecycle.stage(),
            ) {
                (_, Stage::Stopping) | (Direction::Inbound, Stage::Draining) => true,
                (_, Stage::Serving) | (Direction::Outbound, Stage::Draining) => false,
            }
    }

    async fn carry(
        &self,
        mut request: Request<Incoming>,
        progress: Option<Rc<Progress>>,
        recording: &mut Recording,
    ) -> Result<Answered, Refusal> {
        let on_upgrade = (self.version == Version::Http1).then(|| hyper::upgrade::on(&mut request));
        let (mut parts, body) = request.into_parts();
        let body = ClientBody::new(body, progress.clone());
        let Ready {
            mut target,
            spoken,
            protocol,
            upgrade,
        } = match self.prepare(&mut parts, recording) {
            Ok(ready) => ready,
            Err(refusal) => {
                return Err(turn_away(&parts, body, refusal).await);
            }
        };
        // What becomes of a stream is judged by the request that it began with, and anything else as bytes.
        let began = matches!(upgrade, Upgrade::Stream(_)).then(|| parts.clone());
        let handshake = Handshake::of(&parts.headers);
        let waits = spoken == Protocol::Http1
            && protocol == Protocol::Http1
            && progress.is_some()
            && Expectation::of(&parts.headers) == Expectation::Continue;
        let mut request = Request::from_parts(parts, body);
        let (gate, answer) = waits.then(|| Gate::new(&mut request)).unzip();
        let request = request.map(|body| request_body(body, gate, &target, &self.connection.admitted));
        let mut answered = forward::send(
            &self.connection,
            &mut target,
            request,
            &Sent {
                spoken,
                protocol,
                upgrade: &upgrade,
                client: self.clock.as_deref(),
            },
        )
        .await?;
        let unwanted = answer.and_then(expect::Answer::came);
        vetting::vet(
            &mut answered,
            &upgrade,
            &handshake,
            progress.as_deref(),
            self.connection.direction(),
        )
        .await?;
        if let Some(progress) = progress {
            answered.hold.sends(progress);
        }
        if let Some(unwanted) = unwanted {
            answered.hold.holds_back(unwanted);
        }
        let response = &mut answered.response;
        if self.version == Version::Http1 {
            *response.version_mut() = http::Version::HTTP_11;
        }
        headers::strip_response(response.status(), response.headers_mut());
        if upgrade.is_granted(response.status())
            && let Some(client) = on_upgrade
        {
            // A tunnel has no content that could have a length (RFC 9110 section 9.3.6).
            response.headers_mut().remove(CONTENT_LENGTH);
            let server = hyper::upgrade::on(response);
            let switched = Switched {
                connection: Rc::clone(&self.connection),
                request: began,
                upstream: answered.hold.peer().cloned(),
                telemetry: target.telemetry,
                picked: answered.picked.take(),
            };
            super::upgrade::carry(switched, client, server);
        }
        Ok(answered)
    }

    /// Decides where a request goes and whether it may, and makes it what will be sent there.
    fn prepare(&self, parts: &mut Parts, recording: &mut Recording) -> Result<Ready, Refusal> {
        let Connection {
            worker,
            original,
            side,
            ..
        } = &*self.connection;
        let mut spoken = match self.version {
            Version::Http1 => Protocol::Http1,
            Version::Http2 | Version::Multiplexed => Protocol::Http2,
        };
        if self.version == Version::Multiplexed
            && let Some(form) = Form::take(parts)
        {
            // The Host takes the authority's place now.
            headers::same_host(parts)?;
            form.restore(parts);
            spoken = form.protocol();
        }
        match self.version {
            // hyper has checked.
            Version::Http1 => {}
            Version::Http2 => limits::check(&parts.headers, Sender::Application)?,
            Version::Multiplexed => limits::check(&parts.headers, Sender::Proxy)?,
        }
        if let Some(clock) = &self.clock {
            match clock.defect.get() {
                Some(HeadDefect::TargetTooLong) => return Err(BadRequest::TargetTooLong.into()),
                Some(HeadDefect::TwoLengths) => return Err(BadRequest::TwoLengths.into()),
                None => {}
            }
            if let Some(raw) = clock.raw_target() {
                parts.extensions.insert(raw);
            }
        }
        headers::check_expectation(parts)?;
        if parts.method == Method::CONNECT {
            return self.prepare_tunnel(parts, recording);
        }
        headers::check(parts)?;
        match side {
            Side::Inbound { judge, telemetry } => {
                identity_headers::strip(&mut parts.headers);
                let upgrade = match headers::strip_request(parts) {
                    Upgrade::Unknown(protocols) if judge.would_refuse(None) => {
                        tracing::debug!(?protocols, %original, "left out an upgrade that needs the right that bytes need");
                        headers::leave_out_upgrade(parts)
                    }
                    upgrade => upgrade,
                };
                upstream::prepare(parts, spoken, *original);
                if let Some(caller) = &judge.caller().headers {
                    identity_headers::add(&mut parts.headers, caller);
                }
                // Last, so that rules see what the application gets.
                judge.request(parts)?;
                Ok(Ready {
                    target: inbound::target(*original, telemetry),
                    spoken,
                    protocol: spoken,
                    upgrade,
                })
            }
            Side::Outbound => {
                let target = outbound::request_target(worker, *original, parts, |telemetry| {
                    recording.concerns(telemetry);
                })?;
                let upgrade = headers::strip_request(parts);
                let protocol = forward::wrap(parts, &target, spoken, &upgrade, *original);
                Ok(Ready {
                    target,
                    spoken,
                    protocol,
                    upgrade,
                })
            }
        }
    }
}

/// Refuses a request, after taking what is here of its body. One that is held back stays where it is.
async fn turn_away(parts: &Parts, body: ClientBody, refusal: Refusal) -> Refusal {
    if refusal.is_framed() && Expectation::of(&parts.headers) == Expectation::None {
        body.discard().await;
    }
    refusal
}

/// The body of a request. What a called proxy may hand back is kept for a while.
fn request_body(
    body: ClientBody,
    gate: Option<Gate>,
    target: &Target,
    admitted: &Arc<Admitted>,
) -> RequestBody {
    let ended = body.is_end_stream();
    let flow = Flow::new(admitted, Way::Request);
    let body = GatedBody::new(body, gate);
    if target.expected.is_some() && target.has_alternatives() && !ended {
        RequestBody::Replay(ReplayBody::new(body), flow)
    } else {
        RequestBody::Client(body, flow)
    }
}

/// What was decided about a request that may go on.
struct Ready {
    target: Target,
    /// What the application speaks.
    spoken: Protocol,
    /// What goes upstream.
    protocol: Protocol,
    upgrade: Upgrade,
}
