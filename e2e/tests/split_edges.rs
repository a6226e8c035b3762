//! What SMI leaves open, decided: objects that are missing, conflicting, nested, edited or late.

use serde_json::json;
use smilax_e2e::objects::port;
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::{Load, Match, RouteGroup, Service, Shared, TrafficSplit, Web, Workload, assert_share};

static WEB: Shared = Shared::new("edges");

/// Who answers 200 requests to a root.
#[track_caller]
fn all_go_to(web: &Web, root: &str, backend: &str) {
    let report = web.client.load(Load::http(root).requests(200));
    assert_no_failures(&report);
    assert_share(&report, backend, 1.0);
}

/// Waits until the client's proxy sends what a split catches to exactly these Services.
#[track_caller]
fn enforces_backends(web: &Web, split: &str, backends: &[&str]) {
    web.client
        .enforces(&format!("sends split {split} to {backends:?}"), |config| {
            let routes = config
                .destinations
                .iter()
                .flat_map(|destination| &destination.ports)
                .filter(|port| port.port == 80)
                .flat_map(|port| &port.routes)
                .filter(|route| &*route.source.name == split);
            let found: Vec<&str> = routes
                .flat_map(|route| &route.backends)
                .map(|backend| &*backend.destination.name)
                .collect();
            found == backends
        });
}

#[test]
fn a_backend_may_be_named_before_it_exists_and_joins_when_it_comes() {
    let web = WEB.hold();
    web.root("early");
    let split = web.enforce(
        TrafficSplit::of("early")
            .backend("web-v1", 1)
            .backend("early-v2", 1),
    );
    let unresolved = web
        .namespace
        .await_condition(&split, "ResolvedRefs", "False", "BackendNotFound");
    assert!(unresolved.message.contains("early-v2"), "{}", unresolved.message);
    // What is missing must not hold up those who wait for the rest.
    web.namespace
        .await_condition(&split, "Accepted", "True", "Accepted");
    web.namespace.await_condition(&split, "Ready", "True", "Ready");
    let event = web.namespace.await_event(&split, "BackendNotFound");
    assert_eq!(event.kind, "Warning");
    all_go_to(&web, "early", "web-v1");

    web.namespace
        .apply(Service::named("early-v2").selecting("web-v2"));
    web.namespace
        .await_condition(&split, "ResolvedRefs", "True", "ResolvedRefs");
    enforces_backends(&web, "early", &["web-v1", "early-v2"]);
    web.client.reaches("http://early-v2/");
    let report = web.client.load(Load::http("early").requests(2000).connections(4));
    assert_no_failures(&report);
    assert_share(&report, "web-v2", 0.5);
}

#[test]
fn a_backend_that_is_deleted_under_load_leaves_its_share_to_the_others() {
    let web = WEB.hold();
    web.root("bereft");
    let backend = web
        .namespace
        .apply(Service::named("bereft-v2").selecting("web-v2"));
    web.client.reaches("http://bereft-v2/");
    let split = web.enforce(
        TrafficSplit::of("bereft")
            .backend("web-v1", 1)
            .backend("bereft-v2", 1),
    );
    let report = web.client.load(Load::http("bereft").requests(200));
    assert_share(&report, "web-v2", 0.5);
    web.namespace.delete(&backend);
    web.namespace
        .await_condition(&split, "ResolvedRefs", "False", "BackendNotFound");
    enforces_backends(&web, "bereft", &["web-v1"]);
    all_go_to(&web, "bereft", "web-v1");
}

#[test]
fn the_root_may_be_its_own_backend_and_then_means_its_own_pods() {
    let web = WEB.hold();
    web.root("itself");
    web.enforce(
        TrafficSplit::of("itself")
            .backend("itself", 3)
            .backend("web-v2", 1),
    );
    let report = web
        .client
        .load(Load::http("itself").requests(2000).connections(4));
    assert_no_failures(&report);
    assert_share(&report, "web-root", 0.75);
    assert_share(&report, "web-v2", 0.25);
}

#[test]
fn a_backend_that_is_itself_split_is_not_followed() {
    let web = WEB.hold();
    web.root("outer");
    web.root("inner");
    let outer = web.enforce(TrafficSplit::of("outer").backend("inner", 1));
    web.enforce(TrafficSplit::of("inner").backend("web-v2", 1));
    web.client.enforces_split(&outer);
    all_go_to(&web, "outer", "web-root");
    all_go_to(&web, "inner", "web-v2");
    web.namespace.await_event(&outer, "NestedSplit");
}

