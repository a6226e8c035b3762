mod budget;
mod steering;

use smilax_core::config::Protocol;

use super::*;
use crate::index::Settings;
use crate::testing::{Cluster, group, service, split};

/// Shares of a Service's port as `backend=weight` words, one text for each route.
fn routes(plan: &NamespacePlan, service: &str, port: u16) -> Vec<String> {
    let name = DestinationName::new("shop", service);
    let Some(destination) = plan.destinations.get(&name) else {
        return vec![];
    };
    let port = destination.ports.iter().find(|one| one.port == port).unwrap();
    port.routes
        .iter()
        .map(|route| {
            let words: Vec<String> = route
                .backends
                .iter()
                .map(|one| format!("{}={}", one.destination.name, one.weight))
                .collect();
            words.join(" ")
        })
        .collect()
}

fn reasons(plan: &NamespacePlan) -> Vec<&'static str> {
    plan.diagnostics.iter().map(|one| one.reason.as_str()).collect()
}

fn shop() -> Cluster {
    Cluster::new()
        .service(service("web"))
        .service(service("web-v1"))
        .service(service("web-v2"))
}

#[test]
fn a_split_routes_every_port_of_its_root_by_weight() {
    let plan = shop()
        .split(split("web").backend("web-v1", 90).backend("web-v2", 10))
        .plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v1=90 web-v2=10"]);
    assert_eq!(reasons(&plan), [""; 0]);
}

#[test]
fn every_form_of_the_roots_name_is_understood() {
    for root in [
        "web",
        "web.shop",
        "web.shop.svc",
        "web.shop.svc.cluster.local",
        "web.shop.svc.cluster.local.",
    ] {
        let plan = shop().split(split(root).named("s").backend("web-v1", 1)).plan();
        assert_eq!(routes(&plan, "web", 80), ["web-v1=1"], "{root}");
    }
}

#[test]
fn a_root_of_another_namespace_is_refused() {
    let plan = shop().split(split("web.other").backend("web-v1", 1)).plan();
    assert_eq!(reasons(&plan), ["NamespaceMismatch"]);
    assert!(plan.splits.is_empty());
}

#[test]
fn a_missing_backend_is_left_out_and_reported_and_heals_when_it_comes() {
    let cluster = shop().split(split("web").backend("web-v1", 90).backend("web-v3", 10));
    let plan = cluster.clone().plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v1=90"]);
    assert_eq!(reasons(&plan), ["BackendNotFound"]);
    let plan = cluster.service(service("web-v3")).plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v1=90 web-v3=10"]);
    assert_eq!(reasons(&plan), [""; 0]);
}

#[test]
fn a_missing_root_has_no_effect_and_is_reported() {
    let plan = shop().split(split("gone").backend("web-v1", 1)).plan();
    assert_eq!(reasons(&plan), ["RootNotFound"]);
}

#[test]
fn a_backend_that_lacks_a_port_of_the_root_is_left_out_there_only() {
    let plan = Cluster::new()
        .service(service("web").port(80).port(81))
        .service(service("web-v1").port(80).port(81))
        .service(service("web-v2"))
        .split(split("web").backend("web-v1", 1).backend("web-v2", 1))
        .plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v1=1 web-v2=1"]);
    assert_eq!(routes(&plan, "web", 81), ["web-v1=1"]);
    assert_eq!(reasons(&plan), ["PortMismatch"]);
}

#[test]
fn when_all_weights_are_zero_traffic_goes_to_the_root() {
    let plan = shop()
        .split(split("web").backend("web-v1", 0).backend("web-v2", 0))
        .plan();
    assert_eq!(routes(&plan, "web", 80), [""; 0]);
    assert_eq!(reasons(&plan), ["NoUsableBackend"]);
}

#[test]
fn a_backend_of_weight_zero_receives_nothing() {
    let plan = shop()
        .split(split("web").backend("web-v1", 1).backend("web-v2", 0))
        .plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v1=1"]);
}

#[test]
fn a_negative_weight_is_reported_and_left_out() {
    let plan = shop()
        .split(split("web").backend("web-v1", 1).backend("web-v2", -5))
        .plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v1=1"]);
    assert_eq!(reasons(&plan), ["Invalid"]);
}

