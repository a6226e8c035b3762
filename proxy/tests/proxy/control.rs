//! Administration, metrics and readiness.

use http::{Request, StatusCode};
use smilax_core::config::Protocol;

use crate::support::client::{Http1, get, request};
use crate::support::server::{empty, full};
use crate::support::{Net, TestProxy};

fn proxy() -> TestProxy {
    let net = Net::new();
    TestProxy::outbound(net.at(1), &net.config(3, Protocol::Http, vec![]))
}

#[tokio::test]
async fn the_configuration_in_force_and_its_place_can_be_read() {
    let proxy = proxy();
    let config = get(proxy.admin_address(), "/config").await;
    assert!(config.text.contains("\"revision\":\"1.3\""), "{}", config.text);
    let status = get(proxy.admin_address(), "/config/status").await.text;
    assert!(
        status.contains("\"revision\":\"1.3\"") && status.contains("\"rejection\":null"),
        "{status}"
    );
}

#[tokio::test]
async fn what_changes_something_is_not_served_where_others_can_reach_it() {
    let proxy = proxy();
    for address in [proxy.metrics_address(), proxy.probe_address()] {
        let post = Request::post("/drain").header("host", "x").body(empty()).unwrap();
        let answer = Http1::connect(address).await.send(post).await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(get(address, "/config").await.status, StatusCode::NOT_FOUND);
    }
    assert_eq!(
        proxy.proxy().lifecycle.stage(),
        smilax_proxy::drain::Stage::Serving
    );
}

#[tokio::test]
async fn draining_takes_a_post() {
    let proxy = proxy();
    let answer = get(proxy.admin_address(), "/drain").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        proxy.proxy().lifecycle.stage(),
        smilax_proxy::drain::Stage::Serving
    );
}

#[tokio::test]
async fn a_bad_log_filter_is_refused_with_its_reason() {
    let proxy = proxy();
    let put = Request::put("/log-level")
        .header("host", "x")
        .body(full("smilax=loud=very"))
        .unwrap();
    let answer = Http1::connect(proxy.admin_address()).await.send(put).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(answer.text.contains("is not a log filter"), "{}", answer.text);
}

#[tokio::test]
async fn metrics_name_the_version_and_the_process() {
    let proxy = proxy();
    let metrics = Http1::connect(proxy.metrics_address())
        .await
        .send(request("GET", "/metrics"))
        .await;
    assert_eq!(metrics.status, StatusCode::OK);
    for name in [
        "smilax_proxy_build_info{version=\"",
        "smilax_proxy_config_revision{part=\"term\"} 1",
        "smilax_proxy_open_connections{direction=\"inbound\"} 0",
        "smilax_proxy_drain_state 0",
        "process_start_time_seconds 1",
    ] {
        assert!(
            metrics.text.contains(name),
            "{name} is missing in {}",
            metrics.text
        );
    }
    assert!(proxy.metric("process_resident_memory_bytes").await > 1_000_000);
    assert!(proxy.metric("process_open_fds").await > 5);
}

#[tokio::test]
async fn an_unknown_path_says_what_there_is() {
    let proxy = proxy();
    for (address, expected) in [
        (proxy.admin_address(), "/log-level"),
        (proxy.metrics_address(), "/startup"),
    ] {
        let answer = get(address, "/").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert!(answer.text.contains(expected), "{}", answer.text);
    }
}