#[test]
fn of_two_splits_of_one_root_the_older_decides_and_the_younger_takes_over() {
    let web = WEB.hold();
    web.root("contested");
    let older = web.enforce(
        TrafficSplit::of("contested")
            .named("zz-older")
            .backend("web-v1", 1),
    );
    // Ages are compared in whole seconds, and the winner must not owe it to its name.
    let born = web.namespace.read(&older)["metadata"]["creationTimestamp"].clone();
    let younger = smilax_e2e::wait_until("a second split is younger than the first", || {
        let younger = web.namespace.apply(
            TrafficSplit::of("contested")
                .named("aa-younger")
                .backend("web-v2", 1),
        );
        let stored = web.namespace.read(&younger)["metadata"]["creationTimestamp"].clone();
        if stored == born {
            web.namespace.delete(&younger);
        }
        smilax_e2e::Progress::when(stored != born, younger, || format!("both were made at {born}"))
    });
    let lost = web
        .namespace
        .await_condition(&younger, "Accepted", "False", "Conflicted");
    assert!(lost.message.contains("zz-older"), "{}", lost.message);
    web.namespace
        .await_condition(&younger, "Ready", "False", "Conflicted");
    web.namespace
        .await_condition(&older, "Accepted", "True", "Accepted");
    assert_eq!(web.namespace.await_event(&younger, "Conflicted").kind, "Warning");
    all_go_to(&web, "contested", "web-v1");

    web.namespace.delete(&older);
    web.namespace
        .await_condition(&younger, "Accepted", "True", "Accepted");
    web.client.enforces_split(&younger);
    all_go_to(&web, "contested", "web-v2");
}

#[test]
fn a_backend_that_lacks_a_port_of_the_root_is_left_out_for_that_port_alone() {
    let web = WEB.hold();
    web.namespace.apply(
        Service::named("ports")
            .selecting("web-root")
            .port("http", 80, port::HTTP)
            .port("http-more", 81, port::GRPC),
    );
    web.namespace.apply(
        Service::named("ports-v1")
            .selecting("web-v1")
            .port("http", 80, port::HTTP),
    );
    web.namespace.apply(
        Service::named("ports-v2")
            .selecting("web-v2")
            .port("http", 80, port::GRPC)
            .port("http-more", 81, port::HTTP),
    );
    for url in [
        "http://ports/",
        "http://ports:81/",
        "http://ports-v1/",
        "http://ports-v2:81/",
    ] {
        web.client.reaches(url);
    }
    let split = web.enforce(
        TrafficSplit::of("ports")
            .backend("ports-v1", 1)
            .backend("ports-v2", 1),
    );
    let unresolved = web
        .namespace
        .await_condition(&split, "ResolvedRefs", "False", "PortMismatch");
    assert!(unresolved.message.contains("81"), "{}", unresolved.message);
    // On the port that both have, each backend's own targetPort counts.
    let both = web.client.load(Load::http("ports").requests(2000).connections(4));
    assert_no_failures(&both);
    assert_share(&both, "web-v1", 0.5);
    let one = web.client.load(Load::to("http://ports:81/").requests(200));
    assert_no_failures(&one);
    assert_share(&one, "web-v2", 1.0);
}

#[test]
fn the_share_of_a_backend_without_endpoints_is_answered_with_503() {
    let web = WEB.hold();
    web.root("hollow");
    web.namespace.apply(Service::named("nobody"));
    let split = web.enforce(
        TrafficSplit::of("hollow")
            .backend("web-v1", 3)
            .backend("nobody", 1),
    );
    web.namespace.await_event(&split, "NoReadyEndpoints");
    // A node tells of missing endpoints at most once a second for each address, so an answer may take that long.
    let load = Load::http("hollow")
        .requests(400)
        .connections(16)
        .timeout_ms(8000);
    let report = web.client.load(load);
    assert_eq!(report.requests, 400);
    assert_eq!(
        report
            .failures
            .iter()
            .map(|one| one.kind.as_str())
            .collect::<Vec<_>>(),
        ["status-503"],
        "{report:?}"
    );
    let unavailable = i64::try_from(report.failed()).unwrap();
    // A quarter of 400, within three sigma.
    assert!(
        (unavailable - 100).abs() <= 26,
        "{unavailable} of 400 were answered with 503"
    );
    assert_share(&report, "web-v1", 1.0);
}