#[test]
fn huge_weights_keep_their_ratio() {
    let plan = shop()
        .split(
            split("web")
                .backend("web-v1", i64::MAX)
                .backend("web-v2", i64::MAX / 2),
        )
        .plan();
    let route = &plan.destinations[&DestinationName::new("shop", "web")].ports[0].routes[0];
    assert_eq!(route.backends[0].weight / route.backends[1].weight, 2);
}

#[test]
fn the_root_may_be_its_own_backend() {
    let plan = shop()
        .split(split("web").backend("web", 50).backend("web-v2", 50))
        .plan();
    assert_eq!(routes(&plan, "web", 80), ["web=50 web-v2=50"]);
    assert_eq!(reasons(&plan), [""; 0]);
}

#[test]
fn a_backend_that_is_a_root_itself_is_sent_to_directly() {
    let plan = shop()
        .split(split("web").backend("web-v1", 1))
        .split(split("web-v1").backend("web-v2", 1))
        .plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v1=1"]);
    assert_eq!(reasons(&plan), ["NestedSplit"]);
}

#[test]
fn of_two_splits_of_one_root_the_older_decides_whatever_the_order_of_arrival() {
    let old = || split("web").named("z-old").created(1).backend("web-v1", 1);
    let new = || split("web").named("a-new").created(2).backend("web-v2", 1);
    for plan in [
        shop().split(old()).split(new()).plan(),
        shop().split(new()).split(old()).plan(),
    ] {
        assert_eq!(routes(&plan, "web", 80), ["web-v1=1"]);
        let lost = plan.diagnostics.first().unwrap();
        assert_eq!((lost.reason, &*lost.object.name), (Reason::Conflicted, "a-new"));
    }
}

#[test]
fn splits_of_the_same_age_are_decided_by_name() {
    let plan = shop()
        .split(split("web").named("b").backend("web-v2", 1))
        .split(split("web").named("a").backend("web-v1", 1))
        .plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v1=1"]);
}

#[test]
fn splits_with_matches_come_before_the_one_without() {
    let plan = shop()
        .group(group("ab").path("one", "/beta"))
        .split(split("web").named("all").created(1).backend("web-v1", 1))
        .split(
            split("web")
                .named("beta")
                .created(2)
                .matching("ab")
                .backend("web-v2", 1),
        )
        .plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v2=1", "web-v1=1"]);
    assert_eq!(reasons(&plan), [""; 0]);
}

#[test]
fn several_groups_select_with_any_of_their_matches() {
    let plan = shop()
        .group(group("a").path("one", "/a").path("two", "/b"))
        .group(group("b").path("three", "/c"))
        .split(split("web").matching("a").matching("b").backend("web-v2", 1))
        .plan();
    let route = &plan.destinations[&DestinationName::new("shop", "web")].ports[0].routes[0];
    let paths: Vec<_> = route
        .matches
        .iter()
        .filter_map(|one| one.path.as_deref())
        .collect();
    assert_eq!(paths, ["^(?:/a)", "^(?:/b)", "^(?:/c)"]);
}

#[test]
fn a_split_whose_groups_are_missing_selects_nothing_rather_than_everything() {
    let plan = shop()
        .split(split("web").matching("gone").backend("web-v2", 1))
        .plan();
    assert_eq!(routes(&plan, "web", 80), [""; 0]);
    assert_eq!(reasons(&plan), ["RouteGroupNotFound"]);
}

#[test]
fn a_match_that_does_not_compile_selects_nothing_and_is_reported_on_its_group() {
    let plan = shop()
        .group(group("ab").path("bad", "(").path("good", "/x"))
        .split(split("web").matching("ab").backend("web-v2", 1))
        .plan();
    let route = &plan.destinations[&DestinationName::new("shop", "web")].ports[0].routes[0];
    assert_eq!(route.matches.len(), 1);
    let finding = plan.diagnostics.first().unwrap();
    assert_eq!(
        (&*finding.object.kind, finding.reason),
        ("HTTPRouteGroup", Reason::Invalid)
    );
    assert!(
        finding.message.contains("spec.matches[0].path"),
        "{}",
        finding.message
    );
}

