//! A request that a pod could not take is taken by another one, although nobody says which pods are left.

use std::time::{Duration, Instant};

use smilax_e2e::disrupt::{Cluster, OperatorStopped};
use smilax_e2e::namespace::must;
use smilax_e2e::wait::pause;
use smilax_e2e::{Ending, Following, Inject, Load, Mesh, Namespace, Service, Workload};

/// Operators are stopped for so long: long enough that their streams stand still when pods go, and come.
const STOPPED: Duration = Duration::from_secs(15);

#[test]
fn of_pods_that_are_deleted_while_the_operators_are_stopped_only_the_requests_inside_are_lost() {
    let mesh = Mesh::connect();
    let Some(cluster) = Cluster::of(&mesh, "stopping operators") else {
        return;
    };
    let namespace = Namespace::fresh(&mesh, "handover", Inject::Enabled);
    namespace.apply(Service::named("web"));
    let web = Workload::deployment("web")
        .replicas(3)
        .argument("--latency-ms=20")
        .argument("--on-sigterm=exit");
    namespace.apply(web);
    let client = namespace.client("client");
    namespace.ready(&["deployment/web"]);
    client.secures("web");
    client.reaches("http://web/");
    let load = Load::http("web")
        .rate(300)
        .connections(32)
        .timeout_ms(15_000)
        .open_loop(2020);
    let background = client.start(load);
    background.goes_on(900);

    let mut deleted = namespace.pods("web");
    deleted.truncate(2);
    let names: Vec<&str> = deleted
        .iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .collect();
    let logs: Vec<Following> = names
        .iter()
        .map(|name| Following::begin(namespace.kubectl(), name))
        .collect();
    let from = Instant::now();
    let stopped = OperatorStopped::begin(&mesh, &cluster);
    let mut arguments = vec!["delete", "pods", "--wait=false"];
    arguments.extend(&names);
    must(namespace.kubectl().run(&arguments));
    pause(STOPPED.saturating_sub(from.elapsed()));
    drop(stopped);
    mesh.available();
    background.goes_on(300);
    let report = background.stop();

    let inside: u64 = logs
        .into_iter()
        .map(|log| {
            let lines = log.end();
            let ending = lines
                .iter()
                .find_map(|line| serde_json::from_str::<Ending>(line).ok());
            ending
                .unwrap_or_else(|| panic!("a pod did not say what it held: {lines:?}"))
                .in_flight
        })
        .sum();
    assert!(
        report.failed() <= inside,
        "{} of {} requests were lost and {inside} were inside of the applications: {:?}",
        report.failed(),
        report.requests,
        report.failures
    );
    let hung: u64 = report.timeline.iter().map(|window| window.hung).sum();
    assert_eq!(hung, 0, "requests hung; the longest took {} us", report.max_us);
}
