//! Endpoints that are meant for the caller's zone are preferred.

use smilax_core::Endpoint;
use smilax_core::config::Protocol;
use smilax_core::workload_connection::{Locality, OperatorMessage, ProxyMessage};

use super::{config, connected, endpoint, operator, tell};
use crate::support::client::Http1;
use crate::support::server::Server;
use crate::support::{Net, TestProxy, eventually};

fn meant_for(net: Net, last: u8, zone: &str) -> Endpoint {
    Endpoint {
        for_zones: vec![zone.into()],
        ..endpoint(net, last)
    }
}

async fn in_zone(proxy: &TestProxy, zone: &str) {
    eventually("the zone is known", || {
        let known = proxy.proxy().shared().endpoints.shared().load();
        known.zone.as_deref() == Some(zone)
    })
    .await;
}

#[tokio::test]
async fn endpoints_that_are_meant_for_the_zone_that_the_operator_tells_take_all_requests() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "virtual").await;
    let _pods = [
        Server::named(net.at(20), "a").await,
        Server::named(net.at(21), "b").await,
    ];
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(
        &proxy,
        &operator,
        vec![meant_for(net, 20, "a"), meant_for(net, 21, "b")],
    )
    .await;
    // What was told of endpoints stays; only who is preferred among them is another.
    for zone in ["b", "a"] {
        operator.say(&OperatorMessage::Locality(Locality { zone: zone.into() }));
        in_zone(&proxy, zone).await;
        for _ in 0..50 {
            assert_eq!(client.get("/").await.text, zone);
        }
    }
}

#[tokio::test]
async fn the_operator_is_told_on_which_node_the_pod_is() {
    let (net, operator) = (Net::new(), operator().await);
    let config = config(net, &operator, Protocol::Http);
    let builder = TestProxy::builder().outbound(net.at(1)).config(&config);
    let _proxy = operator
        .certified(builder)
        .set(|settings| settings.pod.node = Some("n1".to_owned()))
        .start();
    eventually("it is told", || {
        operator.heard(0).iter().any(
            |message| matches!(message, ProxyMessage::Hello(hello) if hello.node.as_deref() == Some("n1")),
        )
    })
    .await;
}
