//! What people and kubelet ask the proxy: administration, metrics, readiness, probes.

mod answer;
mod serve;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, LOCATION};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::net::TcpListener;

use self::answer::Content;
use self::serve::{Patience, serve};
use crate::control::Control;
use crate::drain::Stage;
use crate::probe::{Outcome, Prober};
use crate::scrape::{Page, Scraper};

/// How long a connection may last, however slowly its client reads.
const LONGEST: Duration = Duration::from_mins(1);
/// The same where a hook of the application is waited for, which may take as long as its pod may take to end.
const LONGEST_HOOK: Duration = Duration::from_hours(2);
/// Bytes of a request's body at most.
const MOST_BODY: usize = 4096;

type Answer = Response<Content>;

/// A lifecycle hook failed: the connection is closed without an answer, since kubelet takes any answer for a success.
#[derive(Debug, thiserror::Error)]
#[error("the hook was not carried out")]
struct HookFailed;

/// Serves administration. It changes things, so it is only ever served on loopback.
pub async fn serve_admin(control: Arc<Control>, listener: TcpListener) {
    let patience = patience(&control, LONGEST);
    serve(listener, patience, move |_, request| {
        let control = Arc::clone(&control);
        async move { Ok(administer(control, request).await) }
    })
    .await;
}

/// Serves metrics and readiness.
pub async fn serve_metrics(control: Arc<Control>, scraper: Arc<Scraper>, listener: TcpListener) {
    let patience = patience(&control, LONGEST);
    serve(listener, patience, move |client, request| {
        let (control, scraper) = (Arc::clone(&control), Arc::clone(&scraper));
        async move { Ok(observe(&control, &scraper, client, &request).await) }
    })
    .await;
}

/// Serves the application's probes.
pub async fn serve_probes(control: Arc<Control>, prober: Arc<Prober>, listener: TcpListener) {
    let patience = patience(&control, LONGEST_HOOK);
    serve(listener, patience, move |_, request| {
        let prober = Arc::clone(&prober);
        async move {
            if request.method() != Method::GET {
                return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here"));
            }
            let path = request.uri().path();
            probed(path, prober.ask(path, request.headers()).await)
        }
    })
    .await;
}

fn patience(control: &Control, longest: Duration) -> Patience {
    Patience {
        longest,
        unread: control.shared.settings.limits.unread,
    }
}

/// Tells kubelet what the application said. Its body is passed on only where kubelet shows it: anybody in the cluster may
/// ask this port.
fn probed(path: &str, outcome: Outcome) -> Result<Answer, HookFailed> {
    let mut answer = match outcome {
        Outcome::Success => text(StatusCode::OK, "ok"),
        Outcome::Failure(failure) => text(failure.status(), &failure.to_string()),
        Outcome::Redirected(redirect) => {
            let mut answer = Response::new(Content::Own(redirect.body));
            *answer.status_mut() = redirect.status;
            answer
                .headers_mut()
                .extend(redirect.location.map(|location| (LOCATION, location)));
            answer
        }
        Outcome::HookFailed(failure) => {
            tracing::warn!(hook = without_key(path), "lifecycle hook failed: {failure}");
            return Err(HookFailed);
        }
    };
    // On a connection that was used before, kubelet would repeat a hook that gets no answer.
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(answer)
}

/// Container and purpose of a path: its key is for kubelet, and not for who reads logs.
fn without_key(path: &str) -> &str {
    let container = path.rmatch_indices('/').nth(1);
    container.and_then(|(index, _)| path.get(index..)).unwrap_or(path)
}

