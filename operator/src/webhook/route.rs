//! One HTTP request: bounded, timed, answered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Body;
use rustls::crypto::aws_lc_rs;
use smilax_core::admission::Network;
use smilax_core::probe::PathKey;
use smilax_crds::ConversionOutcome;
use tokio::time::{Instant, timeout};

use super::body::{self, BodyError};
use super::budget::{Budget, Busy, Held};
use super::decide::{self, Decision};
use super::judge::{Judge, Judged, Known};
use super::namespaces::Namespaces;
use super::review::{self, About, Needs, Review, Weighed};
use super::{Webhook, WebhookState};
use crate::cluster_view::NamespaceView;
use crate::places::Place;

/// The API server gives up after this time by default, and at 10 s in any case that we install.
const REQUEST_TIME: Duration = Duration::from_secs(5);
const MIB: usize = 1024 * 1024;
/// An object and its predecessor, each of which the API server limits to 3 MiB, and the review around them.
const REVIEW_LIMIT: usize = 7 * MIB;
/// The API server converts a whole list at once.
const CONVERSION_LIMIT: usize = 32 * MIB;

/// The webhooks without connections: what requests share.
#[derive(Debug)]
pub struct Routes {
    namespaces: Namespaces,
    state: WebhookState,
    budget: Budget,
}

