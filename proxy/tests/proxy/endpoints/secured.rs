//! Endpoints that prove who they are, beside others that do not.

use http::StatusCode;
use smilax_core::config::{AccessTarget, InboundPolicy, Protocol, Security, TlsMode};
use smilax_core::{Endpoint, Workload};

use super::{config, connected, connected_with, endpoint, operator, tell};
use crate::support::client::Http1;
use crate::support::mesh::{self, Mesh, certify};
use crate::support::operator::Operator;
use crate::support::server::Server;
use crate::support::{Net, TestProxy};

/// A pod of `shop/web` at `net.at(last)` that takes no plaintext, and its application.
pub(super) async fn secured_pod(mesh: &Mesh, operator: &Operator, last: u8) -> (TestProxy, Server) {
    pod_of(mesh, operator, last, "shop/web", vec![]).await
}

/// The same of another account, with these targets.
async fn pod_of(
    mesh: &Mesh,
    operator: &Operator,
    last: u8,
    account: &str,
    targets: Vec<AccessTarget>,
) -> (TestProxy, Server) {
    let authority = operator.state.authority.lock().clone();
    let policy = InboundPolicy {
        tls: Some(TlsMode::Strict),
        targets,
        ..InboundPolicy::default()
    };
    let proxy = mesh.inbound(last, &mesh::config(1, vec![policy]), |builder| builder);
    certify(&proxy, &mesh.context_of(&authority.leaf(account), &[&authority]));
    (proxy, Server::named(mesh.app(last), "secured").await)
}

pub(super) fn secured(net: Net, last: u8) -> Endpoint {
    Endpoint {
        workload: Some(Workload::new("shop", "web").into()),
        ..endpoint(net, last)
    }
}

#[tokio::test]
async fn each_endpoint_is_secured_as_it_says_and_one_may_stand_in_for_the_other() {
    let (mesh, operator) = (Mesh::new(), operator().await);
    let net = mesh.net;
    let _v1 = Server::named(net.at(2), "virtual").await;
    let (_pod, _app) = secured_pod(&mesh, &operator, 20).await;
    let _plain = Server::named(net.at(21), "plain").await;
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(&proxy, &operator, vec![secured(net, 20), endpoint(net, 21)]).await;
    let mut texts = std::collections::BTreeSet::new();
    for _ in 0..60 {
        texts.insert(client.get("/").await.text);
    }
    assert_eq!(texts.into_iter().collect::<Vec<_>>(), ["plain", "secured"]);
    for (dead, alive, text) in [
        (endpoint(net, 30), secured(net, 20), "secured"),
        (secured(net, 31), endpoint(net, 21), "plain"),
    ] {
        tell(&proxy, &operator, vec![dead, alive]).await;
        for _ in 0..20 {
            assert_eq!(client.get("/a?b=c").await.text, text);
        }
    }
}

#[tokio::test]
async fn where_somebody_else_answers_for_an_endpoint_nothing_goes_on_in_plaintext() {
    let (net, operator) = (Net::new(), operator().await);
    let virtual_address = Server::named(net.at(2), "virtual").await;
    let impostor = Server::named(net.at(20), "impostor").await;
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(&proxy, &operator, vec![secured(net, 20)]).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!((impostor.requests(), virtual_address.requests()), (0, 1));
}

#[tokio::test]
async fn where_the_configuration_expects_somebody_no_endpoint_is_an_exception() {
    let (net, operator) = (Net::new(), operator().await);
    let virtual_address = Server::named(net.at(2), "virtual").await;
    let impostor = Server::named(net.at(20), "impostor").await;
    let mut config = config(net, &operator, Protocol::Http);
    for destination in &mut config.destinations {
        destination.accounts = vec![Workload::new("shop", "web").into()];
        for port in &mut destination.ports {
            port.security = Security::MutualTls;
        }
    }
    let proxy = connected_with(net, &operator, &config).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(&proxy, &operator, vec![endpoint(net, 20)]).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!((impostor.requests(), virtual_address.requests()), (0, 0));
}

#[tokio::test]
async fn where_no_pod_of_a_secured_destination_has_a_sidecar_nobody_is_called_and_the_answer_says_why() {
    let (net, operator) = (Net::new(), operator().await);
    let virtual_address = Server::named(net.at(2), "virtual").await;
    let mut config = config(net, &operator, Protocol::Http);
    for port in config.destinations.iter_mut().flat_map(|one| &mut one.ports) {
        port.security = Security::MutualTls;
    }
    let proxy = connected_with(net, &operator, &config).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    for told in [None, Some(vec![])] {
        if let Some(none) = told {
            tell(&proxy, &operator, none).await;
        }
        let answer = client.get("/").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(
            answer.text.contains("no pod there has a sidecar"),
            "{}",
            answer.text
        );
    }
    assert_eq!(virtual_address.connections(), 0);
}

/// An endpoint as it is told to who may not call it.
fn address_only(net: Net, last: u8) -> Endpoint {
    secured(net, last).address_only()
}

#[tokio::test]
async fn s12_who_is_told_addresses_only_is_refused_by_the_called_side_and_served_as_soon_as_that_lets_it_in()
{
    let (mesh, operator) = (Mesh::new(), operator().await);
    let net = mesh.net;
    let _virtual = Server::named(net.at(2), "virtual").await;
    let closed = vec![mesh::target(&["shop/other"], None)];
    let (_refusing, refused) = pod_of(&mesh, &operator, 20, "shop/web", closed).await;
    let (_serving, _app) = secured_pod(&mesh, &operator, 21).await;
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(&proxy, &operator, vec![address_only(net, 20)]).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(refused.requests(), 0);
    tell(&proxy, &operator, vec![address_only(net, 21)]).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.text, "secured");
    }
}

#[tokio::test]
async fn s12_for_an_address_nobody_of_another_namespace_answers() {
    let (mesh, operator) = (Mesh::new(), operator().await);
    let net = mesh.net;
    let virtual_address = Server::named(net.at(2), "virtual").await;
    let (_pod, app) = pod_of(&mesh, &operator, 20, "bank/web", vec![]).await;
    let proxy = connected(net, &operator, Protocol::Http).await;
    let mut client = Http1::connect(proxy.outbound_address()).await;
    client.get("/").await;
    tell(&proxy, &operator, vec![address_only(net, 20)]).await;
    for _ in 0..5 {
        assert_eq!(client.get("/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!((app.requests(), virtual_address.requests()), (0, 1));
}
