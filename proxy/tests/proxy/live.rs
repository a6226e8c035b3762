//! What the operator says over the stream takes hold at once.

use base64::Engine as _;
use smilax_core::config::Protocol;
use smilax_core::workload_connection::{Ack, OperatorMessage, Outcome, Policy, ProxyMessage, Subject};
use smilax_core::{ProxyConfig, Revision, Workload, packed};

use crate::support::authority::Authority;
use crate::support::client::get;
use crate::support::operator::Operator;
use crate::support::server::Server;
use crate::support::{Net, TestProxy, eventually, split};

/// `Net::config`, and where the operator is.
fn config(net: Net, operator: &Operator, counter: u64, backend: &str) -> ProxyConfig {
    ProxyConfig {
        operator: Some(operator.endpoint()),
        workload: Workload::new("shop", "web"),
        ..net.config(counter, Protocol::Http, vec![split(&[(backend, 1)])])
    }
}

fn text(config: &ProxyConfig) -> String {
    serde_json::to_string(config).unwrap()
}

fn policy(config: &ProxyConfig) -> OperatorMessage {
    OperatorMessage::Policy(Policy::Text(text(config)))
}

fn applied(counter: u64) -> ProxyMessage {
    ProxyMessage::Ack(Ack {
        subject: Subject::Revision(Revision { term: 1, counter }),
        outcome: Outcome::Applied,
    })
}

async fn operator() -> Operator {
    Operator::start(Authority::new("cluster.local")).await
}

/// A proxy that is connected to the operator, and whose connections were all going to `net.at(1)`.
async fn connected(net: Net, operator: &Operator, config: &ProxyConfig) -> TestProxy {
    let proxy = operator
        .certified(TestProxy::builder().outbound(net.at(1)).config(config))
        .start();
    eventually("it is connected", || !operator.heard(0).is_empty()).await;
    proxy
}

fn revision(proxy: &TestProxy) -> u64 {
    proxy.proxy().shared().table.load().revision.counter
}

#[tokio::test]
async fn a_configuration_over_the_stream_is_in_force_kept_and_acknowledged() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "v1").await;
    let _v2 = Server::named(net.at(3), "v2").await;
    let proxy = connected(net, &operator, &config(net, &operator, 1, "shop/v1")).await;
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "v1");
    let second = config(net, &operator, 2, "shop/v2");
    operator.say(&policy(&second));
    eventually("it is acknowledged", || operator.heard(0).contains(&applied(2))).await;
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "v2");
    let state = proxy.proxy().shared().settings.state_directory.clone().unwrap();
    assert_eq!(
        std::fs::read_to_string(state.join("last-good.json")).unwrap(),
        text(&second)
    );
}

#[tokio::test]
async fn a_packed_configuration_over_the_stream_is_in_force() {
    let (net, operator) = (Net::new(), operator().await);
    let proxy = connected(net, &operator, &config(net, &operator, 1, "shop/v1")).await;
    let mut long = config(net, &operator, 2, "shop/v1");
    long.cluster_domain = "x".repeat(packed::MOST_STORED);
    let Ok(packed::Form::Packed(bytes)) = packed::form(&text(&long)) else {
        panic!("it is long")
    };
    let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
    operator.say(&OperatorMessage::Policy(Policy::Packed(base64)));
    eventually("it is acknowledged", || operator.heard(0).contains(&applied(2))).await;
    assert_eq!(revision(&proxy), 2);
}

#[tokio::test]
async fn a_bad_configuration_over_the_stream_is_refused_with_its_place_and_the_old_one_stays() {
    let (net, operator) = (Net::new(), operator().await);
    let _v1 = Server::named(net.at(2), "v1").await;
    let proxy = connected(net, &operator, &config(net, &operator, 1, "shop/v1")).await;
    operator.say(&policy(&config(net, &operator, 2, "shop/gone")));
    eventually("the refusal is told", || {
        operator.heard(0).iter().any(|message| {
            matches!(message, ProxyMessage::Ack(Ack { subject: Subject::Revision(revision), outcome: Outcome::Rejected { path, .. } })
                if revision.counter == 2 && path == "destinations[0].ports[0].routes[0].backends[0].destination")
        })
    })
    .await;
    assert_eq!(revision(&proxy), 1);
    assert_eq!(get(proxy.outbound_address(), "/").await.text, "v1");
}

#[tokio::test]
async fn an_older_mount_leads_neither_back_nor_to_a_complaint() {
    let (net, operator) = (Net::new(), operator().await);
    let proxy = connected(net, &operator, &config(net, &operator, 1, "shop/v1")).await;
    operator.say(&policy(&config(net, &operator, 5, "shop/v2")));
    eventually("it is acknowledged", || operator.heard(0).contains(&applied(5))).await;
    // The next one is read after the older one.
    proxy.write(text(&config(net, &operator, 4, "shop/v1")).as_bytes());
    proxy.apply(&config(net, &operator, 6, "shop/v2")).await;
    assert!(!operator.heard(0).contains(&applied(4)));
    assert_eq!(proxy.metric("smilax_proxy_config_rejected_total").await, 0);
    let proxy = proxy.restart();
    assert_eq!(revision(&proxy), 6);
}
