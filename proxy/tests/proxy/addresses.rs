//! What stands behind addresses that the configuration does not name.

use std::time::Duration;

use http::StatusCode;
use smilax_core::config::{Destination, DestinationPort, InboundPolicy, Protocol, Security, TlsMode};
use smilax_core::endpoints::Sidecar;
use smilax_core::workload_connection::{OperatorMessage, ProxyMessage};
use smilax_core::{Found, ProxyConfig, Resource, Update, Workload};

use crate::support::authority::Authority;
use crate::support::client::{Answer, get};
use crate::support::mesh::{self, Mesh, certify};
use crate::support::operator::Operator;
use crate::support::server::Server;
use crate::support::{Net, PORT, TestProxy, eventually, split};

const FOR_EVER: Duration = Duration::from_hours(1);

/// A proxy that knows no destination, whose connections were all going to `net.at(9)`.
async fn connected(net: Net, operator: &Operator, lookup: Duration) -> TestProxy {
    let config = ProxyConfig {
        operator: Some(operator.endpoint()),
        ..ProxyConfig::empty(Workload::new("shop", "web"))
    };
    let builder = TestProxy::builder().outbound(net.at(9)).config(&config);
    let proxy = operator
        .certified(builder)
        .set(|settings| settings.limits.lookup = lookup)
        .start();
    proxy.counts("smilax_proxy_operator_connected", &[], 1).await;
    proxy
}

async fn operator() -> Operator {
    Operator::start(Authority::new("cluster.local")).await
}

fn destination(net: Net, name: &str, last: u8) -> Destination {
    Destination {
        name: name.parse().unwrap(),
        addresses: vec![net.at(last).ip()],
        accounts: vec![],
        ports: vec![DestinationPort::plaintext(PORT, Protocol::Http)],
    }
}

/// `bank/web`, all of which goes to `bank/v1`.
fn bank(net: Net) -> Found {
    let mut web = destination(net, "bank/web", 9);
    web.ports[0].routes = vec![split(&[("bank/v1", 1)])];
    Found::Destinations(vec![web, destination(net, "bank/v1", 2)])
}

async fn asked(net: Net, operator: &Operator) {
    let wanted = Resource::Address(net.at(9));
    eventually("it is asked for", || {
        operator.heard(0).iter().any(
            |message| matches!(message, ProxyMessage::Subscribe(subscribe) if subscribe.add == [wanted.clone()]),
        )
    })
    .await;
}

fn say(net: Net, operator: &Operator, found: Found) {
    let of = net.at(9);
    operator.say(&OperatorMessage::Update(Update::Address { of, found }));
}

/// The answer to a request that began before it was known what is there.
async fn first(net: Net, operator: &Operator, proxy: &TestProxy, found: Found) -> Answer {
    let told = async {
        asked(net, operator).await;
        say(net, operator, found);
    };
    tokio::join!(get(proxy.outbound_address(), "/"), told).0
}

#[tokio::test]
async fn the_first_connection_to_a_destination_of_the_mesh_has_its_policy_already() {
    let (net, operator) = (Net::new(), operator().await);
    let _web = Server::named(net.at(9), "web").await;
    let _v1 = Server::named(net.at(2), "v1").await;
    let proxy = connected(net, &operator, FOR_EVER).await;
    assert_eq!(first(net, &operator, &proxy, bank(net)).await.text, "v1");
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "v1");
    proxy
        .counts(
            "smilax_proxy_address_lookups_total{outcome=\"destination\"}",
            &[],
            1,
        )
        .await;
    say(net, &operator, Found::Nothing);
    eventually("its policy is gone", || {
        proxy.proxy().shared().table.load().port(net.at(9)).is_none()
    })
    .await;
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "web");
}

#[tokio::test]
async fn the_operator_and_people_are_told_which_splits_a_lookup_brought() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "v1").await;
    let proxy = connected(net, &operator, FOR_EVER).await;
    first(net, &operator, &proxy, bank(net)).await;
    let told = async |wanted: usize| {
        eventually("the operator is told", || {
            let heard = operator.heard(0);
            let learned = heard.iter().rev().find_map(|message| match message {
                ProxyMessage::Learned(learned) => Some(learned.len()),
                _ => None,
            });
            learned == Some(wanted)
        })
        .await;
    };
    told(1).await;
    let shown = get(proxy.admin_address(), "/addresses").await.text;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown[0]["address"], net.at(9).to_string());
    assert_eq!(shown[0]["destinations"][0]["name"], "bank/web");
    say(net, &operator, Found::Nothing);
    told(0).await;
}

#[tokio::test]
async fn what_is_nothing_of_the_mesh_is_asked_for_once_and_passed_through() {
    let (net, operator) = (Net::new(), operator().await);
    let _web = Server::named(net.at(9), "web").await;
    let proxy = connected(net, &operator, FOR_EVER).await;
    assert_eq!(first(net, &operator, &proxy, Found::Nothing).await.text, "web");
    for _ in 0..5 {
        assert_eq!(get(proxy.outbound_address(), "/").await.text, "web");
    }
    proxy.counts("smilax_proxy_address_lookups_total", &[], 1).await;
    proxy
        .counts("smilax_proxy_passthrough_connections_total", &[], 6)
        .await;
}

