use smilax_core::Workload;
use smilax_core::config::{AccessTarget, ContainerPort, PortMatch, SourceMatch};

use super::*;
use crate::model::{Binding, DestinationPort, Rules};
use crate::plan::NamespacePlan;
use crate::testing::{Cluster, binding, group, service, target};

fn shop() -> Cluster {
    Cluster::new()
        .account("shop", "web", &[])
        .account("shop", "client", &[])
        .group(group("api").path("read", "/read").path("write", "/write"))
        .tcp_route("db", &[5432, 5433])
        .tcp_route("any", &[])
}

fn reasons(plan: &NamespacePlan) -> Vec<&'static str> {
    plan.diagnostics.iter().map(|one| one.reason.as_str()).collect()
}

/// What the one target about account `web` allows.
fn only(plan: &NamespacePlan) -> AccessTarget {
    let targets = &plan.access.by_account["web"];
    assert_eq!(targets.len(), 1, "{targets:?}");
    targets[0].clone()
}

fn grants(target: &AccessTarget) -> bool {
    !target.sources.is_empty()
        && target.ports.iter().all(|set| !set.is_empty())
        && target.http.as_ref().is_none_or(|http| !http.is_empty())
}

fn names(target: &AccessTarget) -> Option<Vec<&str>> {
    target
        .http
        .as_ref()
        .map(|http| http.iter().map(|one| one.name.as_str()).collect())
}

fn numbers(set: &[PortMatch]) -> Vec<u16> {
    set.iter()
        .filter_map(|one| match one.port {
            ContainerPort::Number(port) => Some(port),
            ContainerPort::Name(_) => None,
        })
        .collect()
}

#[test]
fn a_group_without_names_of_matches_means_all_of_them() {
    let plan = shop()
        .target(
            target("t", "web")
                .from("shop", "client")
                .rule("HTTPRouteGroup", "api"),
        )
        .plan();
    assert_eq!(names(&only(&plan)), Some(vec!["read", "write"]));
    assert_eq!(
        only(&plan).sources,
        [SourceMatch::Account(Workload::new("shop", "client"))]
    );
    assert_eq!(reasons(&plan), [""; 0]);
}

#[test]
fn named_matches_mean_these_and_an_unknown_name_means_nothing() {
    let plan = shop()
        .target(target("t", "web").from("shop", "client").matches(
            "HTTPRouteGroup",
            "api",
            &["write", "gone"],
        ))
        .plan();
    assert_eq!(names(&only(&plan)), Some(vec!["write"]));
    assert_eq!(reasons(&plan), ["MatchNotFound"]);
}

#[test]
fn a_route_that_does_not_exist_never_widens_what_the_others_allow() {
    for rule in [("HTTPRouteGroup", "gone"), ("TCPRoute", "gone"), ("Teapot", "x")] {
        let alone = shop()
            .target(target("t", "web").from("shop", "client").rule(rule.0, rule.1))
            .plan();
        assert!(!grants(&only(&alone)), "{rule:?}");
    }
    let plan = shop()
        .target(
            target("t", "web")
                .from("shop", "client")
                .rule("TCPRoute", "gone")
                .rule("HTTPRouteGroup", "api"),
        )
        .plan();
    assert!(!grants(&only(&plan)), "the missing ports still restrict");
    assert_eq!(reasons(&plan), ["RouteNotFound"]);
    let plan = shop()
        .target(
            target("t", "web")
                .from("shop", "client")
                .rule("Teapot", "x")
                .rule("HTTPRouteGroup", "api"),
        )
        .plan();
    assert!(
        !grants(&only(&plan)),
        "what is not understood may have been a restriction"
    );
}

#[test]
fn ports_and_requests_restrict_each_other_and_rules_of_one_kind_add_up() {
    let plan = shop()
        .tcp_route("more", &[80])
        .target(
            target("t", "web")
                .from("shop", "client")
                .rule("TCPRoute", "db")
                .rule("TCPRoute", "more")
                .matches("HTTPRouteGroup", "api", &["read"])
                .matches("HTTPRouteGroup", "api", &["write"]),
        )
        .plan();
    let found = only(&plan);
    assert_eq!(found.ports.len(), 1);
    assert_eq!(numbers(&found.ports[0]), [80, 5432, 5433]);
    assert_eq!(names(&found), Some(vec!["read", "write"]));
}

