use proptest::prelude::*;
use smilax_core::convention::key;

use super::*;
use crate::compile;
use crate::testing::{Cluster, binding, group, pod, service, split, target};

/// Two namespaces in the mesh, with an account of each name in both.
fn mesh() -> Cluster {
    let enabled = &[(key::INJECT, "enabled")];
    let mut cluster = Cluster::new();
    for namespace in ["shop", "bank"] {
        cluster = cluster.namespace(namespace, enabled, &[]);
        for account in ["web", "client"] {
            cluster = cluster.account(namespace, account, &[]);
        }
    }
    cluster
}

fn holders(cluster: &Cluster, kind: &str, name: &str) -> Vec<String> {
    let found = Holders::of(&mut cluster.index(), "shop").get(kind, name);
    found.iter().map(ToString::to_string).collect()
}

fn shop() -> Cluster {
    mesh()
        .service(service("web").selecting("app", "web"))
        .service(service("web-v1"))
        .split(split("web").named("canary").backend("web-v1", 1))
}

#[test]
fn a_split_is_held_by_every_workload_of_its_namespace() {
    assert_eq!(
        holders(&shop(), "TrafficSplit", "canary"),
        ["shop/client", "shop/web"]
    );
}

#[test]
fn a_split_is_held_by_those_who_ask_for_its_root() {
    let all = ["bank/client", "shop/client", "shop/web"];
    for wanted in ["shop/web", "shop/*"] {
        let cluster = shop().account("bank", "client", &[(key::DESTINATIONS, wanted)]);
        assert_eq!(holders(&cluster, "TrafficSplit", "canary"), all, "{wanted}");
    }
    let backend_only = shop().account("bank", "client", &[(key::DESTINATIONS, "shop/web-v1")]);
    assert_eq!(holders(&backend_only, "TrafficSplit", "canary"), all[1..]);
}

#[test]
fn s2_a_split_is_not_held_by_those_whom_a_target_lets_in_to_its_root() {
    let cluster = shop()
        .add_pod(pod("web-1").label("app", "web").injected())
        .target(
            target("open", "web")
                .from("bank", "client")
                .rules(Rules::Everything),
        );
    assert_eq!(
        holders(&cluster, "TrafficSplit", "canary"),
        ["shop/client", "shop/web"]
    );
}

#[test]
fn a_target_and_what_it_refers_to_are_held_by_the_workload_that_it_closes() {
    let cluster = shop()
        .group(group("paths").path("one", "/"))
        .tcp_route("tcp", &[80])
        .target(
            target("open", "web")
                .from("bank", "client")
                .rule("HTTPRouteGroup", "paths")
                .rule("TCPRoute", "tcp"),
        );
    for (kind, name) in [
        ("TrafficTarget", "open"),
        ("HTTPRouteGroup", "paths"),
        ("TCPRoute", "tcp"),
    ] {
        assert_eq!(holders(&cluster, kind, name), ["shop/web"], "{kind}");
    }
}

#[test]
fn a_group_is_held_by_whoever_holds_a_split_or_a_target_that_uses_it() {
    let cluster = shop()
        .group(group("paths").path("one", "/"))
        .split(
            split("web")
                .named("narrow")
                .matching("paths")
                .backend("web-v1", 1),
        )
        .target(target("open", "web").rule("HTTPRouteGroup", "paths"));
    assert_eq!(
        holders(&cluster, "HTTPRouteGroup", "paths"),
        ["shop/client", "shop/web"]
    );
}

#[test]
fn a_binding_is_held_where_a_target_of_another_namespace_names_it() {
    let cluster = shop().binding(binding("shop", "labelled", "app", "web")).target(
        target("open", "web")
            .of("bank")
            .source("IdentityBinding", Some("shop"), "labelled"),
    );
    assert_eq!(holders(&cluster, "IdentityBinding", "labelled"), ["bank/web"]);
}

#[test]
fn what_is_not_in_force_is_held_by_nobody() {
    let cluster = mesh().split(split("web.bank").named("canary").backend("web-v1", 1));
    assert!(holders(&cluster, "TrafficSplit", "canary").is_empty());
}

#[test]
fn a_namespace_is_looked_at_again_when_others_elsewhere_may_hold_its_objects() {
    let mut index = shop()
        .account("bank", "client", &[(key::DESTINATIONS, "shop/web")])
        .index();
    index.take_held_elsewhere();
    let new_workload = pod("p").of("bank").account("batch").injected().0;
    index.set_pod("bank", "p".into(), Some(new_workload));
    assert!(index.take_held_elsewhere().contains("shop"));
    // It imports no longer.
    index.set_account("bank", "client".into(), None);
    assert!(index.take_held_elsewhere().contains("shop"));
    index.set_account("bank", "web".into(), None);
    assert!(!index.take_held_elsewhere().contains("shop"));
}

proptest! {
    #[test]
    fn whoever_has_a_route_or_a_target_in_its_configuration_holds_the_object_and_nobody_else(
        import in prop::option::of(prop_oneof![Just("shop/web"), Just("shop/web-v1"), Just("shop/*"), Just("bank/web")]),
        by_namespace: bool,
        source in prop_oneof![Just("bank"), Just("shop")],
        caller in prop_oneof![Just("web"), Just("client")],
        closed in prop_oneof![Just("web"), Just("client")],
        pods in prop::collection::vec((prop_oneof![Just("shop"), Just("bank")], prop_oneof![Just("web"), Just("client")]), 0..4),
        second_split: bool,
    ) {
        let mut cluster = shop();
        if let Some(import) = import {
            let annotation = &[(key::DESTINATIONS, import)];
            cluster = if by_namespace {
                cluster.namespace("bank", &[(key::INJECT, "enabled")], annotation)
            } else {
                cluster.account("bank", "client", annotation)
            };
        }
        for (number, (namespace, account)) in pods.into_iter().enumerate() {
            let pod = pod(&format!("p{number}")).of(namespace).account(account).label("app", "web").injected();
            cluster = cluster.add_pod(pod);
        }
        cluster = cluster.target(target("open", closed).from(source, caller).rules(Rules::Everything));
        if second_split {
            cluster = cluster.split(split("web-v1").named("second").backend("web", 1));
        }
        let mut index = cluster.index();
        let mut by_config: BTreeMap<(String, String), BTreeSet<Workload>> = BTreeMap::new();
        let all: Vec<Workload> = ["shop", "bank"].iter().flat_map(|name| workloads(&index, name)).collect();
        for workload in all {
            let (config, _) = compile(&mut index, &workload);
            let routes = config.destinations.iter().flat_map(|one| &one.ports).flat_map(|port| &port.routes);
            let targets = config.inbound.iter().flat_map(|policy| &policy.targets);
            for source in routes.map(|route| &route.source).chain(targets.map(|target| &target.source)) {
                let key = (source.kind.to_string(), source.name.to_string());
                by_config.entry(key).or_default().insert(workload.clone());
            }
        }
        let holders = Holders::of(&mut index, "shop");
        for (kind, name) in [("TrafficSplit", "canary"), ("TrafficSplit", "second"), ("TrafficTarget", "open")] {
            let expected = by_config.remove(&(kind.to_owned(), name.to_owned())).unwrap_or_default();
            prop_assert_eq!(&*holders.get(kind, name), &expected, "{}", name);
        }
    }
}
