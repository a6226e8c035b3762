use smilax_core::config::{Destination, Security};
use smilax_core::endpoints::{DestinationPortName, Found};
use smilax_core::{DestinationName, ExpectedIdentity};

use super::*;
use crate::testing::{
    Change, Cluster, PodBuilder, apply, binding, endpoint_of, pod, service, slice, split, target,
};
use crate::{callers_of_address, callers_of_endpoints, compile, found};

fn web() -> DestinationPortName {
    DestinationPortName {
        destination: DestinationName::new("shop", "web"),
        port: 80,
    }
}

fn web_pod() -> PodBuilder {
    pod("web-1").label("app", "web").injected().at("10.1.0.1")
}

/// The Service `web` with a pod of account `web`.
fn shop(annotations: &[(&str, &str)]) -> Cluster {
    Cluster::new()
        .namespace("shop", &[(key::INJECT, "enabled")], annotations)
        .service(
            service("web")
                .not_ready()
                .selecting("app", "web")
                .at(&["10.0.0.1"]),
        )
        .add_pod(web_pod())
        .slice("web", slice("web", [endpoint_of("web-1", "10.1.0.1")]))
}

fn denied() -> Cluster {
    shop(&[(key::ACCESS_MODE, "deny")])
}

fn bank() -> Workload {
    Workload::new("bank", "client")
}

fn neighbour() -> Workload {
    Workload::new("shop", "other")
}

fn is_told_all(cluster: &Cluster, caller: &Workload) -> bool {
    let mut index = cluster.index();
    let endpoints = callers_of_endpoints(&mut index, &web()).contains(caller);
    for address in ["10.0.0.1:80", "10.1.0.1:80"] {
        let of_address = callers_of_address(&mut index, address.parse().unwrap()).contains(caller);
        assert_eq!(endpoints, of_address, "{address}");
    }
    endpoints
}

#[test]
fn s12_an_open_pod_is_no_secret() {
    assert!(is_told_all(&shop(&[]), &bank()));
    assert!(is_told_all(&shop(&[(key::ACCESS_MODE, "audit")]), &bank()));
}

#[test]
fn s12_where_everything_is_denied_only_the_namespace_itself_is_told() {
    assert!(!is_told_all(&denied(), &bank()));
    assert!(is_told_all(&denied(), &neighbour()));
}

#[test]
fn s12_a_pod_that_a_target_closes_is_told_to_whom_the_target_names() {
    let named = shop(&[]).target(target("t", "web").from("bank", "client"));
    assert!(is_told_all(&named, &bank()));
    assert!(!is_told_all(&named, &Workload::new("bank", "other")));
    let closed = shop(&[]).target(target("t", "web").from("elsewhere", "client"));
    assert!(!is_told_all(&closed, &bank()));
    let about_others = shop(&[]).target(target("t", "api").from("elsewhere", "client"));
    assert!(is_told_all(&about_others, &bank()));
}

#[test]
fn s12_a_target_of_another_namespace_lets_nobody_in() {
    let foreign = denied().target(
        target("t", "web")
            .of("bank")
            .destination_namespace("shop")
            .from("bank", "client"),
    );
    assert!(!is_told_all(&foreign, &bank()));
}

#[test]
fn s12_whoever_may_have_the_labels_that_a_target_names_is_told() {
    let by_labels = denied()
        .binding(binding("bank", "callers", "role", "caller"))
        .target(target("t", "web").source("IdentityBinding", Some("bank"), "callers"));
    assert!(is_told_all(&by_labels, &bank()));
    assert!(!is_told_all(&by_labels, &Workload::new("elsewhere", "client")));
}

#[test]
fn s12_when_policy_changes_it_is_looked_at_anew_who_is_told() {
    let mut index = denied().index();
    assert!(!callers_of_endpoints(&mut index, &web()).contains(&bank()));
    index.take_moved();
    let target = target("t", "web").from("bank", "client");
    apply(&mut index, Change::Target(target.0.clone()));
    let moved = index.take_moved();
    assert!(moved.modes.contains("shop"));
    assert!(moved.addresses.contains(&"10.1.0.1".parse().unwrap()));
    assert!(callers_of_endpoints(&mut index, &web()).contains(&bank()));
}

#[test]
fn s12_when_a_binding_of_another_namespace_changes_it_is_looked_at_anew_who_is_told() {
    let by_labels = denied().target(target("t", "web").source("IdentityBinding", Some("bank"), "callers"));
    let mut index = by_labels.index();
    assert!(!callers_of_endpoints(&mut index, &web()).contains(&bank()));
    index.take_moved();
    apply(
        &mut index,
        Change::Binding(binding("bank", "callers", "role", "caller")),
    );
    assert!(index.take_moved().modes.contains("shop"));
    assert!(callers_of_endpoints(&mut index, &web()).contains(&bank()));
}

