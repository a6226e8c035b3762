//! S35: scrapes that nobody reads.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use http::{Request, Response, StatusCode};
use smilax_core::application_metrics::ApplicationMetrics;
use smilax_core::probe::Scheme;
use smilax_core::{ProxyConfig, Workload};
use smilax_proxy::settings::Settings;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::resources::{BRIEF, connect_from, is_ended};
use crate::support::client::{Http1, get, to_end};
use crate::support::server::{Server, empty, full};
use crate::support::{Net, TestProxy, soon};

/// More than the kernel keeps for a client that does not read.
const LARGE: usize = 3 * 1024 * 1024;

/// An application with a large page of metrics, and its sidecar.
async fn pod(change: impl FnOnce(&mut Settings)) -> (Server, TestProxy) {
    let ip = Net::new().at(1).ip();
    let listening = std::net::TcpListener::bind((ip, 0)).unwrap();
    let address = listening.local_addr().unwrap();
    drop(listening);
    let page = format!("app_orders {}\n", "7".repeat(200));
    let page = bytes::Bytes::from(page.repeat(LARGE / page.len()));
    let app = Server::http(address, move |request| {
        let mut answer = Response::new(full(page.clone()));
        answer
            .headers_mut()
            .insert("content-type", http::HeaderValue::from_static("text/plain"));
        let hangs = request.uri().query().is_some_and(|query| query.contains("hang"));
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            // Who asks at the same time comes meanwhile.
            tokio::time::sleep(BRIEF / 4).await;
            answer
        }
    })
    .await;
    let proxy = TestProxy::builder()
        .config(&ProxyConfig::empty(Workload::new("shop", "web")))
        .set(|settings| {
            settings.pod.ips = vec![ip];
            settings.application_metrics = Some(ApplicationMetrics {
                port: address.port(),
                path: "/stats".to_owned(),
                scheme: Scheme::Http,
            });
            change(settings);
        })
        .start();
    (app, proxy)
}

/// A scrape that nobody waits for.
async fn asked(proxy: &TestProxy, path: &str) -> TcpStream {
    let source = SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).ip();
    let mut stream = connect_from(source, proxy.metrics_address()).await;
    let request = format!("GET {path} HTTP/1.1\r\nhost: pod\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// A scrape that is answered, and not read.
async fn unread(proxy: &TestProxy, path: &str) -> TcpStream {
    let stream = asked(proxy, path).await;
    soon("an answer begins", stream.peek(&mut [0])).await.unwrap();
    stream
}

/// Holds that a scrape is answered in full.
async fn scraped(proxy: &TestProxy) {
    let page = get(proxy.metrics_address(), "/metrics").await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(page.text.starts_with("# HELP"), "the sidecar's come first");
    assert!(
        page.text.ends_with("7\n") && page.text.len() > LARGE,
        "the application's are there"
    );
}

#[tokio::test]
async fn s35_many_scrapes_that_nobody_reads_share_one_page() {
    let (app, proxy) = pod(|settings| settings.limits.scrape_shared = Duration::from_hours(1)).await;
    let mut crowd = Vec::new();
    for _ in 0..30 {
        crowd.push(unread(&proxy, "/metrics").await);
    }
    scraped(&proxy).await;
    assert_eq!(app.requests(), 1);
}

#[tokio::test]
async fn s35_scrapes_at_the_same_time_ask_the_application_once() {
    let (app, proxy) = pod(|_| ()).await;
    tokio::join!(scraped(&proxy), scraped(&proxy), scraped(&proxy));
    assert_eq!(app.requests(), 1);
    scraped(&proxy).await;
    assert_eq!(app.requests(), 2);
}

#[tokio::test]
async fn s35_pages_that_nobody_reads_give_way_to_who_asks() {
    let (_app, proxy) = pod(|_| ()).await;
    let mut crowd = Vec::new();
    for _ in 0..8 {
        crowd.push(unread(&proxy, "/metrics").await);
        scraped(&proxy).await;
    }
    crowd.truncate(4);
    for displaced in crowd {
        is_ended(displaced).await;
    }
}

#[tokio::test]
async fn s35_pages_without_an_application_give_way_too() {
    let proxy = TestProxy::builder()
        .config(&ProxyConfig::empty(Workload::new("shop", "web")))
        .start();
    for number in 0..1_000 {
        let labels = format!("{number}{}", "x".repeat(3_000));
        proxy
            .proxy()
            .shared()
            .metrics
            .split(&labels, "root", "backend")
            .inc();
    }
    let mut crowd = Vec::new();
    for _ in 0..8 {
        crowd.push(unread(&proxy, "/metrics").await);
    }
    assert!(get(proxy.metrics_address(), "/metrics").await.text.len() > LARGE - 200_000);
    crowd.truncate(4);
    for displaced in crowd {
        is_ended(displaced).await;
    }
}

#[tokio::test]
async fn s35_made_up_parameters_hold_up_nobody() {
    let (_app, proxy) = pod(|_| ()).await;
    let mut crowd = Vec::new();
    for number in 0..8 {
        crowd.push(unread(&proxy, &format!("/metrics?made-up={number}")).await);
    }
    scraped(&proxy).await;
    let mut particular = Http1::connect(proxy.metrics_address()).await;
    let request = Request::get("/metrics?collect=all")
        .header("host", "pod")
        .body(empty())
        .unwrap();
    assert!(particular.send(request).await.text.len() > LARGE);
}

#[tokio::test]
async fn s35_made_up_parameters_that_the_application_hangs_on_are_answered_without_it() {
    let (app, proxy) = pod(|_| ()).await;
    let mut crowd = Vec::new();
    for number in 0..20 {
        crowd.push(asked(&proxy, &format!("/metrics?hang={number}")).await);
    }
    // Two of them wait for the application, and four for a place.
    let answers = crowd
        .iter()
        .map(|scrape| async { scrape.peek(&mut [0]).await.unwrap() });
    let answers: FuturesUnordered<_> = answers.collect();
    let most_are = timeout(Duration::from_secs(3), answers.take(14).count());
    assert_eq!(most_are.await, Ok(14), "the others are answered at once");
    scraped(&proxy).await;
    assert_eq!(app.requests(), 3, "two that hang, and the usual one");
}

#[tokio::test]
async fn s35_a_scrape_with_endless_parameters_is_answered_without_the_application() {
    let (app, proxy) = pod(|_| ()).await;
    let page = get(
        proxy.metrics_address(),
        &format!("/metrics?made-up={}", "x".repeat(2_048)),
    )
    .await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(app.requests(), 0);
    let counted = get(proxy.metrics_address(), "/metrics").await.text;
    assert!(counted.contains("smilax_proxy_application_scrapes_total{outcome=\"query_too_long\"} 1\n"));
}

#[tokio::test]
async fn s35_who_takes_nothing_of_its_answer_is_closed() {
    let (_app, proxy) = pod(|settings| settings.limits.unread = BRIEF).await;
    let mut stream = unread(&proxy, "/metrics").await;
    // Whoever reads has more time, so that the end cannot be looked for.
    tokio::time::sleep(10 * BRIEF).await;
    let got = to_end(&mut stream).await;
    assert!(got.len() < LARGE, "{} bytes came", got.len());
}