#[tokio::test]
async fn a_pod_of_the_mesh_is_reached_over_mutual_tls() {
    let (mesh, operator) = (Mesh::new(), operator().await);
    let net = mesh.net;
    let authority = operator.state.authority.lock().clone();
    let strict = InboundPolicy {
        tls: Some(TlsMode::Strict),
        ..InboundPolicy::default()
    };
    let pod = mesh.inbound(9, &mesh::config(1, vec![strict]), |builder| builder);
    certify(&pod, &mesh.context_of(&authority.leaf("shop/web"), &[&authority]));
    let _app = Server::named(mesh.app(9), "app").await;
    let proxy = connected(net, &operator, FOR_EVER).await;
    for protocol in [Protocol::Detect, Protocol::Tcp] {
        let found = Found::Pod {
            workload: Workload::new("shop", "web").into(),
            protocol,
            sidecar: Sidecar::Present,
        };
        if protocol == Protocol::Detect {
            assert_eq!(first(net, &operator, &proxy, found).await.text, "app");
        } else {
            say(net, &operator, found.clone());
            let expected = smilax_proxy::addresses::Behind::from(found);
            eventually("it is known", || {
                proxy.proxy().shared().addresses.shared().load().get(&net.at(9)) == Some(&expected)
            })
            .await;
        }
        assert_eq!(get(proxy.outbound_address(), "/").await.text, "app");
    }
}

#[tokio::test]
async fn a_scraper_in_the_mesh_reads_the_metrics_of_another_sidecar_of_a_strict_pod() {
    let (mesh, operator) = (Mesh::new(), operator().await);
    let strict = InboundPolicy {
        tls: Some(TlsMode::Strict),
        ..InboundPolicy::default()
    };
    let pod = mesh.inbound(9, &mesh::config(1, vec![strict]), |builder| builder);
    let config = ProxyConfig {
        operator: Some(operator.endpoint()),
        ..ProxyConfig::empty(Workload::new("shop", "web"))
    };
    let scraper = TestProxy::builder()
        .outbound(pod.metrics_address())
        .config(&config);
    let scraper = operator.certified(scraper).start();
    scraper.counts("smilax_proxy_operator_connected", &[], 1).await;
    let of = pod.metrics_address();
    let found = Found::Nothing;
    operator.say(&OperatorMessage::Update(Update::Address { of, found }));
    let page = get(scraper.outbound_address(), "/metrics").await;
    assert_eq!(page.status, StatusCode::OK, "{}", page.text);
    assert!(page.text.contains("smilax_proxy_build_info"), "{}", page.text);
}

#[tokio::test]
async fn s2_a_destination_that_was_found_is_called_securely_after_a_restart_without_an_operator() {
    let (mesh, operator) = (Mesh::new(), operator().await);
    let net = mesh.net;
    let authority = operator.state.authority.lock().clone();
    let strict = InboundPolicy {
        tls: Some(TlsMode::Strict),
        ..InboundPolicy::default()
    };
    let pod = mesh.inbound(9, &mesh::config(1, vec![strict]), |builder| builder);
    certify(&pod, &mesh.context_of(&authority.leaf("shop/web"), &[&authority]));
    let _app = Server::named(mesh.app(9), "app").await;
    let proxy = connected(net, &operator, FOR_EVER).await;
    let mut web = destination(net, "bank/web", 9);
    web.accounts = vec![Workload::new("shop", "web").into()];
    web.ports[0].security = Security::MutualTls;
    let found = Found::Destinations(vec![web]);
    assert_eq!(first(net, &operator, &proxy, found).await.text, "app");
    drop(operator);
    let proxy = proxy.restart();
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "app");
}

#[tokio::test]
async fn a_pod_without_a_sidecar_in_a_strict_namespace_is_not_called_and_the_answer_says_why() {
    let (net, operator) = (Net::new(), operator().await);
    let app = Server::named(net.at(9), "app").await;
    let proxy = connected(net, &operator, FOR_EVER).await;
    let found = Found::Pod {
        workload: Workload::new("shop", "web").into(),
        protocol: Protocol::Http,
        sidecar: Sidecar::Absent,
    };
    let answer = first(net, &operator, &proxy, found).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        answer.text.contains("no pod there has a sidecar"),
        "{}",
        answer.text
    );
    assert_eq!(app.connections(), 0);
}

#[tokio::test]
async fn an_operator_that_does_not_answer_holds_up_the_first_connection_only_and_not_for_long() {
    let (net, operator) = (Net::new(), operator().await);
    let _web = Server::named(net.at(9), "web").await;
    let proxy = connected(net, &operator, Duration::from_millis(100)).await;
    let began = std::time::Instant::now();
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "web");
    assert!(began.elapsed() >= Duration::from_millis(100));
    for _ in 0..5 {
        assert_eq!(get(proxy.outbound_address(), "/").await.text, "web");
    }
    proxy
        .counts(
            "smilax_proxy_address_lookups_total{outcome=\"unanswered\"}",
            &[],
            6,
        )
        .await;
    say(net, &operator, bank(net));
    eventually("a late answer counts too", || {
        proxy.proxy().shared().table.load().port(net.at(9)).is_some()
    })
    .await;
}

#[tokio::test]
async fn nobody_waits_for_an_operator_that_there_is_no_connection_to() {
    let net = Net::new();
    let _web = Server::named(net.at(9), "web").await;
    let proxy = TestProxy::builder()
        .outbound(net.at(9))
        .config(&ProxyConfig::empty(Workload::new("shop", "web")))
        .set(|settings| settings.limits.lookup = FOR_EVER)
        .start();
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "web");
    proxy
        .counts(
            "smilax_proxy_address_lookups_total{outcome=\"not_connected\"}",
            &[],
            1,
        )
        .await;
}
