//! Flagger and Argo Rollouts shift traffic: their own code writes the TrafficSplits, in every version that they know.

use smilax_e2e::progressive::Tool;
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::{Load, Service, Shared, TrafficSplit, Web, assert_share};

static WEB: Shared = Shared::new("progressive");

/// Shifts the traffic of an application of its own step by step, and measures after each.
#[track_caller]
fn a_release(tool: Tool, application: &str) {
    let web = WEB.hold();
    web.root(application);
    let [stable, canary] = tool.services(application);
    web.namespace.apply(Service::named(&stable).selecting("web-v1"));
    web.namespace.apply(Service::named(&canary).selecting("web-v2"));
    for weight in [0, 10, 50, 100] {
        tool.shift(&web.namespace, application, weight);
        programmed(&web, application);
        let report = web
            .client
            .load(Load::http(application).requests(2000).connections(4));
        assert_no_failures(&report);
        let share = f64::from(weight) / 100.0;
        assert_share(&report, "web-v1", 1.0 - share);
        assert_share(&report, "web-v2", share);
    }
}

/// Waits until every proxy enforces what the tool wrote.
#[track_caller]
fn programmed(web: &Web, application: &str) {
    let split = TrafficSplit::of(application).into();
    web.namespace
        .await_condition(&split, "Programmed", "True", "Programmed");
    web.client.enforces_split(&split);
}

#[test]
fn flagger_shifts_traffic_by_v1alpha1() {
    a_release(Tool::Flagger("v1alpha1"), "flagger-one");
}

#[test]
fn flagger_shifts_traffic_by_v1alpha2() {
    a_release(Tool::Flagger("v1alpha2"), "flagger-two");
}

#[test]
fn flagger_shifts_traffic_by_v1alpha3() {
    a_release(Tool::Flagger("v1alpha3"), "flagger-three");
}

#[test]
fn argo_rollouts_shifts_traffic_by_v1alpha1() {
    a_release(Tool::ArgoRollouts("v1alpha1"), "argo-one");
}

#[test]
fn argo_rollouts_shifts_traffic_by_v1alpha2() {
    a_release(Tool::ArgoRollouts("v1alpha2"), "argo-two");
}

#[test]
fn argo_rollouts_shifts_traffic_by_v1alpha3() {
    a_release(Tool::ArgoRollouts("v1alpha3"), "argo-three");
}
