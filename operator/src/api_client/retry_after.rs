//! `Retry-After`: what an API server answered so with 429 or 503 is not asked of it again before that time.
//!
//! Such a request fails at once, with the same code, so that nothing else waits behind it.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{HeaderMap, Request, Response, StatusCode};
use kube::core::Status;
use parking_lot::Mutex;
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

/// More is not believed.
const LONGEST: Duration = Duration::from_mins(1);
/// What is asked rarely, and needed: who leads, every two seconds, and Events, which are tried a few times.
const NEVER_HELD: [&str; 2] = ["/leases/", "/events"];

/// Puts [`RetryAfter`] before the requests.
#[derive(Clone, Copy, Debug)]
pub(super) struct RetryAfterLayer;

impl<S> Layer<S> for RetryAfterLayer {
    type Service = RetryAfter<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RetryAfter {
            inner,
            held: Arc::default(),
        }
    }
}

/// Refuses what must not be asked yet.
#[derive(Debug)]
pub(super) struct RetryAfter<S> {
    inner: S,
    held: Arc<Mutex<Held>>,
}

impl<S, A, B> Service<Request<A>> for RetryAfter<S>
where
    S: Service<Request<A>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Response<B>, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<A>) -> Self::Future {
        let path = request.uri().path();
        let place = format!("{} {path}", request.method());
        if let Some((code, left)) = self.held.lock().left(&place, Instant::now()) {
            return std::future::ready(Err(refusal(code, left).into())).boxed();
        }
        let held = (!NEVER_HELD.iter().any(|part| path.contains(part))).then(|| Arc::clone(&self.held));
        let answer = self.inner.call(request);
        async move {
            let answer = answer.await.map_err(Into::into)?;
            if let (Some(held), Some(time)) = (held, asked_to_wait(answer.status(), answer.headers())) {
                held.lock().hold(place, answer.status(), Instant::now() + time);
            }
            Ok(answer)
        }
        .boxed()
    }
}

/// How long not to ask again, where an answer says so.
fn asked_to_wait(code: StatusCode, headers: &HeaderMap) -> Option<Duration> {
    if !matches!(
        code,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    ) {
        return None;
    }
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST))
}

fn refusal(code: StatusCode, left: Duration) -> kube::Error {
    let message = format!(
        "the API server asked to be left alone with this for {} s more",
        left.as_secs() + 1
    );
    kube::Error::Api(
        Status::failure(&message, "TooManyRequests")
            .with_code(code.as_u16())
            .boxed(),
    )
}

/// Until when nothing is asked, by method and path.
#[derive(Debug, Default)]
struct Held(HashMap<String, (StatusCode, Instant)>);

impl Held {
    fn left(&mut self, place: &str, now: Instant) -> Option<(StatusCode, Duration)> {
        let (code, until) = self.0.get(place)?;
        let left = until.saturating_duration_since(now);
        if left.is_zero() {
            self.0.remove(place);
            return None;
        }
        Some((*code, left))
    }

    fn hold(&mut self, place: String, code: StatusCode, until: Instant) {
        let now = Instant::now();
        self.0.retain(|_, (_, until)| *until > now);
        self.0.insert(place, (code, until));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tower::service_fn;

    use super::*;

    const SECONDS: u64 = 5;

    /// An API server that is asked through the layer, and answers so; and how often it was asked.
    fn asked(
        code: StatusCode,
    ) -> (
        RetryAfter<impl Service<Request<()>, Response = Response<()>, Error = Infallible, Future: Send>>,
        Arc<AtomicUsize>,
    ) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let service = service_fn(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            let answer = Response::builder()
                .status(code)
                .header(RETRY_AFTER, SECONDS)
                .body(());
            std::future::ready(Ok(answer.unwrap()))
        });
        (RetryAfterLayer.layer(service), count)
    }

    fn get(path: &str) -> Request<()> {
        Request::get(path).body(()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_asked_again_when_the_time_is_over_and_not_before() {
        let (mut api, count) = asked(StatusCode::TOO_MANY_REQUESTS);
        api.call(get("/api/v1/pods")).await.unwrap();
        tokio::time::advance(Duration::from_secs(SECONDS - 1)).await;
        let refused = api.call(get("/api/v1/pods?watch=true")).await.unwrap_err();
        let refused = refused.downcast::<kube::Error>().unwrap();
        assert!(matches!(*refused, kube::Error::Api(status) if status.code == 429));
        assert_eq!(count.load(Ordering::Relaxed), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        api.call(get("/api/v1/pods")).await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn other_objects_and_who_leads_are_asked_for_meanwhile() {
        let (mut api, count) = asked(StatusCode::SERVICE_UNAVAILABLE);
        for path in [
            "/api/v1/pods",
            "/api/v1/services",
            "/apis/x/leases/a",
            "/apis/x/leases/a",
        ] {
            api.call(get(path)).await.unwrap();
        }
        assert_eq!(count.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_is_no_refusal_holds_nothing_back() {
        let (mut api, count) = asked(StatusCode::CREATED);
        for _ in 0..2 {
            api.call(get("/api/v1/pods")).await.unwrap();
        }
        assert_eq!(count.load(Ordering::Relaxed), 2);
    }
}