/// Why a request has no decision.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("there is POST /inject, POST /validate, POST /keys and POST /convert, with application/json")]
    Unknown(StatusCode),
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error(transparent)]
    Review(#[from] review::ReviewError),
    #[error("conversion: {0}")]
    Conversion(serde_json::Error),
    #[error("namespace {0:?} is not known, and the API server did not answer for it")]
    Namespace(String),
    #[error(transparent)]
    Busy(#[from] Busy),
    #[error("no decision within {} s", REQUEST_TIME.as_secs())]
    Time,
    #[error("the decision failed: {0}")]
    Internal(String),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unknown(status) => *status,
            Self::Body(error) => error.status(),
            Self::Review(_) | Self::Conversion(_) => StatusCode::BAD_REQUEST,
            Self::Busy(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Time => StatusCode::GATEWAY_TIMEOUT,
            Self::Namespace(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Routes {
    /// With the whole budget.
    pub fn new(state: WebhookState) -> Self {
        Self {
            namespaces: Namespaces::new(Arc::clone(&state.view)),
            state,
            budget: Budget::new(),
        }
    }

    /// Answers a request that came from this address, in [`REQUEST_TIME`] at most.
    pub async fn answer<B>(&self, client: IpAddr, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let webhook = match route(&request) {
            Ok(webhook) => webhook,
            Err(status) => return refusal(&Failure::Unknown(status)),
        };
        let started = Instant::now();
        let decided = timeout(REQUEST_TIME, self.decide(webhook, Network::of(client), request))
            .await
            .unwrap_or(Err(Failure::Time));
        let (response, outcome) = match decided {
            Ok((body, outcome)) => (json(StatusCode::OK, body), outcome),
            Err(failure) => {
                tracing::warn!(webhook = webhook.as_str(), error = %failure, "webhook request failed");
                (refusal(&failure), "error")
            }
        };
        self.state.metrics.observe(webhook, outcome, started.elapsed());
        response
    }

    async fn decide<B>(
        &self,
        webhook: Webhook,
        source: Network,
        request: Request<B>,
    ) -> Result<(Vec<u8>, &'static str), Failure>
    where
        B: Body<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let limit = match webhook {
            Webhook::Inject | Webhook::Validate | Webhook::Keys => REVIEW_LIMIT,
            Webhook::Convert => CONVERSION_LIMIT,
        };
        let asker = Asker {
            source,
            held: self.budget.body(source),
        };
        let body = asker
            .held
            .unless_needed(body::read(request, limit, &asker.held))
            .await??;
        match webhook {
            Webhook::Convert => self.convert(&asker, body).await,
            Webhook::Keys | Webhook::Inject | Webhook::Validate => self.review(webhook, &asker, body).await,
        }
    }

    /// Room for what is made of a body. Whoever waits for it may have to give way to others.
    async fn room(&self, asker: &Asker, memory: usize) -> Result<Place, Busy> {
        asker
            .held
            .unless_needed(self.budget.work(asker.source, memory))
            .await?
    }

    async fn convert(&self, asker: &Asker, body: Bytes) -> Result<(Vec<u8>, &'static str), Failure> {
        let (body, memory) = away(move || {
            let memory = smilax_crds::conversion_memory(&body);
            Ok((body, memory))
        })
        .await?;
        let share = self.room(asker, memory).await?;
        away(move || {
            let answered = convert(&body);
            drop(share);
            answered
        })
        .await
    }

    async fn review(
        &self,
        webhook: Webhook,
        asker: &Asker,
        body: Bytes,
    ) -> Result<(Vec<u8>, &'static str), Failure> {
        let (review, weighed) = away(move || {
            let review = review::read(&body)?;
            let weighed = review.weigh(decide::needs(webhook, &review.about));
            Ok((review, weighed))
        })
        .await?;
        let about = &review.about;
        let weighed = match weighed {
            Ok(weighed) if weighed.needs == Needs::Nothing => return answered(about, decide::ignored()),
            Ok(weighed) => weighed,
            Err(too_much) => return answered(about, decide::too_much(webhook, too_much)),
        };
        let view = Arc::clone(&self.state.view);
        let namespace = match webhook {
            Webhook::Inject => self.namespace(asker, &about.namespace).await?,
            Webhook::Validate if decide::is_workload(about) => {
                self.namespace(asker, &about.namespace).await?
            }
            // A Namespace that the watch has not delivered counts as one that has not joined: nothing waits for a warning.
            Webhook::Keys => view.namespace(&about.namespace).unwrap_or_default(),
            Webhook::Validate | Webhook::Convert => NamespaceView::default(),
        };
        let judge = Judge {
            webhook,
            settings: self.state.settings.load_full(),
            view,
        };
        let mut judged = self
            .judged(asker, (&judge, &review), weighed, Known::Watched(namespace))
            .await?;
        if let Judged::NotJoined(namespace) = judged {
            let newest = self.newest(asker, &about.namespace).await?.unwrap_or(namespace);
            judged = self
                .judged(asker, (&judge, &review), weighed, Known::Newest(newest))
                .await?;
        }
        match judged {
            Judged::Decided(decision) => answered(about, decision),
            Judged::NotJoined(_) => answered(about, decide::ignored()),
        }
    }

    /// Reads what is needed and decides, off the event loop. Nothing of it is held while something else is waited for.
    async fn judged(
        &self,
        asker: &Asker,
        (judge, review): (&Judge, &Review),
        weighed: Weighed,
        namespace: Known,
    ) -> Result<Judged, Failure> {
        let share = self.room(asker, decide::memory(judge.webhook, weighed)).await?;
        let (judge, review) = (judge.clone(), review.clone());
        away(move || {
            let request = review
                .objects(weighed.needs)
                .map_err(review::ReviewError::Malformed)?;
            let judged = judge.judge(&request, namespace, &path_key()?);
            drop((request, share));
            Ok(judged)
        })
        .await
    }

    /// What the API server says of a Namespace now, if it answers. Whoever waits for it may have to give way to others.
    async fn newest(&self, asker: &Asker, name: &str) -> Result<Option<NamespaceView>, Busy> {
        let newest = self.namespaces.newest(asker.source, name);
        asker.held.unless_needed(newest).await?
    }

    async fn namespace(&self, asker: &Asker, name: &str) -> Result<NamespaceView, Failure> {
        if let Some(namespace) = self.state.view.namespace(name) {
            return Ok(namespace);
        }
        let newest = self.newest(asker, name).await?;
        newest.ok_or_else(|| Failure::Namespace(name.to_owned()))
    }
}

#[cfg(test)]
impl Routes {
    /// Leaves no room for small reviews of this address.
    pub(super) async fn exhausted(&self, client: IpAddr) -> impl Sized {
        let source = Network::of(client);
        let all = std::iter::repeat_with(|| self.budget.work(source, 4 * MIB)).take(3);
        futures::future::join_all(all).await
    }
}

/// Where a request comes from, and what is held of its body.
struct Asker {
    source: Network,
    held: Held,
}

fn answered(about: &About, (answer, outcome): Decision) -> Result<(Vec<u8>, &'static str), Failure> {
    let body = review::write(&about.uid, answer).map_err(|error| Failure::Internal(error.to_string()))?;
    Ok((body, outcome))
}

fn route<B>(request: &Request<B>) -> Result<Webhook, StatusCode> {
    let webhook = Webhook::at(request.uri().path()).ok_or(StatusCode::NOT_FOUND)?;
    if request.method() != Method::POST {
        return Err(StatusCode::METHOD_NOT_ALLOWED);
    }
    let content_type = request
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    match essence {
        Some("application/json") => Ok(webhook),
        _ => Err(StatusCode::UNSUPPORTED_MEDIA_TYPE),
    }
}

/// What nobody can guess of the paths of a pod's probes.
fn path_key() -> Result<PathKey, Failure> {
    let mut random = [0; 16];
    aws_lc_rs::default_provider()
        .secure_random
        .fill(&mut random)
        .map_err(|_| Failure::Internal("the system has no random numbers".to_owned()))?;
    Ok(PathKey::new(random))
}

fn convert(body: &[u8]) -> Result<(Vec<u8>, &'static str), Failure> {
    let answer = smilax_crds::conversion_review(body).map_err(Failure::Conversion)?;
    let outcome = match answer.outcome {
        ConversionOutcome::Converted => "converted",
        ConversionOutcome::Incomplete(_) => "incomplete",
        ConversionOutcome::Failed => "failed",
    };
    Ok((answer.body, outcome))
}

/// Computes off the event loop: a large review must not hold up small ones, and a panic becomes a failure of this request alone.
async fn away<T: Send + 'static>(
    compute: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(compute)
        .await
        .unwrap_or_else(|error| Err(Failure::Internal(error.to_string())))
}

/// The answer to whom there is no room for.
pub(super) fn busy() -> Response<Full<Bytes>> {
    refusal(&Failure::Busy(Busy))
}

fn refusal(failure: &Failure) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{failure}\n"))));
    *response.status_mut() = failure.status();
    if matches!(failure, Failure::Busy(_) | Failure::Body(BodyError::Busy(_))) {
        // With it, API servers ask again within the time that they have; without, they give up.
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

fn json(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
