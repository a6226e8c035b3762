use smilax_core::config::Protocol;
use smilax_core::convention::key;

use crate::status::{Condition, statuses};
use crate::testing::{Cluster, SplitBuilder, TargetBuilder, group, service, split, target};

fn shop(mode: &str) -> Cluster {
    Cluster::new()
        .namespace("shop", &[(key::INJECT, "enabled")], &[(key::ACCESS_MODE, mode)])
        .account("shop", "web", &[])
        .account("shop", "client", &[])
        .tcp_route("any", &[])
        .group(group("broken").path("read", "/("))
        .group(group("api").path("read", "/read"))
}

fn conditions(cluster: &Cluster, kind: &str) -> Vec<Condition> {
    let all = statuses(&mut cluster.index(), "shop");
    let status = all.into_iter().find(|one| &*one.object.kind == kind).unwrap();
    status.conditions
}

fn of(conditions: &[Condition], kind: &str) -> String {
    let one = conditions.iter().find(|one| one.kind == kind).unwrap();
    format!("{}/{}: {}", one.status.as_str(), one.reason, one.message)
}

fn from_client() -> TargetBuilder {
    target("t", "web").from("shop", "client")
}

const CLOSES: &str = "it allows nobody, and closes its pods to callers that no other TrafficTarget allows";

#[test]
fn a_target_that_is_not_ready_says_what_it_does_all_the_same() {
    let audits = "it allows nobody, and the access mode audit lets its callers in all the same";
    let in_part = "it takes effect only in part";
    let nothing = "it has no effect";
    let gone = target("t", "gone").from("shop", "client").rule("TCPRoute", "any");
    let cases = [
        (
            "allow",
            from_client().rule("TCPRoute", "gone"),
            "RouteNotFound",
            CLOSES,
        ),
        (
            "deny",
            from_client().rule("TCPRoute", "gone"),
            "RouteNotFound",
            CLOSES,
        ),
        (
            "audit",
            from_client().rule("TCPRoute", "gone"),
            "RouteNotFound",
            audits,
        ),
        (
            "allow",
            from_client().rule("TCPRoute", "gone").rule("TCPRoute", "any"),
            "RouteNotFound",
            in_part,
        ),
        (
            "allow",
            from_client()
                .rule("TCPRoute", "gone")
                .rule("HTTPRouteGroup", "api"),
            "RouteNotFound",
            CLOSES,
        ),
        (
            "allow",
            from_client().rule("HTTPRouteGroup", "gone"),
            "RouteGroupNotFound",
            CLOSES,
        ),
        (
            "allow",
            from_client().rule("HTTPRouteGroup", "broken"),
            "MatchNotFound",
            CLOSES,
        ),
        (
            "allow",
            from_client().matches("HTTPRouteGroup", "api", &["gone"]),
            "MatchNotFound",
            CLOSES,
        ),
        (
            "allow",
            from_client().matches("HTTPRouteGroup", "api", &["read", "gone"]),
            "MatchNotFound",
            in_part,
        ),
        ("allow", from_client().rule("Teapot", "x"), "InvalidKind", CLOSES),
        ("allow", gone, "DestinationNotFound", nothing),
        (
            "allow",
            from_client()
                .about("IdentityBinding", "gone")
                .rule("TCPRoute", "any"),
            "DestinationNotFound",
            nothing,
        ),
        (
            "allow",
            from_client().about("Teapot", "x").rule("TCPRoute", "any"),
            "InvalidKind",
            nothing,
        ),
    ];
    for (mode, target, reason, effect) in cases {
        let ready = of(&conditions(&shop(mode).target(target), "TrafficTarget"), "Ready");
        assert!(
            ready.starts_with(&format!("False/{reason}: {effect}: ")),
            "{mode} {ready}"
        );
    }
}

#[test]
fn a_target_that_is_not_accepted_says_that_it_closes_its_pods() {
    for target in [from_client(), target("t", "web").rule("TCPRoute", "any")] {
        let ready = of(
            &conditions(&shop("allow").target(target), "TrafficTarget"),
            "Ready",
        );
        assert_eq!(
            ready,
            format!("False/Invalid: it is not accepted: {CLOSES}; see Accepted")
        );
    }
}

#[test]
fn a_target_whose_account_is_gone_still_closes_the_pods_that_run_under_it() {
    let cluster = shop("allow")
        .injected_pod("shop", "old-1", "old")
        .target(target("t", "old").from("shop", "client").rule("TCPRoute", "gone"));
    let ready = of(&conditions(&cluster, "TrafficTarget"), "Ready");
    assert!(ready.contains(CLOSES), "{ready}");
}

#[test]
fn a_group_whose_path_no_request_has_says_so_and_what_refers_to_it_too() {
    let cluster = shop("allow")
        .group(group("relative").path("read", "read/.*"))
        .target(from_client().rule("HTTPRouteGroup", "relative"));
    let accepted = statuses(&mut cluster.index(), "shop")
        .into_iter()
        .find(|one| &*one.object.name == "relative")
        .map(|one| of(&one.conditions, "Accepted"));
    let accepted = accepted.unwrap();
    assert!(
        accepted.starts_with("True/Accepted: spec.matches[0].pathRegex: no path matches it"),
        "{accepted}"
    );
    let ready = of(&conditions(&cluster, "TrafficTarget"), "Ready");
    assert!(
        ready.starts_with(&format!("False/MatchNotFound: {CLOSES}: ")),
        "{ready}"
    );
}

fn of_split(split: SplitBuilder) -> Vec<Condition> {
    let cluster = shop("allow")
        .service(service("web"))
        .service(service("web-v1"))
        .service(service("db").protocol(80, Protocol::Tcp).headless())
        .service(service("db-0").protocol(80, Protocol::Tcp).headless())
        .split(split);
    conditions(&cluster, "TrafficSplit")
}

#[test]
fn a_split_that_divides_nothing_is_neither_ready_nor_waits_for_pods() {
    let cases = [
        (split("gone").backend("web-v1", 1), "RootNotFound"),
        (split("web").backend("gone", 1), "BackendNotFound"),
        (split("web").backend("web-v1", 0), "NoUsableBackend"),
        (split("web").backend("db-0", 1), "InvalidKind"),
        (split("db").backend("db-0", 1), "PortMismatch"),
        (
            split("web").matching("gone").backend("web-v1", 1),
            "RouteGroupNotFound",
        ),
        (
            split("web").matching("broken").backend("web-v1", 1),
            "MatchNotFound",
        ),
    ];
    for (split, reason) in cases {
        let all = of_split(split);
        let (ready, programmed) = (of(&all, "Ready"), of(&all, "Programmed"));
        assert!(
            ready.starts_with(&format!("False/{reason}: it has no effect: ")),
            "{ready}"
        );
        assert!(programmed.starts_with("Unknown/NoEffect: "), "{programmed}");
        assert!(!of(&all, "Accepted").contains("in force"));
    }
}

#[test]
fn a_split_that_lacks_one_of_its_groups_takes_effect_in_part() {
    let split = split("web").matching("gone").matching("api").backend("web-v1", 1);
    let ready = of(&of_split(split), "Ready");
    assert!(
        ready.starts_with("False/RouteGroupNotFound: it takes effect only in part: "),
        "{ready}"
    );
}

#[test]
fn a_split_that_lacks_one_of_its_backends_is_ready_and_points_to_what_is_missing() {
    let ready = of(
        &of_split(split("web").backend("web-v1", 1).backend("gone", 1)),
        "Ready",
    );
    assert_eq!(
        ready,
        "True/Ready: it is accepted, and takes effect but for what ResolvedRefs names"
    );
}
