//! Requests go to the pods that the operator tells of.

mod dead_servers;
mod failures;
mod handed_back;
mod secured;
mod zones;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use smilax_core::config::Protocol;
use smilax_core::workload_connection::{OperatorMessage, ProxyMessage};
use smilax_core::{
    DestinationName, DestinationPortName, Endpoint, EndpointState, ProxyConfig, Resource, Update, Workload,
};

use crate::support::authority::Authority;
use crate::support::client::{Http1, get};
use crate::support::operator::Operator;
use crate::support::server::Server;
use crate::support::{Net, PORT, TestProxy, eventually, split};

fn config(net: Net, operator: &Operator, protocol: Protocol) -> ProxyConfig {
    ProxyConfig {
        operator: Some(operator.endpoint()),
        workload: Workload::new("shop", "web"),
        ..net.config(1, protocol, vec![split(&[("shop/v1", 1)])])
    }
}

async fn operator() -> Operator {
    Operator::start(Authority::new("cluster.local")).await
}

/// A proxy whose connections were all going to `net.at(1)`, and which sends them to `shop/v1`.
async fn connected(net: Net, operator: &Operator, protocol: Protocol) -> TestProxy {
    connected_with(net, operator, &config(net, operator, protocol)).await
}

async fn connected_with(net: Net, operator: &Operator, config: &ProxyConfig) -> TestProxy {
    let builder = TestProxy::builder().outbound(net.at(1)).config(config);
    let proxy = operator
        .certified(builder)
        .set(|settings| settings.limits.endpoints = Duration::ZERO)
        .start();
    proxy.counts("smilax_proxy_operator_connected", &[], 1).await;
    proxy
}

fn v1() -> DestinationPortName {
    DestinationPortName {
        destination: DestinationName::new("shop", "v1"),
        port: PORT,
    }
}

fn endpoint(net: Net, last: u8) -> Endpoint {
    Endpoint {
        address: net.at(last),
        workload: None,
        state: EndpointState::Ready,
        zone: None,
        for_zones: vec![],
        node: None,
    }
}

fn subscribed(operator: &Operator, session: usize, resource: &Resource) -> bool {
    operator.heard(session).iter().any(
        |message| matches!(message, ProxyMessage::Subscribe(subscribe) if subscribe.add.contains(resource)),
    )
}

/// Tells of endpoints of `shop/v1`, once that is asked for.
async fn tell(proxy: &TestProxy, operator: &Operator, endpoints: Vec<Endpoint>) {
    let session = operator.sessions() - 1;
    eventually("it is asked for", || {
        subscribed(operator, session, &Resource::Endpoints(v1()))
    })
    .await;
    operator.say(&OperatorMessage::Update(Update::Endpoints {
        of: v1(),
        endpoints: Some(endpoints.clone()),
    }));
    eventually("it is known", || {
        let known = proxy.proxy().shared().endpoints.shared().load_full();
        let told = known
            .port(&v1())
            .map(|told| told.iter().cloned().collect::<Vec<_>>());
        told.as_ref() == Some(&endpoints)
    })
    .await;
}

#[tokio::test]
async fn what_is_called_is_asked_for_and_reached_at_its_virtual_address_until_it_is_told() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "virtual").await;
    let _pod = Server::named(net.at(20), "pod").await;
    let proxy = connected(net, &operator, Protocol::Http).await;
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "virtual");
    tell(&proxy, &operator, vec![endpoint(net, 20)]).await;
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "pod");
    let asked: Vec<_> = operator
        .heard(0)
        .into_iter()
        .filter_map(|message| match message {
            ProxyMessage::Subscribe(subscribe) => Some(subscribe.add),
            _ => None,
        })
        .flatten()
        .filter(|resource| matches!(resource, Resource::Endpoints(_)))
        .collect();
    assert_eq!(
        asked,
        [Resource::Endpoints(v1())],
        "what is not called is not asked for"
    );
}

