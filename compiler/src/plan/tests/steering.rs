//! Objects of one namespace, `shop`, that reach for the traffic of another, `bank`.

use smilax_core::config::{ProxyConfig, SourceMatch};
use smilax_core::convention::key;
use smilax_core::{DestinationPortName, Endpoint, ExpectedIdentity};

use super::*;
use crate::model::{Binding, Rules};
use crate::testing::{binding, endpoint_of, named, pod, slice, target};
use crate::{compile, endpoints, members};

/// Every form in which the Service of another namespace may be written.
const FOREIGN: [&str; 5] = [
    "web.bank",
    "web.bank.svc",
    "web.bank.svc.cluster.local",
    "web.bank.",
    "web.bank.svc.cluster.local.",
];

fn both() -> Cluster {
    Cluster::new()
        .namespace("shop", &[(key::INJECT, "enabled")], &[])
        .namespace("bank", &[(key::INJECT, "enabled")], &[])
        .account("shop", "client", &[])
        .account("bank", "client", &[])
        .account("bank", "web", &[])
        .service(
            service("web")
                .of("bank")
                .at(&["10.0.9.1"])
                .selecting("app", "web"),
        )
        .service(service("web-v1").of("bank").at(&["10.0.9.2"]))
        .add_pod(
            pod("web-1")
                .of("bank")
                .label("app", "web")
                .injected()
                .at("10.1.9.1"),
        )
        .add_pod(pod("client-1").account("client").label("app", "web").injected())
        .service(service("web").at(&["10.0.8.1"]))
        .service(service("web-v1").at(&["10.0.8.2"]))
}

fn port_80(namespace: &str, name: &str) -> DestinationPortName {
    DestinationPortName {
        destination: DestinationName::new(namespace, name),
        port: 80,
    }
}

/// Everything that proxies of `bank` hold and are told of its Service.
fn held(cluster: &Cluster) -> (Vec<ProxyConfig>, Option<Vec<Endpoint>>) {
    let mut index = cluster.index();
    let configs = ["client", "web"].map(|account| compile(&mut index, &Workload::new("bank", account)).0);
    (configs.into(), endpoints(&index, &port_80("bank", "web")))
}

/// The routes of every destination that `shop/client` holds, as `destination: backends`.
fn held_routes(cluster: &Cluster) -> Vec<String> {
    let (config, _) = compile(&mut cluster.index(), &Workload::new("shop", "client"));
    let mut found = Vec::new();
    for destination in &config.destinations {
        for route in destination.ports.iter().flat_map(|port| &port.routes) {
            let backends: Vec<String> = route
                .backends
                .iter()
                .map(|one| one.destination.to_string())
                .collect();
            found.push(format!("{}: {}", destination.name, backends.join(" ")));
        }
    }
    found
}

/// A binding that means these ids.
fn ids(namespace: &str, name: &str, ids: &[&str]) -> Binding {
    Binding {
        meta: named(namespace, name),
        ids: ids.iter().map(|id| Ok(id.parse().unwrap())).collect(),
        ..Binding::default()
    }
}

fn attempts() -> Vec<(&'static str, Cluster)> {
    let by_hand = both().service(service("spy").not_ready());
    let mut all = vec![
        (
            "a backend",
            both().split(split("web").backend("web.bank", 1).backend("web-v1", 1)),
        ),
        (
            "a host in a match",
            both()
                .group(group("g").header("bank", "host", "web\\.bank.*"))
                .split(split("web").matching("g").backend("web-v1", 1)),
        ),
        (
            "the destination of a target",
            both().target(
                target("t", "web")
                    .destination_namespace("bank")
                    .from("shop", "client"),
            ),
        ),
        (
            "a target about a binding of theirs",
            both()
                .binding(ids("shop", "b", &["spiffe://cluster.local/ns/bank/sa/web"]))
                .target(
                    target("t", "web")
                        .about("IdentityBinding", "b")
                        .from("shop", "client"),
                ),
        ),
        (
            "what an account calls",
            both().account("shop", "client", &[(key::DESTINATIONS, "bank/*")]),
        ),
        (
            "what a namespace calls",
            both().namespace(
                "shop",
                &[(key::INJECT, "enabled")],
                &[(key::DESTINATIONS, "bank/*")],
            ),
        ),
        (
            "a name outside",
            both()
                .service(service("web").external("web.bank.svc.cluster.local"))
                .split(split("web").backend("web-v1", 1)),
        ),
        (
            "endpoints made by hand",
            by_hand.slice("spy", slice("spy", [endpoint_of("web-1", "10.1.9.1")])),
        ),
        (
            "a slice for a Service of the same name",
            both().slice("web-evil", slice("web", [endpoint_of("client-1", "10.1.8.1")])),
        ),
    ];
    for root in FOREIGN {
        all.push((root, both().split(split(root).backend("web-v1", 1))));
    }
    all
}

