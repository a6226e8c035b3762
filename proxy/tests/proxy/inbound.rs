//! Connections that others make to the application.

use http::StatusCode;
use smilax_core::config::Protocol;

use crate::support::client::{Http1, Http2, exchange, get, request};
use crate::support::server::{Server, empty};
use crate::support::{Net, TestProxy, over_both};

#[tokio::test]
async fn the_application_is_asked_and_its_requests_are_counted_at_the_destination() {
    let net = Net::new();
    let _app = Server::named(net.at(1), "app").await;
    let proxy = TestProxy::inbound(net.at(1));
    let mut client = Http1::connect(proxy.inbound_address()).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.text, "app");
    }
    let labels = [
        "reporter=\"destination\"",
        "destination_workload=\"client\"",
        "destination_workload_namespace=\"shop\"",
        "response_code=\"200\"",
    ];
    proxy.counts("istio_requests_total", &labels, 5).await;
}

#[tokio::test]
async fn one_connection_to_the_application_suffices_for_one_client() {
    let net = Net::new();
    let app = Server::named(net.at(1), "app").await;
    let proxy = TestProxy::inbound(net.at(1));
    for _ in 0..10 {
        assert_eq!(get(proxy.inbound_address(), "/").await.text, "app");
    }
    assert_eq!(app.connections(), 1);
}

#[tokio::test]
async fn http2_stays_http2() {
    let net = Net::new();
    let _app = Server::mirror(net.at(1)).await;
    let proxy = TestProxy::inbound(net.at(1));
    let request = http::Request::get("http://app:8080/a").body(empty()).unwrap();
    let answer = Http2::connect(proxy.inbound_address()).await.send(request).await;
    assert!(
        answer.text.starts_with("GET http://app:8080/a HTTP/2.0"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn a_port_that_is_known_to_carry_bytes_is_not_parsed() {
    let net = Net::new();
    let _app = Server::named(net.at(1), "app").await;
    let proxy = TestProxy::builder()
        .inbound(net.at(1))
        .set(|settings| {
            settings
                .inbound_protocols
                .insert(crate::support::PORT, Protocol::Tcp);
        })
        .start();
    assert_eq!(get(proxy.inbound_address(), "/").await.text, "app");
    assert_eq!(proxy.metric_sum("istio_requests_total", &[]).await, 0);
    let opened = "istio_tcp_connections_opened_total";
    proxy.counts(opened, &["reporter=\"destination\""], 1).await;
}

#[tokio::test]
async fn e2_nobody_elses_address_and_no_port_of_the_proxy_is_dialled_for_a_caller() {
    over_both(async |family| {
        let net = Net::of(family);
        let other = Server::named(net.at(2), "other").await;
        let foreign = TestProxy::builder()
            .inbound(net.at(2))
            .set(|settings| settings.pod.ips = vec![family.pod()])
            .start();
        assert_eq!(
            exchange(foreign.inbound_address(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await,
            ""
        );
        assert_eq!(other.connections(), 0);
        let unknown = TestProxy::builder()
            .inbound(net.at(2))
            .set(|settings| settings.pod.ips = vec![])
            .start();
        assert_eq!(
            exchange(unknown.inbound_address(), b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await,
            ""
        );
        assert_eq!(other.connections(), 0);
        let own = std::net::SocketAddr::from((net.at(1).ip(), 15000));
        let admin = TestProxy::builder()
            .inbound(own)
            .set(|settings| settings.ports.admin = 15000 + u16::from(net.at(1).port() == 0))
            .set(|settings| settings.listen_admin = vec![net.at(1).ip()])
            .start();
        assert_eq!(
            exchange(
                admin.inbound_address(),
                b"POST /drain HTTP/1.1\r\nhost: a\r\n\r\n"
            )
            .await,
            ""
        );
        assert_eq!(
            get(admin.metrics_address(), "/metrics").await.status,
            StatusCode::OK
        );
        assert_eq!(admin.metric("smilax_proxy_drain_state").await, 0);
    })
    .await;
}

#[tokio::test]
async fn an_application_that_does_not_listen_is_answered_for_with_503() {
    let net = Net::new();
    let proxy = TestProxy::inbound(net.at(1));
    let answer = Http1::connect(proxy.inbound_address())
        .await
        .send(request("GET", "/"))
        .await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
}