#[tokio::test]
async fn requests_are_spread_over_endpoints_with_one_connection_to_each() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "virtual").await;
    let pods = [
        Server::named(net.at(20), "a").await,
        Server::named(net.at(21), "b").await,
        Server::named(net.at(22), "c").await,
    ];
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(
        &proxy,
        &operator,
        [20, 21, 22].map(|last| endpoint(net, last)).to_vec(),
    )
    .await;
    for _ in 0..300 {
        assert_eq!(client.get("/").await.status, StatusCode::OK);
    }
    for pod in &pods {
        // How evenly, the laws of the balancer say: here one pause of the machine counts.
        assert!(pod.requests() > 0);
        assert_eq!(pod.connections(), 1);
    }
    proxy.counts("smilax_proxy_endpoints", &[], 3).await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_from_what_is_told_gets_nothing_more() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "virtual").await;
    let (a, b) = (
        Server::named(net.at(20), "a").await,
        Server::named(net.at(21), "b").await,
    );
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(&proxy, &operator, vec![endpoint(net, 20), endpoint(net, 21)]).await;
    for _ in 0..50 {
        client.get("/").await;
    }
    tell(&proxy, &operator, vec![endpoint(net, 21)]).await;
    let before = (a.requests(), b.requests());
    for _ in 0..50 {
        client.get("/").await;
    }
    assert_eq!((a.requests(), b.requests()), (before.0, before.1 + 50));
}

#[tokio::test]
async fn where_nobody_listens_another_endpoint_takes_over_and_no_request_fails() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "virtual").await;
    let pod = Server::named(net.at(21), "b").await;
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(&proxy, &operator, vec![endpoint(net, 20), endpoint(net, 21)]).await;
    for _ in 0..100 {
        assert_eq!(client.get("/").await.text, "b");
    }
    assert_eq!(pod.requests(), 100);
    assert!(proxy.metric("smilax_proxy_endpoint_failovers_total").await >= 1);
}

#[tokio::test]
async fn when_no_endpoint_can_be_reached_the_virtual_address_is_used() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "virtual").await;
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(
        &proxy,
        &operator,
        (20..25).map(|last| endpoint(net, last)).collect(),
    )
    .await;
    for _ in 0..20 {
        assert_eq!(client.get("/").await.text, "virtual");
    }
}

#[tokio::test]
async fn when_the_stream_is_lost_the_virtual_address_is_used_until_it_is_told_again() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "virtual").await;
    let _pod = Server::named(net.at(20), "pod").await;
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(&proxy, &operator, vec![endpoint(net, 20)]).await;
    assert_eq!(client.get("/").await.text, "pod");
    operator.hang_up();
    eventually("it is forgotten", || {
        proxy.proxy().shared().endpoints.count() == 0
    })
    .await;
    assert_eq!(client.get("/").await.text, "virtual");
    eventually("it comes back", || operator.sessions() == 2).await;
    tell(&proxy, &operator, vec![endpoint(net, 20)]).await;
    assert_eq!(client.get("/").await.text, "pod");
}

#[tokio::test]
async fn connections_carried_as_bytes_go_to_endpoints_and_to_another_where_nobody_listens() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (net, operator) = (Net::new(), operator().await);
    let hello = |word: &'static [u8]| {
        move |mut stream: tokio::net::TcpStream| async move {
            let _ = stream.write_all(word).await;
        }
    };
    let _v1 = Server::tcp(net.at(2), hello(b"virtual")).await;
    let _pod = Server::tcp(net.at(21), hello(b"pod")).await;
    let proxy = connected(net, &operator, Protocol::Tcp).await;
    let heard = async || {
        let mut stream = tokio::net::TcpStream::connect(proxy.outbound_address())
            .await
            .unwrap();
        let mut word = String::new();
        stream.read_to_string(&mut word).await.unwrap();
        word
    };
    assert_eq!(heard().await, "virtual");
    tell(&proxy, &operator, vec![endpoint(net, 20), endpoint(net, 21)]).await;
    for _ in 0..10 {
        assert_eq!(heard().await, "pod");
    }
}

