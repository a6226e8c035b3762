use smilax_core::{PodView, RouteTable, convention::key};

use super::*;
use crate::index::Settings;
use crate::testing::{Cluster, apply, service, split};

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
