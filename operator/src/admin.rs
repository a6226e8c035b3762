//! Health, metrics and what proxies told, on a port of their own.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;

const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Callers served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 64;

/// What is asked of this process.
pub struct Health {
    /// What it still waits for before webhooks can be served; empty when ready.
    pub pending: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// What is counted.
    pub metrics: Metrics,
    /// What is known of every proxy, as JSON (see [`crate::workload_server::fleet_page`]).
    pub fleet: Box<dyn Fn() -> Vec<u8> + Send + Sync>,
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

/// Serves until the listener fails for good.
pub async fn serve(listener: TcpListener, health: Arc<Health>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "admin port: accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let health = Arc::clone(&health);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&request, &health);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "admin connection ended");
            }
            drop(slot);
        });
    }
}

fn answer(request: &Request<Incoming>, health: &Health) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n".to_owned());
    }
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "ok\n".to_owned()),
        "/readyz" => match (health.pending)() {
            pending if pending.is_empty() => text(StatusCode::OK, "ok\n".to_owned()),
            pending => text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("waiting for: {}\n", pending.join(", ")),
            ),
        },
        "/metrics" => text(StatusCode::OK, health.metrics.text()),
        "/fleet" => {
            let body = Full::new(Bytes::from((health.fleet)()));
            typed(StatusCode::OK, "application/json", body)
        }
        _ => text(
            StatusCode::NOT_FOUND,
            "there is /healthz, /readyz, /metrics and /fleet\n".to_owned(),
        ),
    }
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    typed(status, content_type, Full::new(Bytes::from(body)))
}

fn typed(status: StatusCode, content_type: &'static str, body: Full<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(content_type),
    );
    response
}