#[tokio::test]
async fn a_headless_backend_has_no_address_and_is_reached_once_its_endpoints_are_told() {
    let (net, operator) = (Net::new(), operator().await);
    let _pod = Server::named(net.at(20), "pod").await;
    let mut headless = config(net, &operator, Protocol::Http);
    headless.destinations[1].addresses.clear();
    let proxy = connected_with(net, &operator, &headless).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    assert_eq!(client.get("/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    tell(&proxy, &operator, vec![endpoint(net, 20)]).await;
    assert_eq!(client.get("/").await.text, "pod");
}

#[tokio::test]
async fn administration_shows_endpoints_and_subscriptions() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "virtual").await;
    let proxy = connected(net, &operator, Protocol::Http).await;
    get(proxy.outbound_address(), "/").await;
    tell(&proxy, &operator, vec![endpoint(net, 20)]).await;
    let shown = |text: String| serde_json::from_str::<serde_json::Value>(&text).unwrap();
    let endpoints = shown(get(proxy.admin_address(), "/endpoints").await.text);
    assert_eq!(endpoints[0]["destination"], "shop/v1");
    assert_eq!(endpoints[0]["port"], PORT);
    assert_eq!(endpoints[0]["endpoints"][0]["address"], net.at(20).to_string());
    let subscriptions = shown(get(proxy.admin_address(), "/subscriptions").await.text);
    let asked = subscriptions.as_array().unwrap();
    assert!(
        asked
            .iter()
            .any(|one| one["resource"]["endpoints"]["destination"] == "shop/v1"),
        "{subscriptions}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_pods_are_replaced_one_by_one_no_request_fails() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "virtual").await;
    let config = config(net, &operator, Protocol::Http);
    let builder = TestProxy::builder().outbound(net.at(1)).config(&config);
    let proxy = operator
        .certified(builder)
        .set(|settings| settings.workers = 2)
        .start();
    proxy.counts("smilax_proxy_operator_connected", &[], 1).await;
    get(proxy.outbound_address(), "/").await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (address, stopped) = (proxy.outbound_address(), Arc::clone(&stop));
        clients.spawn(async move {
            let mut client = Http1::connect(address).await;
            while !stopped.load(Ordering::SeqCst) {
                assert_eq!(client.get("/").await.status, StatusCode::OK);
            }
        });
    }
    let mut pods = VecDeque::from([(20, Server::named(net.at(20), "pod").await)]);
    for last in 21..40 {
        let pod = Server::named(net.at(last), "pod").await;
        pods.push_back((last, pod));
        let ready = |last: &(u8, Server)| endpoint(net, last.0);
        tell(&proxy, &operator, pods.iter().map(ready).collect()).await;
        let newest = &pods.back().unwrap().1;
        eventually("the new one is used", || newest.requests() > 3).await;
        let mut endpoints: Vec<_> = pods.iter().map(ready).collect();
        endpoints[0].state = EndpointState::Draining;
        tell(&proxy, &operator, endpoints).await;
        let (_, old) = pods.pop_front().unwrap();
        // As a pod does that ends: it answers what it has, and takes nothing new.
        let served = old.requests();
        eventually("requests go on", || newest_requests(&pods) > 20).await;
        assert!(old.requests() <= served + 4, "what was on its way");
        drop(old);
        eventually("requests go on", || newest_requests(&pods) > 40).await;
    }
    stop.store(true, Ordering::SeqCst);
    while let Some(finished) = clients.join_next().await {
        finished.unwrap();
    }
}

fn newest_requests(pods: &VecDeque<(u8, Server)>) -> usize {
    pods.back().unwrap().1.requests()
}

#[tokio::test]
async fn many_first_uses_at_once_are_asked_for_together() {
    let (net, operator) = (Net::new(), operator().await);
    let proxy = connected(net, &operator, Protocol::Http).await;
    let names = (0..1000).map(|number| {
        Resource::Endpoints(DestinationPortName {
            destination: DestinationName::new("shop", format!("v{number}")),
            port: PORT,
        })
    });
    let all: Vec<_> = names.collect();
    for one in &all {
        proxy.proxy().shared().wanted.say(vec![one.clone()]);
    }
    eventually("all are asked for", || {
        all.iter().all(|resource| subscribed(&operator, 0, resource))
    })
    .await;
    assert_eq!(operator.sessions(), 1);
}