#[test]
fn a_route_of_all_ports_takes_the_restriction_away() {
    let plan = shop()
        .target(
            target("t", "web")
                .from("shop", "client")
                .rule("TCPRoute", "db")
                .rule("TCPRoute", "any"),
        )
        .plan();
    assert_eq!(only(&plan).ports, Vec::<Vec<PortMatch>>::new());
    assert!(grants(&only(&plan)));
}

#[test]
fn a_port_of_a_service_means_where_it_leads_on_the_pods_that_it_selects() {
    let plan = shop()
        .service(service("db").selecting("app", "db").leading_to(5432, "postgres"))
        .target(target("t", "web").from("shop", "client").rule("TCPRoute", "db"))
        .plan();
    assert!(only(&plan).ports[0].contains(&PortMatch {
        pod_selector: BTreeMap::from([("app".to_owned(), "db".to_owned())]),
        port: ContainerPort::Name("postgres".to_owned()),
    }));
}

#[test]
fn udp_alone_allows_no_tcp() {
    let plan = shop()
        .udp_route("dns")
        .target(target("t", "web").from("shop", "client").rule("UDPRoute", "dns"))
        .plan();
    assert!(!grants(&only(&plan)));
    let told: Vec<String> = plan
        .diagnostics
        .iter()
        .map(|one| format!("{} {}", one.object, one.reason.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            "TrafficTarget/shop/t Unsupported",
            "UDPRoute/shop/dns Unsupported"
        ]
    );
}

#[test]
fn a_target_in_a_namespace_that_only_audits_says_that_it_refuses_nothing() {
    let told = |mode: &str| {
        let target = target("t", "web")
            .from("shop", "client")
            .rule("HTTPRouteGroup", "api");
        let plan = shop()
            .namespace("shop", &[], &[(key::ACCESS_MODE, mode)])
            .target(target)
            .plan();
        reasons(&plan)
    };
    assert_eq!(told("audit"), ["Audited"]);
    assert_eq!(told("allow"), [""; 0]);
    assert_eq!(told("deny"), [""; 0]);
}

#[test]
fn the_deprecated_port_restricts_whatever_the_rules_say() {
    let plan = shop()
        .target(
            target("t", "web")
                .from("shop", "client")
                .rules(Rules::Everything)
                .port(DestinationPort::Only(8080)),
        )
        .plan();
    assert_eq!(numbers(&only(&plan).ports[0]), [8080]);
    let plan = shop()
        .target(
            target("t", "web")
                .from("shop", "client")
                .rule("TCPRoute", "db")
                .port(DestinationPort::Only(5432)),
        )
        .plan();
    assert_eq!(only(&plan).ports.len(), 2, "both sets must hold");
    let plan = shop()
        .target(
            target("t", "web")
                .from("shop", "client")
                .rules(Rules::Everything)
                .port(DestinationPort::Unreadable("0".to_owned())),
        )
        .plan();
    assert!(!grants(&only(&plan)));
    assert_eq!(reasons(&plan), ["Invalid"]);
}

#[test]
fn no_rules_allow_nothing_unless_the_version_makes_them_optional() {
    let base = || target("t", "web").from("shop", "client");
    let nothing = shop().target(base().rules(Rules::Nothing)).plan();
    assert!(!grants(&only(&nothing)));
    assert_eq!(reasons(&nothing), ["Invalid"]);
    let everything = shop().target(base().rules(Rules::Everything)).plan();
    assert!(grants(&only(&everything)));
}

#[test]
fn a_target_without_sources_still_closes_what_it_names() {
    let plan = shop().target(target("t", "web").rule("TCPRoute", "any")).plan();
    assert!(only(&plan).sources.is_empty());
    assert_eq!(reasons(&plan), ["Invalid"]);
}

#[test]
fn d13_a_destination_of_another_namespace_is_neither_opened_nor_closed_from_here() {
    let plan = shop()
        .target(
            target("t", "web")
                .destination_namespace("bank")
                .from("shop", "client")
                .rule("TCPRoute", "any"),
        )
        .plan();
    assert!(plan.access.by_account.is_empty());
    assert_eq!(reasons(&plan), ["NamespaceMismatch"]);
    let own = shop()
        .target(
            target("t", "web")
                .destination_namespace("shop")
                .from("shop", "client")
                .rule("TCPRoute", "any"),
        )
        .plan();
    assert!(grants(&only(&own)));
}

