//! What objects may spend, and who is told.

use smilax_core::pattern::{MOST_OF_GROUP, MOST_OF_NAMESPACE};

use super::*;
use crate::model::{GroupMatch, RouteGroup};
use crate::plan::spending::{MOST_OF_ACCOUNT, MOST_OF_ROUTES};
use crate::testing::{SplitBuilder, target};

/// A group whose expressions count for a little more than so many times 128 KiB.
fn heavy(name: &str, created: i64, times: usize) -> RouteGroup {
    let paths = (0..times).map(|number| format!("{name}x{number:03}.*(?:a|b).{{40}}"));
    let group = paths.fold(group(name), |group, path| group.path(&path, &path));
    let mut group = group.into_inner();
    group.meta.created = created;
    group
}

/// A group whose one match takes so many bytes of text.
fn long(name: &str, bytes: usize) -> RouteGroup {
    group(name).path(&"n".repeat(bytes), "/").into_inner()
}

fn told(plan: &NamespacePlan) -> Vec<String> {
    let over = plan
        .diagnostics
        .iter()
        .filter(|one| one.reason == Reason::OverBudget);
    over.map(|one| one.object.to_string()).collect()
}

fn shop() -> Cluster {
    Cluster::new()
        .namespace("shop", &[], &[])
        .account("shop", "web", &[])
        .account("shop", "client", &[])
        .service(service("web"))
        .service(service("web-v1"))
}

fn uses(name: &str) -> SplitBuilder {
    split("web").named(name).matching(name).backend("web-v1", 1)
}

fn count_routes(plan: &NamespacePlan) -> usize {
    let destinations = plan.destinations.values();
    let ports = destinations.flat_map(|destination| &destination.ports);
    ports.map(|port| port.routes.len()).sum()
}

#[test]
fn s1_a_group_over_its_budget_selects_nothing_and_others_do_not_notice() {
    let plan = shop()
        .add_group(heavy("dear", 1, 2 * MOST_OF_GROUP / (128 * 1024)))
        .group(group("usual").path("one", "/a"))
        .split(uses("dear"))
        .split(uses("usual"))
        .plan();
    assert_eq!(told(&plan), ["HTTPRouteGroup/shop/dear"]);
    let ports = plan.destinations[&DestinationName::new("shop", "web")]
        .ports
        .len();
    assert_eq!(count_routes(&plan), ports);
}

#[test]
fn s1_of_a_namespace_over_its_budget_the_younger_groups_select_nothing() {
    let each = MOST_OF_GROUP / (128 * 1024) - 2;
    let fit = MOST_OF_NAMESPACE / (each * 128 * 1024);
    let cluster = (0..2 * fit).fold(shop(), |cluster, number| {
        let created = i64::try_from(100 - number).unwrap();
        cluster.add_group(heavy(&format!("g{number}"), created, each))
    });
    let plan = cluster.plan();
    let told = told(&plan);
    assert!(
        told.contains(&"HTTPRouteGroup/shop/g0".to_owned()),
        "the youngest"
    );
    let oldest = format!("HTTPRouteGroup/shop/g{}", 2 * fit - 1);
    assert!(!told.contains(&oldest), "{told:?}");
    let size: usize = plan.patterns.values().sum();
    assert!(
        size <= MOST_OF_NAMESPACE && size > MOST_OF_NAMESPACE / 2,
        "{size}"
    );
}

/// What the dearest group that fits takes, and a hundred of them: `cargo test --release -p smilax-compiler cost_of_the_dearest
/// -- --ignored --nocapture`.
#[test]
#[ignore = "it prints a measurement"]
fn cost_of_the_dearest_group() {
    use std::time::Instant;
    let times = MOST_OF_GROUP / (128 * 1024);
    let begin = Instant::now();
    let first = measure(&Settings::default(), &heavy("first", 1, times));
    println!(
        "one group of {} expressions: {:?}",
        first.0.len(),
        begin.elapsed()
    );
    let begin = Instant::now();
    let cluster = (0..100).fold(shop(), |cluster, number| {
        let group = heavy(&format!("g{number}"), number, times);
        let measured = measure(&Settings::default(), &group);
        cluster.add_group(RouteGroup { measured, ..group })
    });
    println!("a hundred, measured one by one: {:?}", begin.elapsed());
    let begin = Instant::now();
    let plan = cluster.plan();
    println!(
        "their namespace compiled, {} of them refused: {:?}",
        told(&plan).len(),
        begin.elapsed()
    );
}

#[test]
fn s1_what_was_measured_before_is_what_is_asked_for() {
    let group = heavy("dear", 1, 20);
    let measured = measure(&Settings::default(), &group);
    assert!(
        measured.0.len() < 10,
        "nothing beyond the budget: {}",
        measured.0.len()
    );
    let with = RouteGroup {
        measured,
        ..group.clone()
    };
    assert_eq!(shop().add_group(group).plan(), shop().add_group(with).plan());
}

#[test]
fn s1_a_match_of_more_headers_than_the_definition_allows_selects_nothing() {
    let mut group = group("wide").into_inner();
    let headers = (0..33).map(|number| (format!("h{number}"), "a".to_owned()));
    group.matches.push(GroupMatch {
        name: "one".to_owned(),
        headers: headers.collect(),
        ..GroupMatch::default()
    });
    let plan = shop().add_group(group).split(uses("wide")).plan();
    assert_eq!(count_routes(&plan), 0);
    let messages = plan.diagnostics.iter().map(|one| &one.message);
    assert!(
        messages
            .into_iter()
            .any(|one| one.contains("a match can have 32"))
    );
}

#[test]
fn s2_routes_over_their_budget_are_refused_the_youngest_first() {
    let most = shop_ports_share(MOST_OF_ROUTES) * 3 / 5;
    let plan = shop()
        .add_group(long("a", most))
        .add_group(long("b", most))
        .split(uses("a").created(2))
        .split(uses("b").created(1))
        .plan();
    assert_eq!(told(&plan), ["TrafficSplit/shop/a"]);
    assert_eq!(plan.splits.keys().map(|name| &**name).collect::<Vec<_>>(), ["b"]);
}

/// A split is carried out on each port of its root.
fn shop_ports_share(bytes: usize) -> usize {
    let plan = shop().plan();
    bytes
        / plan.destinations[&DestinationName::new("shop", "web")]
            .ports
            .len()
}

#[test]
fn s2_a_target_over_the_budget_of_its_pods_allows_nothing_and_closes_them_all_the_same() {
    let plan = shop()
        .add_group(long("a", MOST_OF_ACCOUNT + 1))
        .target(
            target("t", "web")
                .from("shop", "client")
                .rule("HTTPRouteGroup", "a"),
        )
        .plan();
    assert_eq!(told(&plan), ["TrafficTarget/shop/t"]);
    let targets = &plan.access.by_account["web"];
    assert_eq!((targets.len(), targets[0].sources.len()), (1, 0));
}

#[test]
fn s2_routes_do_not_take_the_room_of_rights() {
    let plan = shop()
        .add_group(long("a", MOST_OF_ROUTES + 1))
        .group(group("b").path("one", "/"))
        .split(uses("a"))
        .target(
            target("t", "web")
                .from("shop", "client")
                .rule("HTTPRouteGroup", "b"),
        )
        .plan();
    assert_eq!(told(&plan), ["TrafficSplit/shop/a"]);
    assert_eq!(plan.access.by_account["web"][0].sources.len(), 1);
}