#[test]
fn a_reference_to_another_kind_is_reported() {
    let plan = shop()
        .split(split("web").reference("TCPRoute", "", "x").backend("web-v2", 1))
        .plan();
    assert_eq!(reasons(&plan), ["InvalidKind"]);
}

#[test]
fn a_split_without_matches_splits_connections_of_a_tcp_port_and_one_with_matches_does_not() {
    let tcp = |name| service(name).protocol(80, Protocol::Tcp);
    let cluster = Cluster::new()
        .service(tcp("db"))
        .service(tcp("db-v2"))
        .group(group("ab").path("one", "/"));
    let plan = cluster.clone().split(split("db").backend("db-v2", 1)).plan();
    assert_eq!(routes(&plan, "db", 80), ["db-v2=1"]);
    let plan = cluster
        .split(split("db").matching("ab").backend("db-v2", 1))
        .plan();
    assert_eq!(routes(&plan, "db", 80), [""; 0]);
    assert_eq!(reasons(&plan), ["PortMismatch"]);
}

#[test]
fn matches_beside_a_port_that_does_not_carry_http_are_no_mistake() {
    let both = |name| service(name).protocol(5432, Protocol::Tcp);
    let cluster = Cluster::new()
        .service(both("web"))
        .service(both("web-v2"))
        .group(group("ab").path("one", "/"));
    let plan = cluster
        .split(split("web").matching("ab").backend("web-v2", 1))
        .plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v2=1"]);
    assert_eq!(routes(&plan, "web", 5432), [""; 0]);
    assert_eq!(reasons(&plan), [""; 0]);
}

#[test]
fn a_headless_root_is_split_and_a_headless_backend_is_reported() {
    let cluster = shop().service(service("db").headless());
    let plan = cluster
        .clone()
        .split(split("db").backend("db", 1).backend("web-v1", 1))
        .plan();
    assert_eq!(routes(&plan, "db", 80), ["db=1 web-v1=1"]);
    let plan = cluster
        .split(split("web").backend("db", 1).backend("web-v1", 1))
        .plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v1=1"]);
    assert_eq!(reasons(&plan), ["InvalidKind"]);
}

#[test]
fn an_external_name_cannot_be_split() {
    let plan = shop()
        .service(service("out").external("example.com"))
        .split(split("out").backend("web-v1", 1))
        .plan();
    assert_eq!(reasons(&plan), ["Unsupported"]);
}

#[test]
fn a_backend_without_ready_endpoints_keeps_its_share_and_is_reported() {
    let plan = Cluster::new()
        .service(service("web"))
        .service(service("web-v1"))
        .service(service("web-v2").not_ready())
        .split(split("web").backend("web-v1", 1).backend("web-v2", 1))
        .plan();
    assert_eq!(routes(&plan, "web", 80), ["web-v1=1 web-v2=1"]);
    assert_eq!(reasons(&plan), ["NoReadyEndpoints"]);
}

#[test]
fn backends_that_share_pods_are_reported() {
    let plan = Cluster::new()
        .service(service("web"))
        .service(service("a").selecting("app", "web"))
        .service(service("b").selecting("tier", "front"))
        .pod("web-0", &[("app", "web"), ("tier", "front")])
        .split(split("web").backend("a", 1).backend("b", 1))
        .plan();
    assert_eq!(reasons(&plan), ["OverlappingBackends"]);
}

#[test]
fn anchoring_follows_the_settings_of_the_mesh() {
    let settings = Settings {
        path_regex_mode: crate::index::PathRegexMode::Full,
        header_regex_mode: crate::index::HeaderRegexMode::Search,
        ..Settings::default()
    };
    let plan = shop()
        .settings(settings)
        .group(group("ab").path("one", "/a").header("two", "X-User", "test"))
        .split(split("web").matching("ab").backend("web-v2", 1))
        .plan();
    let route = &plan.destinations[&DestinationName::new("shop", "web")].ports[0].routes[0];
    assert_eq!(route.matches[0].path.as_deref(), Some("^(?:/a)$"));
    assert_eq!(
        (
            &*route.matches[1].headers[0].name,
            &*route.matches[1].headers[0].value
        ),
        ("x-user", "test")
    );
}
