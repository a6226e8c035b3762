//! Another replica comes to lead: whatever was said stays said, and nothing is said twice.

use std::time::Duration;

use serde_json::json;
use smilax_e2e::disrupt::slow;
use smilax_e2e::mesh::OPERATOR;
use smilax_e2e::namespace::must;
use smilax_e2e::wait::{stays, wait_until};
use smilax_e2e::watching::Watching;
use smilax_e2e::{Mesh, Namespace, Object, Progress, TrafficSplit};

use crate::UnderLoad;

/// How often Events with this reason were told about an object.
fn told(namespace: &Namespace, object: &Object, reason: &str) -> u64 {
    let name = format!(
        "--field-selector=involvedObject.name={},reason={reason}",
        object.name()
    );
    let events = must(namespace.kubectl().list(&["events", &name]));
    let times = |count: &serde_json::Value| count.as_u64().unwrap_or(1).max(1);
    events
        .iter()
        .map(|event| times(&event["count"]).max(times(&event["series"]["count"])))
        .sum()
}

/// Makes the leader go, waits until another replica leads and has written, and holds what is promised meanwhile. How long
/// it took until another led.
#[track_caller]
fn follows(root: &'static str, go: impl FnOnce(&Mesh, &str)) -> Duration {
    let load = UnderLoad::begin(root);
    let (namespace, mesh) = (&load.web.namespace, &load.web.mesh);
    namespace.await_condition(&load.split(), "Programmed", "True", "Programmed");
    let wanting = format!("{root}-wanting");
    load.web.root(&wanting);
    let wanting = namespace.apply(
        TrafficSplit::of(&wanting)
            .backend("web-v1", 1)
            .backend("nobody", 1),
    );
    namespace.await_event(&wanting, "BackendNotFound");
    namespace.await_condition(&wanting, "Programmed", "True", "Programmed");
    let objects = [&load.split(), &wanting].map(|object| Watching::begin(namespace.kubectl(), object));
    let lease = Object(json!({"kind": "Lease", "metadata": {"name": OPERATOR}}));
    let lease = Watching::begin(&mesh.operator(), &lease);

    let leader = mesh.leader();
    let start = std::time::Instant::now();
    go(mesh, &leader);
    let after = wait_until("another replica leads", || {
        let versions = lease.versions();
        let other = versions.iter().find(|version| {
            let holder = version.object["spec"]["holderIdentity"]
                .as_str()
                .unwrap_or_default();
            !holder.is_empty() && holder != leader
        });
        match other {
            Some(version) => Progress::Done(version.at.saturating_duration_since(start)),
            None => Progress::Pending(format!("{leader} leads")),
        }
    });
    mesh.available();
    // Whatever a new leader has to say of what it finds, it has said before it has done what came later.
    let later = format!("{root}-later");
    load.web.root(&later);
    let later = load.web.enforce(TrafficSplit::of(&later).backend("web-v1", 1));
    namespace.await_condition(&later, "Programmed", "True", "Programmed");
    // Until it has led for a minute, it leaves what is stored as it is.
    let window = Duration::from_secs(if slow() { 70 } else { 10 });
    stays(window, "no condition flaps", || {
        let flaps: Vec<String> = objects.iter().flat_map(Watching::flaps).collect();
        Progress::when(flaps.is_empty(), (), || format!("{flaps:?}"))
    });
    assert_eq!(
        told(namespace, &wanting, "BackendNotFound"),
        1,
        "an Event was told again"
    );
    for object in [&wanting, &later] {
        namespace.delete(object);
    }
    load.end();
    after
}

#[test]
fn a_leader_that_is_deleted_by_force_is_followed_and_no_status_flaps_and_no_event_is_told_twice() {
    let after = follows("deleted", |mesh, leader| {
        let replicas = ["pods", "--selector=app.kubernetes.io/name=smilax-operator"];
        let pods = must(mesh.operator().list(&replicas));
        let mut names = pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str());
        let pod = names.find(|name| leader.contains(name)).unwrap_or_default();
        must(
            mesh.operator()
                .run(&["delete", "pod", pod, "--grace-period=0", "--force"]),
        );
    });
    println!(
        "deleted by force: another replica leads after {:.1} s",
        after.as_secs_f64()
    );
}

#[test]
fn a_leader_that_is_replaced_by_a_rollout_hands_over_and_no_status_flaps_and_no_event_is_told_twice() {
    let after = follows("rolled", |mesh, _| {
        let operator = format!("deployment/{OPERATOR}");
        must(mesh.operator().run(&["rollout", "restart", &operator]));
    });
    println!(
        "rolled out: another replica leads after {:.1} s",
        after.as_secs_f64()
    );
}
