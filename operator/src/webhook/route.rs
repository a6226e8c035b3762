//! One HTTP request: bounded, timed, answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body;
use rustls::crypto::aws_lc_rs;
use smilax_core::probe::PathKey;
use smilax_crds::ConversionOutcome;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::decide::{self, Decision};
use super::review;
use super::{Webhook, WebhookState};
use crate::cluster_view::NamespaceView;
use crate::inject::InjectSettings;

/// The API server gives up after this time by default, and at 10 s in any case that we install.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// Time for asking after a Namespace that is not watched yet, out of [`REQUEST_TIME`].
const NAMESPACE_TIME: Duration = Duration::from_secs(2);
const MIB: usize = 1024 * 1024;
/// An object and its predecessor, each of which the API server limits to 3 MiB, and the review around them.
const REVIEW_LIMIT: usize = 7 * MIB;
/// The API server converts a whole list at once.
const CONVERSION_LIMIT: usize = 32 * MIB;
/// Bodies that are held in memory at any time; further requests wait, within their time.
const BODY_BUDGET: usize = 64 * MIB;
/// The budget is counted in units of this many bytes.
const UNIT: usize = 1024;

/// What requests share.
#[derive(Debug)]
pub(super) struct Routes {
    state: WebhookState,
    budget: Arc<Semaphore>,
}

/// Why a request has no decision.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("there is POST /inject, POST /validate, POST /keys and POST /convert, with application/json")]
    Unknown(StatusCode),
    #[error("the body is above {0} bytes")]
    TooLarge(usize),
    #[error("the body cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Review(#[from] review::ReviewError),
    #[error("conversion: {0}")]
    Conversion(serde_json::Error),
    #[error("namespace {0:?} is not known, and the API server did not answer for it")]
    Namespace(String),
    #[error("no decision within {} s", REQUEST_TIME.as_secs())]
    Time,
    #[error("the decision failed: {0}")]
    Internal(String),
}

impl Failure {
    fn status(&self) -> StatusCode {
        match self {
            Self::Unknown(status) => *status,
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(_) | Self::Review(_) | Self::Conversion(_) => StatusCode::BAD_REQUEST,
            Self::Time => StatusCode::GATEWAY_TIMEOUT,
            Self::Namespace(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl Routes {
    pub(super) fn new(state: WebhookState) -> Self {
        Self {
            state,
            budget: Arc::new(Semaphore::new(BODY_BUDGET / UNIT)),
        }
    }

    /// Answers a request, in [`REQUEST_TIME`] at most.
    pub(super) async fn answer<B>(&self, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data: Send> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let webhook = match route(&request) {
            Ok(webhook) => webhook,
            Err(status) => return refusal(&Failure::Unknown(status)),
        };
        let started = Instant::now();
        let decided = timeout(REQUEST_TIME, self.decide(webhook, request))
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
        let announced = request
            .headers()
            .get(CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<usize>().ok())
            .unwrap_or(limit);
        if announced > limit {
            return Err(Failure::TooLarge(limit));
        }
        let units = u32::try_from(announced / UNIT + 1).unwrap_or(u32::MAX);
        let _held = self
            .budget
            .acquire_many(units)
            .await
            .map_err(|closed| Failure::Internal(closed.to_string()))?;
        let body = match Limited::new(request.into_body(), announced).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                return Err(Failure::TooLarge(limit));
            }
            Err(error) => return Err(Failure::Body(error)),
        };
        match webhook {
            Webhook::Convert => away(move || convert(&body)).await,
            Webhook::Keys => self.keys(body).await,
            Webhook::Inject | Webhook::Validate => self.review(webhook, body).await,
        }
    }

    async fn review(&self, webhook: Webhook, body: Bytes) -> Result<(Vec<u8>, &'static str), Failure> {
        let request = away(move || Ok(review::read(&body)?)).await?;
        let settings = self.state.settings.load_full();
        let needs_namespace = match webhook {
            Webhook::Inject => decide::is_pod_creation(&request),
            Webhook::Validate | Webhook::Keys | Webhook::Convert => decide::is_workload(&request),
        };
        let view = Arc::clone(&self.state.view);
        let namespace = if !needs_namespace {
            NamespaceView::default()
        } else if webhook == Webhook::Inject {
            self.namespace_to_inject(&request, &settings).await?
        } else {
            self.namespace(&request.namespace).await?
        };
        away(move || {
            let (answer, outcome): Decision = match webhook {
                Webhook::Inject if !needs_namespace => (review::Answer::default(), "ignored"),
                Webhook::Inject => decide::injection(&request, &namespace, &settings, &path_key()?),
                _ if needs_namespace => decide::workload(&request, &namespace, &settings),
                _ if decide::is_pod_change(&request) => decide::pod_change(&request, &settings),
                _ => decide::policy(&request, view.as_ref()),
            };
            let body =
                review::write(&request.uid, answer).map_err(|error| Failure::Internal(error.to_string()))?;
            Ok((body, outcome))
        })
        .await
    }

    /// What is wrong with the labels and annotations of an object. A Namespace that the watch has not delivered counts as one
    /// that has not joined: nothing waits for a warning.
    async fn keys(&self, body: Bytes) -> Result<(Vec<u8>, &'static str), Failure> {
        let request = away(move || Ok(review::read(&body)?)).await?;
        let namespace = self.state.view.namespace(&request.namespace);
        away(move || {
            let (answer, outcome) = decide::keys(&request, namespace.as_ref());
            let body =
                review::write(&request.uid, answer).map_err(|error| Failure::Internal(error.to_string()))?;
            Ok((body, outcome))
        })
        .await
    }

    /// The Namespace of a pod under creation. The API server asks only about pods that it knows to have joined, so when the watch
    /// says otherwise, it is the watch that has not heard yet.
    async fn namespace_to_inject(
        &self,
        request: &review::Request,
        settings: &InjectSettings,
    ) -> Result<NamespaceView, Failure> {
        let namespace = self.namespace(&request.namespace).await?;
        if decide::joins(request, &namespace, settings) {
            return Ok(namespace);
        }
        let newer = timeout(
            NAMESPACE_TIME,
            self.state.view.fetch_namespace(&request.namespace),
        )
        .await;
        Ok(newer.ok().flatten().unwrap_or(namespace))
    }

    async fn namespace(&self, name: &str) -> Result<NamespaceView, Failure> {
        if let Some(namespace) = self.state.view.namespace(name) {
            return Ok(namespace);
        }
        timeout(NAMESPACE_TIME, self.state.view.fetch_namespace(name))
            .await
            .ok()
            .flatten()
            .ok_or_else(|| Failure::Namespace(name.to_owned()))
    }
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

fn refusal(failure: &Failure) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{failure}\n"))));
    *response.status_mut() = failure.status();
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
