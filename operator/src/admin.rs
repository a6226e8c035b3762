//! Health, metrics and what proxies told, on a port of their own.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use smilax_core::admission::{Activity, Admissions, Busy, Caps};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Connections at a time. Anybody in the cluster may open them, and nobody knows from which address kubelet comes, so
/// another one has to end for each that is above.
const PLACES: Caps = Caps { all: 128, of_one: 64 };
/// How long a connection may last, however slowly its client reads.
const LONGEST: Duration = Duration::from_mins(1);

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

/// Serves for ever.
pub async fn serve(listener: TcpListener, health: Arc<Health>) {
    let admissions = Admissions::new(PLACES, Busy::GivesWay);
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "admin port: accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // As on the port of the webhooks. It fails for a connection that is gone already.
        if stream.set_nodelay(true).is_err() {
            continue;
        }
        let (activity, end) = (Activity::new(), CancellationToken::new());
        let Some((place, gives_way)) = admissions.enter(peer.ip(), &activity, end.clone()) else {
            continue;
        };
        if let Some(other) = gives_way {
            other.cancel();
        }
        let health = Arc::clone(&health);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let _under_way = activity.begin();
                let response = answer(&request, peer.ip(), &health);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "admin connection ended");
                },
                () = end.cancelled() => tracing::debug!(%peer, "closed an admin connection that gave way to another"),
                () = tokio::time::sleep(LONGEST) => {}
            }
            drop(place);
        });
    }
}

fn answer<B>(request: &Request<B>, peer: IpAddr, health: &Health) -> Response<Full<Bytes>> {
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
        // It names every pod of the mesh, which is not for every pod to know. Who may forward a port may ask.
        "/fleet" if !peer.to_canonical().is_loopback() => text(
            StatusCode::FORBIDDEN,
            "only through a forwarded port: smilax proxy-status\n".to_owned(),
        ),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(path: &str, peer: &str) -> StatusCode {
        let health = Health {
            pending: Box::new(Vec::new),
            metrics: Metrics::new(prometheus::Registry::new()).unwrap(),
            fleet: Box::new(|| b"{}".to_vec()),
        };
        let request = Request::get(path).body(()).unwrap();
        answer(&request, peer.parse().unwrap(), &health).status()
    }

    #[test]
    fn what_proxies_told_is_shown_through_a_forwarded_port_only() {
        for near in ["127.0.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(asked("/fleet", near), StatusCode::OK, "{near}");
        }
        for far in ["10.1.2.3", "fd00::3", "::ffff:10.1.2.3"] {
            assert_eq!(asked("/fleet", far), StatusCode::FORBIDDEN, "{far}");
            assert_eq!(asked("/metrics", far), StatusCode::OK, "{far}");
        }
    }
}
