mod tenancy;

use smilax_core::config::{AccessMode, SourceMatch, TlsMode};
use smilax_core::{PodView, RouteTable, convention::key};

use super::*;
use crate::index::Settings;
use crate::members::members;
use crate::testing::{Cluster, apply, binding, pod, service, split, target};

const ENABLED: &[(&str, &str)] = &[(key::INJECT, "enabled")];

fn names(config: &ProxyConfig) -> Vec<String> {
    config
        .destinations
        .iter()
        .map(|one| one.name.to_string())
        .collect()
}

#[test]
fn every_account_of_an_enabled_namespace_has_a_configuration() {
    let index = Cluster::new()
        .namespace("shop", ENABLED, &[])
        .account("shop", "web", &[])
        .account("shop", "default", &[])
        .index();
    assert_eq!(workloads(&index, "shop").len(), 2);
}

#[test]
fn elsewhere_only_accounts_of_injected_pods_have_one() {
    let index = Cluster::new()
        .namespace("shop", &[], &[])
        .account("shop", "web", &[])
        .injected_pod("shop", "a", "batch")
        .index();
    assert_eq!(
        workloads(&index, "shop"),
        BTreeSet::from([Workload::new("shop", "batch")])
    );
}

#[test]
fn a_destination_that_does_not_exist_is_told_where_it_is_written() {
    let mut index = Cluster::new()
        .namespace(
            "client",
            ENABLED,
            &[(key::DESTINATIONS, "shop/wbe, nowhere/*, shop/web")],
        )
        .account("client", "default", &[(key::DESTINATIONS, "shop/*, shop/gone")])
        .namespace("shop", ENABLED, &[])
        .service(service("web"))
        .index();
    let (_, diagnostics) = compile(&mut index, &Workload::new("client", "default"));
    let told: Vec<String> = diagnostics
        .iter()
        .map(|one| format!("{}: {}", one.object, one.message))
        .collect();
    let missing = |object: &str, what: &str| {
        format!(
            "{object}: annotation smilax.dev/destinations: {what} does not exist; it counts as soon as it does"
        )
    };
    assert_eq!(
        told,
        [
            missing("Namespace/client/client", "Service shop/wbe"),
            missing("Namespace/client/client", "Namespace nowhere"),
            missing("ServiceAccount/client/default", "Service shop/gone"),
        ]
    );
}

#[test]
fn a_workload_gets_the_destinations_of_its_namespace_and_those_that_it_asks_for() {
    let mut index = Cluster::new()
        .namespace("shop", ENABLED, &[])
        .namespace("client", ENABLED, &[(key::DESTINATIONS, "shop/web")])
        .account("client", "default", &[])
        .service(service("web"))
        .service(service("web-v1"))
        .service(service("web-v2"))
        .service(service("other"))
        .service(service("own").of("client"))
        .split(split("web").backend("web-v1", 1))
        .split(split("web-v1").backend("web-v2", 1))
        .index();
    let (config, diagnostics) = compile(&mut index, &Workload::new("client", "default"));
    assert_eq!(names(&config), ["client/own", "shop/web", "shop/web-v1"]);
    assert!(diagnostics.is_empty());
    RouteTable::lower(&config, &PodView::default()).expect("a backend's own routes must not dangle");
}

#[test]
fn an_entry_that_cannot_be_read_is_reported_on_the_account() {
    let mut index = Cluster::new()
        .account("client", "default", &[(key::DESTINATIONS, "web")])
        .index();
    let (_, diagnostics) = compile(&mut index, &Workload::new("client", "default"));
    assert_eq!(
        (&*diagnostics[0].object.kind, &*diagnostics[0].object.name),
        ("ServiceAccount", "default")
    );
}

#[test]
fn a_change_in_a_namespace_marks_those_that_import_from_it() {
    let mut index = Cluster::new()
        .namespace("client", ENABLED, &[(key::DESTINATIONS, "shop/*")])
        .account("client", "default", &[])
        .namespace("idle", ENABLED, &[])
        .account("idle", "default", &[])
        .index();
    index.take_dirty();
    for change in Cluster::new().service(service("web")).changes {
        crate::testing::apply(&mut index, change);
    }
    let dirty: Vec<_> = index.take_dirty().iter().map(ToString::to_string).collect();
    assert_eq!(dirty, ["client", "shop"]);
}

