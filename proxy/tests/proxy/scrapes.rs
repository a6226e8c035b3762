//! One scrape of the sidecar finds the application's metrics too, and nothing that the application does hides the sidecar's.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use http::{Request, Response, StatusCode};
use smilax_core::application_metrics::ApplicationMetrics;
use smilax_core::probe::Scheme;
use smilax_core::{ProxyConfig, Workload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::TestProxy;
use crate::support::client::{Answer, Http1, get};
use crate::support::server::{Body, Server, empty, full};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3";

/// A port of loopback that the kernel chooses: one that was free a moment ago may be somebody else's by now.
const ANY_PORT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// The sidecar of an application that serves its metrics there.
fn sidecar(application: SocketAddr) -> TestProxy {
    TestProxy::builder()
        .config(&ProxyConfig::empty(Workload::new("shop", "web")))
        .set(|settings| {
            settings.application_metrics = Some(ApplicationMetrics {
                port: application.port(),
                path: "/stats".to_owned(),
                scheme: Scheme::Http,
            });
        })
        .start()
}

fn answer(content_type: &str, text: impl Into<String>) -> Response<Body> {
    let mut answer = Response::new(full(text.into()));
    let content_type = content_type.parse().unwrap();
    answer.headers_mut().insert("content-type", content_type);
    answer
}

/// The sidecar of an application that always answers so.
async fn of(answer: impl Fn() -> Response<Body> + Send + Sync + 'static) -> (Server, TestProxy) {
    let server = Server::http(ANY_PORT, move |_| std::future::ready(answer())).await;
    let proxy = sidecar(server.address());
    (server, proxy)
}

/// Waits for the request: an answer that comes before it is none.
async fn request_head(stream: &mut TcpStream) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
}

async fn scrape(proxy: &TestProxy, accept: &str, path: &str) -> Answer {
    let request = Request::get(path)
        .header("host", "pod")
        .header("accept", accept)
        .header("x-prometheus-scrape-timeout-seconds", "2")
        .body(empty())
        .unwrap();
    Http1::connect(proxy.metrics_address()).await.send(request).await
}

/// Only the sidecar's metrics are there, and the next scrape counts why.
async fn alone(proxy: &TestProxy, outcome: &str) {
    let page = scrape(proxy, PROMETHEUS, "/metrics").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.contains("smilax_proxy_build_info"), "{}", page.text);
    assert!(!page.text.contains("app_"), "{}", page.text);
    let counted = format!("smilax_proxy_application_scrapes_total{{outcome=\"{outcome}\"}} 1");
    assert!(page.text.contains(&counted), "{}", page.text);
}

#[tokio::test]
async fn one_scrape_finds_the_metrics_of_the_sidecar_and_of_the_application() {
    let (_app, proxy) = of(|| answer("text/plain; version=0.0.4", "app_orders 7\n")).await;
    let page = scrape(&proxy, "*/*", "/metrics").await;
    assert_eq!(
        page.headers["content-type"],
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(page.text.contains("smilax_proxy_build_info"), "{}", page.text);
    assert!(page.text.ends_with("\napp_orders 7\n"), "{}", page.text);
}

#[tokio::test]
async fn the_application_is_asked_at_its_path_with_the_scrapers_parameters_and_for_text() {
    let (asked, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let app = Server::http(ANY_PORT, move |request| {
        let accept = request.headers()["accept"].to_str().unwrap().to_owned();
        asked.send((request.uri().to_string(), accept)).unwrap();
        std::future::ready(answer("text/plain", "app_orders 7\n"))
    })
    .await;
    let protobuf = "application/vnd.google.protobuf;q=0.6,text/plain;q=0.3";
    assert!(
        scrape(&sidecar(app.address()), protobuf, "/metrics?collect=all")
            .await
            .text
            .contains("app_orders 7")
    );
    let (target, accept) = heard.recv().await.unwrap();
    assert_eq!(target, "/stats?collect=all");
    assert!(
        accept.starts_with("text/plain") && !accept.contains("protobuf"),
        "{accept}"
    );
}

#[tokio::test]
async fn openmetrics_ends_once() {
    let page = "# TYPE app_orders counter\napp_orders_total 7 # {trace_id=\"1\"} 1\n# EOF\n";
    let (_app, proxy) = of(move || answer(OPEN_METRICS, page)).await;
    let page = scrape(&proxy, PROMETHEUS, "/metrics").await;
    assert_eq!(page.headers["content-type"], OPEN_METRICS);
    assert!(
        page.text
            .contains("# TYPE smilax_proxy_retries counter\nsmilax_proxy_retries_total 0\n")
    );
    assert!(
        page.text
            .ends_with("app_orders_total 7 # {trace_id=\"1\"} 1\n# EOF\n"),
        "{}",
        page.text
    );
    assert_eq!(page.text.matches("# EOF").count(), 1);
}

#[tokio::test]
async fn an_application_that_is_not_there_hides_nothing() {
    let bound = TcpSocket::new_v4().unwrap();
    bound.bind(ANY_PORT).unwrap();
    alone(&sidecar(bound.local_addr().unwrap()), "unreachable").await;
}

#[tokio::test]
async fn an_error_and_a_redirect_of_the_application_hide_nothing() {
    for status in [StatusCode::INTERNAL_SERVER_ERROR, StatusCode::FOUND] {
        let (_app, proxy) = of(move || {
            let mut answer = answer("text/plain", "app_orders 7\n");
            *answer.status_mut() = status;
            answer
                .headers_mut()
                .insert("location", "http://127.0.0.1:15000/drain".parse().unwrap());
            answer
        })
        .await;
        alone(&proxy, "status").await;
    }
}

#[tokio::test]
async fn what_is_no_text_of_prometheus_is_not_merged() {
    let (_app, proxy) = of(|| answer("text/html", "<p>app_orders 7</p>")).await;
    alone(&proxy, "format").await;
    let (_app, proxy) = of(|| answer("text/plain", "app_orders 7\nWelcome!\n")).await;
    alone(&proxy, "malformed").await;
}

#[tokio::test]
async fn an_application_that_answers_without_end_is_given_up() {
    let app = Server::tcp(ANY_PORT, |mut stream| async move {
        request_head(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(&b"app_orders 7\n".repeat(1000)).await.is_ok() {}
    })
    .await;
    alone(&sidecar(app.address()), "too_large").await;
}

#[tokio::test]
async fn a_slow_application_is_given_up_while_the_scraper_still_waits() {
    let app = Server::tcp(ANY_PORT, |mut stream| async move {
        request_head(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n";
        let _ = stream.write_all(head.as_bytes()).await;
        while stream.write_all(b"app_orders 7\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let began = Instant::now();
    alone(&sidecar(app.address()), "timed_out").await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_application_that_breaks_off_hides_nothing() {
    let app = Server::tcp(ANY_PORT, |mut stream| async move {
        request_head(&mut stream).await;
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\napp_orders 7\n";
        let _ = stream.write_all(head.as_bytes()).await;
    })
    .await;
    alone(&sidecar(app.address()), "broken").await;
}

#[tokio::test]
async fn a_port_of_the_sidecar_is_not_asked() {
    for port in smilax_core::convention::PROXY_PORTS {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        alone(&sidecar(address), "unreachable").await;
    }
}

#[tokio::test]
async fn readiness_does_not_ask_the_application() {
    let (app, proxy) = of(|| answer("text/plain", "app_orders 7\n")).await;
    assert_eq!(
        get(proxy.metrics_address(), "/ready").await.status,
        StatusCode::OK
    );
    assert_eq!(app.requests(), 0);
}