#[test]
fn d13_nothing_of_a_namespace_changes_what_proxies_of_another_hold() {
    let expected = held(&both());
    assert!(!expected.1.as_ref().unwrap().is_empty());
    for (attempt, cluster) in attempts() {
        assert_eq!(held(&cluster), expected, "{attempt}");
    }
}

#[test]
fn d13_a_root_of_another_namespace_is_told_in_every_form_and_routes_nothing() {
    for root in FOREIGN {
        let cluster = both()
            .account("shop", "client", &[(key::DESTINATIONS, "bank/*")])
            .split(split(root).backend("web-v1", 1));
        assert_eq!(held_routes(&cluster), [""; 0], "{root}");
        assert_eq!(reasons(&cluster.plan()), ["NamespaceMismatch"], "{root}");
    }
}

#[test]
fn d13_a_backend_of_another_namespace_receives_nothing() {
    for backend in FOREIGN {
        let cluster = both().split(split("web").backend(backend, 9).backend("web-v1", 1));
        assert_eq!(held_routes(&cluster), ["shop/web: shop/web-v1"], "{backend}");
        assert_eq!(reasons(&cluster.plan()), ["BackendNotFound"], "{backend}");
    }
}

#[test]
fn d13_a_group_of_another_namespace_selects_nothing() {
    let cluster = both()
        .group(group("g").of("bank").path("all", "/"))
        .split(split("web").matching("g").backend("web-v1", 1));
    assert_eq!(held_routes(&cluster), [""; 0]);
    assert_eq!(reasons(&cluster.plan()), ["RouteGroupNotFound"]);
}

#[test]
fn d13_a_host_in_a_match_selects_of_its_own_root_and_of_nothing_else() {
    let cluster = both()
        .account("shop", "client", &[(key::DESTINATIONS, "bank/*")])
        .group(group("g").header("bank", "host", "web\\.bank.*"))
        .split(split("web").matching("g").backend("web-v1", 1));
    assert_eq!(held_routes(&cluster), ["shop/web: shop/web-v1"]);
}

#[test]
fn d13_a_name_outside_is_no_destination_and_routes_nothing() {
    let cluster = both()
        .service(service("web").external("web.bank.svc.cluster.local"))
        .split(split("web").backend("web-v1", 1));
    assert_eq!(held_routes(&cluster), [""; 0]);
    let backend = both()
        .service(service("web-v1").external("web.bank.svc.cluster.local"))
        .split(split("web").backend("web-v1", 1));
    assert_eq!(held_routes(&backend), [""; 0]);
}

#[test]
fn d13_a_binding_speaks_for_nobody_of_another_namespace() {
    let (own, foreign) = (
        "spiffe://cluster.local/ns/shop/sa/client",
        "spiffe://cluster.local/ns/admin/sa/root",
    );
    let cluster = both().binding(ids("shop", "b", &[own, foreign])).target(
        target("t", "web")
            .of("bank")
            .source("IdentityBinding", Some("shop"), "b")
            .rules(Rules::Everything),
    );
    let (config, _) = compile(&mut cluster.index(), &Workload::new("bank", "web"));
    let targets = config.inbound.iter().flat_map(|policy| &policy.targets);
    let sources: Vec<&SourceMatch> = targets.flat_map(|target| &target.sources).collect();
    assert_eq!(sources, [&SourceMatch::Spiffe(own.parse().unwrap())]);
}

#[test]
fn d13_a_binding_by_labels_means_pods_of_its_own_namespace() {
    let cluster = both().binding(binding("shop", "b", "app", "web")).target(
        target("t", "web")
            .of("bank")
            .source("IdentityBinding", Some("shop"), "b")
            .rules(Rules::Everything),
    );
    let found = members(&mut cluster.index(), &Workload::new("bank", "web"));
    let pods: Vec<&str> = found.0.values().flatten().map(AsRef::as_ref).collect();
    assert_eq!(pods, ["uid-shop-client-1"], "of bank, web-1 has the label too");
}

#[test]
fn d13_endpoints_made_by_hand_must_prove_to_be_the_pods_that_they_are() {
    let cluster = both()
        .service(service("spy").not_ready())
        .slice("spy", slice("spy", [endpoint_of("client-1", "10.1.9.1")]));
    let found = endpoints(&cluster.index(), &port_80("shop", "spy")).unwrap();
    let expected: Vec<_> = found.iter().map(|one| one.workload.clone()).collect();
    assert_eq!(
        expected,
        [Some(ExpectedIdentity::from(Workload::new("bank", "web")))]
    );
}