async fn administer(control: Arc<Control>, request: Request<Incoming>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/config") => match control.source.lock().applied() {
            Some(applied) => json(applied.text().into()),
            None => text(StatusCode::NOT_FOUND, "no configuration is in force"),
        },
        (&Method::GET, "/config/status") => status(&control.config_status()),
        (&Method::GET, "/certificates") => status(&control.certificates()),
        (&Method::GET, "/endpoints") => status(&control.shared.endpoints.status()),
        (&Method::GET, "/addresses") => status(&control.shared.addresses.status()),
        (&Method::GET, "/subscriptions") => status(&control.subscriptions()),
        (&Method::POST, "/drain") => {
            control.shared.lifecycle.drain();
            text(StatusCode::OK, "draining")
        }
        (&Method::GET, "/log-level") => match control.level.get() {
            Ok(level) => text(StatusCode::OK, &level),
            Err(error) => text(StatusCode::CONFLICT, &error.to_string()),
        },
        (&Method::PUT, "/log-level") => set_level(&control, request).await,
        (
            _,
            "/config" | "/config/status" | "/certificates" | "/endpoints" | "/addresses" | "/subscriptions"
            | "/drain" | "/log-level",
        ) => text(StatusCode::METHOD_NOT_ALLOWED, "this is not done that way"),
        _ => text(
            StatusCode::NOT_FOUND,
            "GET /config, /config/status, /certificates, /endpoints, /addresses or /subscriptions, POST /drain, GET or PUT /log-level",
        ),
    }
}

async fn set_level(control: &Control, request: Request<Incoming>) -> Answer {
    let Ok(body) = Limited::new(request.into_body(), MOST_BODY).collect().await else {
        return text(StatusCode::BAD_REQUEST, "the body is not a log filter");
    };
    let body = body.to_bytes();
    match control.level.set(String::from_utf8_lossy(&body).trim()) {
        Ok(()) => text(StatusCode::OK, "set"),
        Err(error) => text(StatusCode::BAD_REQUEST, &error.to_string()),
    }
}

async fn observe(
    control: &Control,
    scraper: &Scraper,
    client: IpAddr,
    request: &Request<Incoming>,
) -> Answer {
    if request.method() != Method::GET {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is served here");
    }
    let stage = control.shared.lifecycle.stage();
    match (request.uri().path(), stage) {
        // kubelet asks for the others, and nobody knows from which address.
        ("/metrics", _) if !control.shared.settings.metrics_sources.contains(client) => text(
            StatusCode::FORBIDDEN,
            "metrics are not read from this address; the chart's value proxy.metrics.sourceRanges says from where they are",
        ),
        ("/metrics", _) => {
            let query = request.uri().query();
            match scraper.page(request.headers(), query).await {
                Ok(page) => measured(page),
                Err(failure) => text(StatusCode::SERVICE_UNAVAILABLE, &failure.to_string()),
            }
        }
        ("/startup", _) => shown(missing(control, control.shared.settings.limits.certificate)),
        ("/ready", Stage::Serving) => shown(missing(control, Duration::MAX)),
        ("/ready", _) => text(StatusCode::SERVICE_UNAVAILABLE, "draining"),
        _ => text(StatusCode::NOT_FOUND, "GET /metrics, /ready or /startup"),
    }
}

fn measured(page: Page) -> Answer {
    let mut answer = Response::new(Content::Shared(page.parts));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, page.format.content_type());
    answer
}

/// What is missing before this pod can be used. A certificate is waited for at the first start only, and for so long.
fn missing(control: &Control, patience: Duration) -> Option<&'static str> {
    if control.source.lock().applied().is_none() {
        return Some("no configuration is in force");
    }
    let waiting = control.started.elapsed() < patience;
    (waiting && control.needs_certificate() && !control.keyring.lock().ever())
        .then_some("there is no certificate yet")
}

fn shown(missing: Option<&'static str>) -> Answer {
    match missing {
        Some(missing) => text(StatusCode::SERVICE_UNAVAILABLE, missing),
        None => text(StatusCode::OK, "ready"),
    }
}

fn status(of: &impl Serialize) -> Answer {
    match serde_json::to_vec(of) {
        Ok(status) => json(status.into()),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

fn text(status: StatusCode, line: &str) -> Answer {
    let mut answer = Response::new(Content::Own(Bytes::from(format!("{line}\n"))));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}

fn json(document: Bytes) -> Answer {
    let mut answer = Response::new(Content::Own(document));
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