#[test]
fn a_split_waits_for_its_root_to_exist() {
    let web = WEB.hold();
    let split = web
        .namespace
        .apply(TrafficSplit::of("rootless").backend("web-v2", 1));
    web.namespace
        .await_condition(&split, "ResolvedRefs", "False", "RootNotFound");
    web.root("rootless");
    web.namespace
        .await_condition(&split, "ResolvedRefs", "True", "ResolvedRefs");
    web.client.enforces_split(&split);
    all_go_to(&web, "rootless", "web-v2");
}

#[test]
fn a_split_that_moves_to_another_root_lets_go_of_the_first() {
    let web = WEB.hold();
    web.root("from");
    web.root("to");
    web.enforce(TrafficSplit::of("from").named("moving").backend("web-v1", 1));
    all_go_to(&web, "from", "web-v1");
    web.enforce(TrafficSplit::of("to").named("moving").backend("web-v1", 1));
    all_go_to(&web, "from", "web-root");
    all_go_to(&web, "to", "web-v1");
}

#[test]
fn a_group_that_is_missing_selects_nothing_until_it_comes() {
    let web = WEB.hold();
    // Matches select nothing on ports that do not carry HTTP, which a split with matches says of itself.
    let http_only = Service::named("groupless")
        .selecting("web-root")
        .port("http", 80, port::HTTP);
    web.namespace.apply(http_only);
    web.client.reaches("http://groupless/");
    let split = web.namespace.apply(
        TrafficSplit::of("groupless")
            .matching("late")
            .backend("web-v2", 1),
    );
    web.namespace
        .await_condition(&split, "ResolvedRefs", "False", "RouteGroupNotFound");
    all_go_to(&web, "groupless", "web-root");
    web.namespace
        .apply(RouteGroup::named("late").or(Match::named("beta").headers(json!({"x-beta": "yes"}))));
    web.namespace
        .await_condition(&split, "ResolvedRefs", "True", "ResolvedRefs");
    web.client.enforces_split(&split);
    let beta = web
        .client
        .load(Load::http("groupless").header("x-beta", "yes").requests(100));
    assert_share(&beta, "web-v2", 1.0);
    all_go_to(&web, "groupless", "web-root");
}

#[test]
fn the_address_of_a_pod_passes_by_every_split() {
    let web = WEB.hold();
    web.root("bypassed");
    web.enforce(TrafficSplit::of("bypassed").backend("web-v2", 1));
    let pod = web.namespace.pod("web-root");
    let address = pod["status"]["podIP"].as_str().unwrap();
    let url = format!("http://{}:{}/", bracketed(address), port::HTTP);
    let report = web.client.load(Load::to(&url).host("bypassed").requests(50));
    assert_no_failures(&report);
    assert_share(&report, "web-root", 1.0);
}

#[test]
fn a_backend_that_scales_to_nothing_and_back_gets_its_share_again() {
    let web = WEB.hold();
    web.root("tide");
    web.namespace.apply(Service::named("tide-v2"));
    web.namespace.apply(Workload::deployment("tide-v2").replicas(0));
    let split = web.enforce(
        TrafficSplit::of("tide")
            .backend("web-v1", 1)
            .backend("tide-v2", 1),
    );
    web.namespace.await_event(&split, "NoReadyEndpoints");
    let kubectl = web.namespace.kubectl();
    kubectl
        .run(&["scale", "deployment/tide-v2", "--replicas=1"])
        .unwrap();
    web.namespace.ready(&["deployment/tide-v2"]);
    web.client.reaches("http://tide-v2/");
    let report = web.client.load(Load::http("tide").requests(2000).connections(4));
    assert_no_failures(&report);
    assert_share(&report, "tide-v2", 0.5);
}

#[test]
fn a_root_of_another_namespace_is_refused_or_reported() {
    let web = WEB.hold();
    let split = TrafficSplit::of("web.elsewhere.svc.cluster.local")
        .named("foreign")
        .backend("web-v1", 1);
    // Whether admission or the compiler says so, somebody must.
    let object = smilax_e2e::Object::from(split);
    match web
        .namespace
        .kubectl()
        .feed(&["apply", "--filename=-"], &object.0)
    {
        Ok(_) => {
            web.namespace
                .await_condition(&object, "Accepted", "False", "NamespaceMismatch");
        }
        Err(error) => assert!(error.stderr.contains("spec.service"), "{error}"),
    }
}

fn bracketed(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}