#[test]
fn a_source_without_namespace_is_of_the_targets_own() {
    let plan = shop()
        .target(
            target("t", "web")
                .source("ServiceAccount", None, "client")
                .rule("TCPRoute", "any"),
        )
        .plan();
    assert_eq!(
        only(&plan).sources,
        [SourceMatch::Account(Workload::new("shop", "client"))]
    );
}

#[test]
fn an_account_that_does_not_exist_is_told_and_counts_as_soon_as_it_does() {
    let plan = shop()
        .target(
            target("t", "web")
                .from("elsewhere", "client")
                .rule("TCPRoute", "any"),
        )
        .plan();
    assert_eq!(
        only(&plan).sources,
        [SourceMatch::Account(Workload::new("elsewhere", "client"))]
    );
    assert_eq!(reasons(&plan), ["AccountNotFound"]);
}

#[test]
fn a_binding_means_the_pods_accounts_and_ids_of_its_own_namespace() {
    let mut by_all = binding("bank", "tellers", "app", "teller");
    by_all.ids = [
        "spiffe://cluster.local/ns/bank/sa/a",
        "spiffe://cluster.local/ns/evil/sa/b",
    ]
    .iter()
    .map(|id| Ok(id.parse().unwrap()))
    .collect();
    let plan = shop()
        .binding(by_all)
        .target(
            target("t", "web")
                .source("IdentityBinding", Some("bank"), "tellers")
                .rule("TCPRoute", "any"),
        )
        .plan();
    assert_eq!(
        only(&plan).sources,
        [
            SourceMatch::Binding("bank/tellers".to_owned()),
            SourceMatch::Spiffe("spiffe://cluster.local/ns/bank/sa/a".parse().unwrap()),
        ]
    );
}

#[test]
fn a_binding_that_is_missing_or_contradicts_itself_means_nobody() {
    let contradicting = Binding {
        account: Some("client".to_owned()),
        ..binding("shop", "both", "app", "client")
    };
    for name in ["both", "gone"] {
        let plan = shop()
            .binding(contradicting.clone())
            .target(
                target("t", "web")
                    .source("IdentityBinding", None, name)
                    .rule("TCPRoute", "any"),
            )
            .plan();
        assert!(only(&plan).sources.is_empty(), "{name}");
        assert!(reasons(&plan).contains(&"BindingNotFound"));
    }
}

#[test]
fn a_destination_by_labels_closes_these_pods_whatever_their_account() {
    let plan = shop()
        .binding(binding("shop", "front", "tier", "front"))
        .target(
            target("t", "web")
                .about("IdentityBinding", "front")
                .from("shop", "client")
                .rule("TCPRoute", "any"),
        )
        .plan();
    assert!(plan.access.by_account.is_empty());
    let labels = BTreeMap::from([("tier".to_owned(), "front".to_owned())]);
    assert!(grants(&plan.access.by_labels[&labels][0]));
}

#[test]
fn d5_a_pattern_that_would_break_out_of_its_anchors_is_refused() {
    let plan = shop()
        .group(group("bad").path("out", "a)|(b").header("head", "x", "a)|(.*"))
        .target(
            target("t", "web")
                .from("shop", "client")
                .rule("HTTPRouteGroup", "bad"),
        )
        .plan();
    assert!(!grants(&only(&plan)));
    assert_eq!(reasons(&plan), ["Invalid", "Invalid", "MatchNotFound"]);
}

#[test]
fn a_udp_route_says_that_nothing_carries_it_out() {
    let plan = shop().udp_route("dns").plan();
    assert_eq!(reasons(&plan), ["Unsupported"]);
}

#[test]
fn a_port_out_of_range_selects_nothing_and_is_told() {
    let plan = shop()
        .tcp_route("bad", &[0, 70000])
        .target(target("t", "web").from("shop", "client").rule("TCPRoute", "bad"))
        .plan();
    assert!(!grants(&only(&plan)));
    assert_eq!(reasons(&plan), ["Invalid", "Invalid", "MatchNotFound"]);
}
