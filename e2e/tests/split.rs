//! A TrafficSplit divides requests as it says, and changes without a failed one.

use serde_json::json;
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::{Load, Match, RouteGroup, Shared, TrafficSplit, Web, assert_share};

static WEB: Shared = Shared::new("split");

/// Sends 2,000 requests to a root and holds what each backend's share must be.
#[track_caller]
fn measure(web: &Web, root: &str, shares: &[(&str, f64)]) {
    let report = web.client.load(Load::http(root).requests(2000).connections(4));
    assert_no_failures(&report);
    for (backend, share) in shares {
        assert_share(&report, backend, *share);
    }
}

/// Splits a root of its own between two backends and measures.
#[track_caller]
fn two_way(name: &str, weights: [u32; 2], shares: &[(&str, f64)]) {
    let web = WEB.hold();
    web.root(name);
    web.enforce(
        TrafficSplit::of(name)
            .backend("web-v1", weights[0])
            .backend("web-v2", weights[1]),
    );
    measure(&web, name, shares);
}

#[test]
fn ninety_to_ten_is_measured_as_ninety_to_ten() {
    two_way("ninety", [90, 10], &[("web-v1", 0.9), ("web-v2", 0.1)]);
}

#[test]
fn one_to_zero_sends_all_to_the_first() {
    two_way("first", [1, 0], &[("web-v1", 1.0)]);
}

#[test]
fn zero_to_one_sends_all_to_the_second() {
    two_way("second", [0, 1], &[("web-v2", 1.0)]);
}

#[test]
fn weights_are_relative_and_need_not_sum_to_a_hundred() {
    two_way(
        "thirds",
        [1000, 500],
        &[("web-v1", 2.0 / 3.0), ("web-v2", 1.0 / 3.0)],
    );
}

#[test]
fn weights_that_are_all_zero_leave_the_traffic_to_the_root() {
    let web = WEB.hold();
    web.root("zeros");
    let split = web.namespace.apply(
        TrafficSplit::of("zeros")
            .backend("web-v1", 0)
            .backend("web-v2", 0),
    );
    web.namespace.await_event(&split, "NoUsableBackend");
    measure(&web, "zeros", &[("web-root", 1.0)]);
}

#[test]
fn a_service_without_a_split_goes_on_as_before() {
    let web = WEB.hold();
    measure(&web, "web-v1", &[("web-v1", 1.0)]);
}

#[test]
fn weights_change_under_load_without_a_failed_request() {
    let web = WEB.hold();
    web.root("live");
    web.enforce(
        TrafficSplit::of("live")
            .backend("web-v1", 100)
            .backend("web-v2", 0),
    );
    let background = web.client.start(Load::http("live").rate(200).connections(8));
    for weights in [[80, 20], [50, 50], [20, 80], [0, 100]] {
        background.goes_on(200);
        web.enforce(
            TrafficSplit::of("live")
                .backend("web-v1", weights[0])
                .backend("web-v2", weights[1]),
        );
    }
    measure(&web, "live", &[("web-v2", 1.0)]);
    let report = background.stop();
    assert_no_failures(&report);
    assert_eq!(report.by_backend.keys().collect::<Vec<_>>(), ["web-v1", "web-v2"]);
}

#[test]
fn a_deleted_split_gives_the_traffic_back_to_the_root_without_a_failed_request() {
    let web = WEB.hold();
    web.root("deleted");
    let split = web.enforce(TrafficSplit::of("deleted").backend("web-v1", 1));
    let background = web.client.start(Load::http("deleted").rate(100).connections(4));
    background.goes_on(100);
    web.namespace.delete(&split);
    web.client.forgot_split("deleted");
    measure(&web, "deleted", &[("web-root", 1.0)]);
    assert_no_failures(&background.stop());
}

#[test]
fn an_a_b_test_by_header_takes_those_who_bear_it_and_leaves_the_others_to_the_root() {
    let web = WEB.hold();
    web.root("by-header");
    web.namespace.apply(
        RouteGroup::named("firefox")
            .or(Match::named("firefox")
                .headers(json!([{"user-agent": ".*Firefox.*"}, {"x-beta": "yes|true"}]))),
    );
    web.enforce(
        TrafficSplit::of("by-header")
            .matching("firefox")
            .backend("web-v2", 1),
    );
    let send = |load: Load| web.client.load(load.requests(200));
    let firefox = Load::http("by-header").header("User-Agent", "Mozilla Firefox 140");
    assert_share(&send(firefox.clone().header("x-beta", "true")), "web-v2", 1.0);
    // Every header of a match must be there, and each value is matched whole.
    assert_share(&send(firefox.clone()), "web-root", 1.0);
    assert_share(&send(firefox.header("x-beta", "untrue")), "web-root", 1.0);
    assert_share(&send(Load::http("by-header")), "web-root", 1.0);
}

#[test]
fn headers_are_understood_in_the_form_of_a_map_too() {
    let web = WEB.hold();
    web.root("by-map");
    web.namespace
        .apply(RouteGroup::named("map").or(Match::named("beta").headers(json!({"x-beta": "yes"}))));
    web.enforce(TrafficSplit::of("by-map").matching("map").backend("web-v1", 1));
    let beta = web
        .client
        .load(Load::http("by-map").header("X-Beta", "yes").requests(100));
    assert_share(&beta, "web-v1", 1.0);
    assert_share(
        &web.client.load(Load::http("by-map").requests(100)),
        "web-root",
        1.0,
    );
}