/// An editor of `bank` writes a Service whose endpoints are pods of `shop`.
#[test]
fn s12_d13_endpoints_made_by_hand_do_not_make_their_writer_one_who_is_told() {
    let by_hand = |cluster: Cluster| {
        let mut index = cluster.service(service("spy").of("bank").not_ready()).index();
        index.set_slice(
            "bank",
            &"spy".into(),
            Some(slice("spy", [endpoint_of("spy", "10.1.0.1")])),
        );
        let of = DestinationPortName {
            destination: DestinationName::new("bank", "spy"),
            port: 80,
        };
        callers_of_endpoints(&mut index, &of)
    };
    assert!(!by_hand(denied()).contains(&bank()));
    assert!(by_hand(shop(&[])).contains(&bank()), "open pods are no secret");
}

#[test]
fn s12_d13_who_is_told_of_endpoints_made_by_hand_changes_with_the_policy_of_their_pods() {
    let mut index = denied().service(service("spy").of("bank").not_ready()).index();
    index.set_slice(
        "bank",
        &"spy".into(),
        Some(slice("spy", [endpoint_of("spy", "10.1.0.1")])),
    );
    let of = DestinationPortName {
        destination: DestinationName::new("bank", "spy"),
        port: 80,
    };
    assert!(!callers_of_endpoints(&mut index, &of).contains(&bank()));
    index.take_moved();
    apply(
        &mut index,
        Change::Target(target("t", "web").from("bank", "client").0.clone()),
    );
    let moved = index.take_moved();
    assert!(moved.services.contains(&("bank".into(), "spy".into())));
    assert!(callers_of_endpoints(&mut index, &of).contains(&bank()));
}

fn with_split(cluster: Cluster) -> Cluster {
    cluster
        .service(service("v1").not_ready().selecting("app", "v1"))
        .add_pod(pod("v1-1").label("app", "v1").account("v1").injected())
        .split(split("web").backend("web", 1).backend("v1", 1))
        .account("bank", "client", &[(key::DESTINATIONS, "shop/*")])
}

fn imported(cluster: &Cluster, name: &str) -> Destination {
    let (config, _) = compile(&mut cluster.index(), &bank());
    let name = DestinationName::new("shop", name);
    config
        .destinations
        .into_iter()
        .find(|one| one.name == name)
        .unwrap()
}

#[test]
fn s12_f6_who_may_not_call_imports_addresses_and_no_routes_and_no_accounts() {
    let web = imported(&with_split(denied()), "web");
    assert_eq!(web.addresses, ["10.0.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(web.accounts, [ExpectedIdentity::Namespace("shop".into())]);
    assert!(web.ports.iter().all(|port| port.routes.is_empty()));
    assert!(
        web.ports.iter().all(|port| port.security == Security::MutualTls),
        "what is not told must not make anybody send plaintext"
    );
}

#[test]
fn s12_who_may_call_one_backend_imports_the_routes_that_lead_there() {
    let cluster = with_split(denied()).target(target("t", "v1").from("bank", "client"));
    let web = imported(&cluster, "web");
    assert!(web.ports.iter().all(|port| port.routes.len() == 1));
    assert_eq!(
        web.accounts,
        [ExpectedIdentity::from(Workload::new("shop", "web"))]
    );
    let v1 = imported(&cluster, "v1");
    assert_eq!(v1.accounts, [ExpectedIdentity::from(Workload::new("shop", "v1"))]);
}

#[test]
fn s12_what_stands_behind_an_address_is_told_without_accounts_and_routes() {
    let mut index = with_split(denied()).index();
    let found_at = |index: &mut Index, address: &str| found(index, address.parse().unwrap()).addresses_only();
    match found_at(&mut index, "10.0.0.1:80") {
        Found::Destinations(all) => {
            assert_eq!(all.len(), 1);
            assert_eq!(all[0].accounts, [ExpectedIdentity::Namespace("shop".into())]);
            assert!(all[0].ports.iter().all(|port| port.routes.is_empty()));
        }
        other => panic!("{other:?}"),
    }
    match found_at(&mut index, "10.1.0.1:80") {
        Found::Pod { workload, .. } => assert_eq!(workload, ExpectedIdentity::Namespace("shop".into())),
        other => panic!("{other:?}"),
    }
}
