//! Policy and endpoints take hold at once, and `Programmed` says when.

use serde_json::json;
use smilax_e2e::api::{Api, now_ms};
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::{Load, Shared, TrafficSplit, Workload};

static WEB: Shared = Shared::new("live");

const CHANGES: u64 = 50;

#[test]
fn fifty_changes_under_load_are_enforced_when_programmed_says_so_and_no_request_fails() {
    let web = WEB.hold();
    web.root("turning");
    let split = web.enforce(
        TrafficSplit::of("turning")
            .backend("web-v1", 1)
            .backend("web-v2", 0),
    );
    web.namespace
        .await_condition(&split, "Programmed", "True", "Programmed");
    let api = Api::open(web.namespace.kubectl());
    let background = web.client.start(Load::http("turning").rate(500).connections(16));
    background.goes_on(500);
    let mut changes = Vec::new();
    for change in 1..=CHANGES {
        let (one, other) = (u64::from(change % 2 == 0), change % 2);
        let backends = json!([{"service": "web-v1", "weight": one}, {"service": "web-v2", "weight": other}]);
        let written = api.patch_split(
            web.namespace.name(),
            &split,
            &json!({"spec": {"backends": backends}}),
        );
        web.namespace
            .await_condition(&split, "Programmed", "True", "Programmed");
        changes.push((
            written,
            now_ms(),
            if change % 2 == 0 { "web-v1" } else { "web-v2" },
        ));
    }
    background.goes_on(100);
    let report = background.stop();
    assert_no_failures(&report);
    let mut lags = Vec::new();
    for (index, (written, programmed, backend)) in changes.iter().enumerate() {
        let next = changes.get(index + 1).map_or(u64::MAX, |(written, ..)| *written);
        // Requests that were under way while this change was the newest.
        let turns = report.turns.iter().filter(|turn| {
            let (due, answered) = (turn.due_at_ms, turn.answered_at_ms);
            report.began_at_ms + answered >= *written && report.began_at_ms + due < next
        });
        let late = turns
            .clone()
            .find(|turn| turn.backend != *backend && report.began_at_ms + turn.due_at_ms > programmed + 1);
        assert!(
            late.is_none(),
            "change {index}, written at {written}, was Programmed at {programmed}, and a request that was due {:?} ms after that went elsewhere: {late:?}",
            late.map(|turn| report.began_at_ms + turn.due_at_ms - programmed)
        );
        let enforced = turns
            .filter(|turn| turn.backend == *backend)
            .map(|turn| report.began_at_ms + turn.answered_at_ms)
            .max();
        let Some(enforced) = enforced else {
            panic!("change {index} to {backend} was never seen: {:?}", report.turns);
        };
        lags.push(enforced.saturating_sub(*written));
    }
    lags.sort_unstable();
    let at = |part: usize| lags[(lags.len() - 1) * part / 100];
    println!(
        "milliseconds from the write to the last answer under the old weights, {CHANGES} changes at 500 requests/s: p50 {}, p99 {}, max {}",
        at(50),
        at(99),
        at(100)
    );
}

#[test]
fn a_backend_whose_pods_are_replaced_one_by_one_fails_no_request() {
    let web = WEB.hold();
    web.namespace.apply(smilax_e2e::Service::named("rolled"));
    web.namespace.apply(Workload::deployment("rolled").replicas(3));
    web.namespace.ready(&["deployment/rolled"]);
    web.client.reaches("http://rolled/");
    let background = web.client.start(Load::http("rolled").rate(500).connections(16));
    background.goes_on(500);
    for _ in 0..2 {
        let kubectl = web.namespace.kubectl();
        kubectl.run(&["rollout", "restart", "deployment/rolled"]).unwrap();
        web.namespace.ready(&["deployment/rolled"]);
    }
    background.goes_on(1000);
    let report = background.stop();
    assert_no_failures(&report);
    assert!(
        report.by_pod.len() >= 9,
        "not every pod was used: {:?}",
        report.by_pod
    );
}