#[test]
fn an_a_b_test_by_path_matches_from_the_start_of_the_path() {
    let web = WEB.hold();
    web.root("by-path");
    web.namespace
        .apply(RouteGroup::named("path").or(Match::named("api").path("/api/v2")));
    web.enforce(TrafficSplit::of("by-path").matching("path").backend("web-v2", 1));
    let to = |path: &str| web.client.load(Load::http("by-path").path(path).requests(100));
    for path in ["/api/v2", "/api/v2/items?page=3"] {
        assert_share(&to(path), "web-v2", 1.0);
    }
    for path in ["/", "/api/v1", "/x/api/v2", "/API/v2", "/?/api/v2"] {
        assert_share(&to(path), "web-root", 1.0);
    }
}

#[test]
fn an_a_b_test_by_method_takes_the_methods_that_it_names() {
    let web = WEB.hold();
    web.root("by-method");
    web.namespace
        .apply(RouteGroup::named("writes").or(Match::named("writes").methods(&["POST", "PUT"])));
    web.enforce(
        TrafficSplit::of("by-method")
            .matching("writes")
            .backend("web-v1", 1),
    );
    let with = |method: &str| {
        web.client
            .load(Load::http("by-method").method(method).requests(100))
    };
    assert_share(&with("POST"), "web-v1", 1.0);
    assert_share(&with("PUT"), "web-v1", 1.0);
    assert_share(&with("GET"), "web-root", 1.0);
}

#[test]
fn path_method_and_header_of_one_match_must_all_hold() {
    let web = WEB.hold();
    web.root("all-of");
    web.namespace.apply(
        RouteGroup::named("all-of").or(Match::named("one")
            .path("/buy")
            .methods(&["POST"])
            .headers(json!({"x-user": "ann"}))),
    );
    web.enforce(TrafficSplit::of("all-of").matching("all-of").backend("web-v2", 1));
    let full = Load::http("all-of")
        .path("/buy")
        .method("POST")
        .header("x-user", "ann");
    assert_share(&web.client.load(full.requests(100)), "web-v2", 1.0);
    for partial in [
        Load::http("all-of")
            .path("/sell")
            .method("POST")
            .header("x-user", "ann"),
        Load::http("all-of")
            .path("/buy")
            .method("GET")
            .header("x-user", "ann"),
        Load::http("all-of")
            .path("/buy")
            .method("POST")
            .header("x-user", "bob"),
    ] {
        assert_share(&web.client.load(partial.requests(50)), "web-root", 1.0);
    }
}

#[test]
fn any_match_of_any_group_selects_and_the_weights_hold_among_the_selected() {
    let web = WEB.hold();
    web.root("any-of");
    web.namespace.apply(
        RouteGroup::named("any-a")
            .or(Match::named("beta").headers(json!({"x-beta": "yes"})))
            .or(Match::named("new").path("/new")),
    );
    web.namespace
        .apply(RouteGroup::named("any-b").or(Match::named("writes").methods(&["POST"])));
    web.enforce(
        TrafficSplit::of("any-of")
            .matching("any-a")
            .matching("any-b")
            .backend("web-v1", 3)
            .backend("web-v2", 1),
    );
    for selected in [
        Load::http("any-of").header("x-beta", "yes"),
        Load::http("any-of").path("/new"),
        Load::http("any-of").method("POST"),
    ] {
        let report = web.client.load(selected.requests(2000).connections(4));
        assert_no_failures(&report);
        assert_share(&report, "web-v1", 0.75);
        assert_share(&report, "web-v2", 0.25);
    }
    measure(&web, "any-of", &[("web-root", 1.0)]);
}

#[test]
fn a_split_with_matches_comes_before_the_one_without() {
    let web = WEB.hold();
    web.root("both");
    web.namespace
        .apply(RouteGroup::named("both").or(Match::named("beta").headers(json!({"x-beta": "yes"}))));
    web.enforce(TrafficSplit::of("both").named("both-all").backend("web-v1", 1));
    web.enforce(
        TrafficSplit::of("both")
            .named("both-beta")
            .matching("both")
            .backend("web-v2", 1),
    );
    let beta = web
        .client
        .load(Load::http("both").header("x-beta", "yes").requests(200));
    assert_share(&beta, "web-v2", 1.0);
    assert_share(&web.client.load(Load::http("both").requests(200)), "web-v1", 1.0);
}

#[test]
fn the_root_is_recognised_by_every_form_of_its_name() {
    let web = WEB.hold();
    web.root("names");
    web.enforce(TrafficSplit::of("names").backend("web-v2", 1));
    let namespace = web.namespace.name();
    for host in [
        "names".to_owned(),
        format!("names.{namespace}"),
        format!("names.{namespace}.svc"),
        format!("names.{namespace}.svc.cluster.local"),
        format!("names.{namespace}.svc.cluster.local."),
    ] {
        let report = web.client.load(Load::http(&host).requests(20));
        assert_no_failures(&report);
        assert_share(&report, "web-v2", 1.0);
    }
}

#[test]
fn the_address_that_was_dialled_decides_not_the_host_that_was_said() {
    let web = WEB.hold();
    web.root("dialled");
    web.enforce(TrafficSplit::of("dialled").backend("web-v2", 1));
    let claims = web.client.load(Load::http("web-v1").host("dialled").requests(50));
    assert_share(&claims, "web-v1", 1.0);
    let odd = web
        .client
        .load(Load::http("dialled").host("example.org").requests(50));
    assert_share(&odd, "web-v2", 1.0);
}