#[test]
fn every_configuration_says_where_the_operator_is_and_follows_its_address() {
    let settings = Settings {
        installation: Some("mesh".into()),
        ..Settings::default()
    };
    let workload = Workload::new("shop", "web");
    let mut index = Cluster::new()
        .settings(settings)
        .account("shop", "web", &[])
        .index();
    assert_eq!(compile(&mut index, &workload).0.operator, None);
    index.take_dirty();
    for change in Cluster::new()
        .service(service("smilax-workload").of("mesh"))
        .changes
    {
        apply(&mut index, change);
    }
    assert!(index.take_dirty().contains("shop"));
    let operator = compile(&mut index, &workload).0.operator.unwrap();
    assert_eq!(operator.workload, Workload::new("mesh", "smilax-operator"));
    assert_eq!(operator.addresses[0].port(), 8444);
}

fn web() -> Workload {
    Workload::new("shop", "web")
}

fn shop() -> Cluster {
    Cluster::new()
        .namespace("shop", ENABLED, &[])
        .account("shop", "web", &[])
        .tcp_route("any", &[])
}

#[test]
fn nothing_is_required_of_proxies_where_nothing_is_restricted() {
    let (config, _) = compile(&mut shop().index(), &web());
    assert!(config.inbound.is_empty() && config.requires.is_empty());
}

#[test]
fn a_target_closes_the_account_that_it_names_and_no_other() {
    let mut index = shop()
        .account("shop", "other", &[])
        .target(
            target("t", "web")
                .from("client", "default")
                .rule("TCPRoute", "any"),
        )
        .index();
    let (config, _) = compile(&mut index, &web());
    assert_eq!(config.requires, [INBOUND_POLICY]);
    assert_eq!(config.inbound.len(), 1);
    assert_eq!(config.inbound[0].targets.len(), 1);
    assert!(
        compile(&mut index, &Workload::new("shop", "other"))
            .0
            .inbound
            .is_empty()
    );
}

#[test]
fn modes_of_the_namespace_stand_in_the_first_policy() {
    let mut index = Cluster::new()
        .namespace(
            "shop",
            ENABLED,
            &[(key::ACCESS_MODE, "deny"), (key::TLS_MODE, "strict")],
        )
        .account("shop", "web", &[])
        .index();
    let (config, _) = compile(&mut index, &web());
    assert_eq!(config.inbound[0].access, Some(AccessMode::Deny));
    assert_eq!(config.inbound[0].tls, Some(TlsMode::Strict));
    assert_eq!(config.requires, [INBOUND_POLICY]);
}

#[test]
fn a_mode_that_cannot_be_read_is_told_on_the_namespace() {
    let mut index = Cluster::new()
        .namespace("shop", ENABLED, &[(key::ACCESS_MODE, "Deny")])
        .account("shop", "web", &[])
        .index();
    let (config, diagnostics) = compile(&mut index, &web());
    assert!(config.inbound.is_empty());
    assert_eq!(&*diagnostics[0].object.kind, "Namespace");
}

#[test]
fn targets_about_labels_stand_in_a_policy_of_their_own() {
    let mut index = shop()
        .binding(binding("shop", "front", "tier", "front"))
        .target(
            target("t", "web")
                .about("IdentityBinding", "front")
                .from("client", "default")
                .rule("TCPRoute", "any"),
        )
        .index();
    let (config, _) = compile(&mut index, &web());
    assert!(config.inbound[0].targets.is_empty());
    assert_eq!(config.inbound[1].pod_selector["tier"], "front");
    assert_eq!(config.inbound[1].targets.len(), 1);
}

/// A Service of `bank` whose pods let `shop/web` in, by its account or by a binding.
fn bank(source: (&str, &str)) -> Cluster {
    shop()
        .namespace("bank", ENABLED, &[])
        .account("bank", "ledger", &[])
        .service(service("ledger").of("bank").selecting("app", "ledger"))
        .service(service("private").of("bank"))
        .add_pod(
            pod("l")
                .of("bank")
                .account("ledger")
                .label("app", "ledger")
                .injected(),
        )
        .add_pod(pod("w").label("tier", "front").injected())
        .binding(binding("shop", "front", "tier", "front"))
        .target(
            target("t", "ledger")
                .of("bank")
                .source(source.0, Some("shop"), source.1)
                .rules(crate::model::Rules::Everything),
        )
}

