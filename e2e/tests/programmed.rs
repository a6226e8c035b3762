//! An object says that it is programmed when every proxy that holds it enforces it, and not before.

use smilax_e2e::namespace::must;
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::status::condition;
use smilax_e2e::wait::{PATIENCE, wait_within};
use smilax_e2e::{Load, Object, Progress, Shared, TrafficSplit, Web, Workload, assert_share};

static WEB: Shared = Shared::new("programmed");

/// Waits until a split is programmed; how many proxies enforce its generation, of how many.
#[track_caller]
fn programmed(web: &Web, split: &Object) -> (u64, u64) {
    let found = web
        .namespace
        .await_condition(split, "Programmed", "True", "Programmed");
    let expected = format!("generation {} enforced by ", found.observed_generation);
    let counts = found
        .message
        .strip_prefix(&expected)
        .and_then(|rest| rest.strip_suffix(" proxies"))
        .and_then(|counts| counts.split_once('/'))
        .and_then(|(enforced, of)| Some((enforced.parse().ok()?, of.parse().ok()?)));
    assert!(counts.is_some(), "{:?} tells no count", found.message);
    counts.unwrap_or_default()
}

#[test]
fn traffic_sent_after_a_split_is_programmed_follows_it_without_exception() {
    let web = WEB.hold();
    web.root("switched");
    for (to, weights) in [("web-v1", [100, 0]), ("web-v2", [0, 100]), ("web-v1", [100, 0])] {
        let split = web.namespace.apply(
            TrafficSplit::of("switched")
                .backend("web-v1", weights[0])
                .backend("web-v2", weights[1]),
        );
        programmed(&web, &split);
        let report = web
            .client
            .load(Load::http("switched").requests(500).connections(4));
        assert_no_failures(&report);
        assert_share(&report, to, 1.0);
    }
}

#[test]
fn a_split_is_enforced_by_every_proxy_of_its_namespace() {
    let web = WEB.hold();
    web.root("counted");
    let split = web
        .namespace
        .apply(TrafficSplit::of("counted").backend("web-v1", 1));
    let (enforced, of) = programmed(&web, &split);
    assert_eq!(enforced, of);
    // Three servers and a client, and what other tests of this file have made.
    assert!(of >= 4, "{of} proxies");
}

#[test]
fn pods_that_are_made_later_count_and_do_not_undo_what_was_true() {
    let web = WEB.hold();
    web.root("scaled");
    let split = web
        .namespace
        .apply(TrafficSplit::of("scaled").backend("web-v1", 1));
    let (_, before) = programmed(&web, &split);
    web.namespace.apply(Workload::deployment("more").replicas(2));
    web.namespace.ready(&["deployment/more"]);
    // Another count alone is written once a minute.
    wait_within(2 * PATIENCE, "the new pods are counted", || {
        let object = web.namespace.read(&split);
        let found = condition(&object, "Programmed").unwrap_or_default();
        assert_eq!(found.status, "True", "it was undone: {}", found.message);
        let all = format!(
            "generation 1 enforced by {count}/{count} proxies",
            count = before + 2
        );
        Progress::when(found.message == all, (), || found.message.clone())
    });
    must(web.namespace.kubectl().run(&["delete", "deployment/more"]));
}