#[test]
fn s2_a_target_puts_nothing_into_the_configurations_of_those_whom_it_lets_in() {
    let alone = compile(&mut shop().index(), &web()).0;
    for source in [("ServiceAccount", "web"), ("IdentityBinding", "front")] {
        let mut index = bank(source).index();
        assert_eq!(compile(&mut index, &web()).0, alone, "{source:?}");
    }
}

#[test]
fn s2_a_target_marks_no_namespace_but_its_own() {
    let marked = |index: &mut Index, change| {
        index.take_dirty();
        apply(index, change);
        let dirty: Vec<_> = index.take_dirty().iter().map(ToString::to_string).collect();
        dirty
    };
    let mut index = bank(("ServiceAccount", "web")).index();
    let renamed = Cluster::new()
        .target(target("t", "ledger").of("bank").from("client", "x"))
        .changes;
    assert_eq!(marked(&mut index, renamed[0].clone()), ["bank"]);
    let other = Cluster::new()
        .target(target("u", "ledger").of("bank").from("client", "x"))
        .changes;
    assert_eq!(marked(&mut index, other[0].clone()), ["bank"]);
    let account = Cluster::new().account("client", "x", &[]).changes;
    assert_eq!(
        marked(&mut index, account[0].clone()),
        ["bank", "client"],
        "who names the account is told that it exists"
    );
    let churn = Cluster::new().add_pod(pod("p").of("client")).changes;
    assert_eq!(marked(&mut index, churn[0].clone()), ["client"]);
}

#[test]
fn pods_of_a_binding_are_members_as_long_as_they_live() {
    let mut index = bank(("IdentityBinding", "front")).index();
    let ledger = Workload::new("bank", "ledger");
    let (config, _) = compile(&mut index, &ledger);
    assert_eq!(
        config.inbound[0].targets[0].sources,
        [SourceMatch::Binding("shop/front".to_owned())]
    );
    let found = members(&mut index, &ledger);
    assert!(found.contains("shop/front", "uid-shop-w"));
    assert!(!found.contains("shop/front", "uid-bank-l"));
    for change in Cluster::new()
        .add_pod(pod("w").label("tier", "front").injected().finished())
        .changes
    {
        apply(&mut index, change);
    }
    assert!(!members(&mut index, &ledger).contains("shop/front", "uid-shop-w"));
    assert_eq!(members(&mut index, &web()), smilax_core::Members::default());
}

#[test]
fn s2_imports_that_are_too_dear_are_left_out_and_told_on_the_importing_account() {
    let heavy = |namespace: &'static str, count: usize| {
        let path = move |number: usize| format!("/{namespace}{number:03}.*(?:a|b).{{40}}");
        (0..count).map(path)
    };
    let mut cluster = Cluster::new()
        .namespace("client", ENABLED, &[(key::DESTINATIONS, "a/*, b/*, c/*")])
        .account("client", "default", &[]);
    for namespace in ["a", "b", "c"] {
        cluster = cluster
            .namespace(namespace, &[], &[])
            .service(service("web").of(namespace))
            .split(split("web").of(namespace).matching("g").backend("web", 1));
        for part in 0..4 {
            let paths: Vec<String> = heavy(namespace, 28).skip(part * 7).take(7).collect();
            let name = format!("g{part}");
            let group = paths
                .iter()
                .fold(crate::testing::group(&name), |group, path| group.path(path, path));
            cluster = cluster.group(group.of(namespace));
            cluster = cluster.split(
                split("web")
                    .of(namespace)
                    .named(&name)
                    .matching(&name)
                    .backend("web", 1),
            );
        }
    }
    let mut index = cluster.index();
    let (config, diagnostics) = compile(&mut index, &Workload::new("client", "default"));
    assert_eq!(names(&config), ["a/web", "b/web", "c/web"]);
    let routes = |namespace: &str| {
        let of_it = config
            .destinations
            .iter()
            .filter(|one| &*one.name.namespace == namespace);
        of_it
            .flat_map(|one| &one.ports)
            .map(|port| port.routes.len())
            .sum::<usize>()
    };
    assert!(routes("b") > 0);
    assert_eq!(routes("c"), 0, "how it is secured stays known");
    assert_eq!(diagnostics.len(), 1, "{diagnostics:?}");
    assert_eq!(&*diagnostics[0].object.kind, "ServiceAccount");
    assert!(diagnostics[0].message.contains("no routes are imported from c"));
}
