//! Which pods get the requests, while all are well and while some are not.

use std::collections::BTreeMap;

use smilax_e2e::share::assert_no_failures;
use smilax_e2e::{Inject, Load, Mesh, Namespace, Service, Workload};

/// Rounds, each with a new connection of the client.
const ROUNDS: u32 = 20;
/// Requests of a round, one after the other.
const REQUESTS: u64 = 200;

#[test]
fn equal_pods_get_even_shares_of_sequential_requests() {
    let mesh = Mesh::connect();
    let namespace = Namespace::fresh(&mesh, "even", Inject::Enabled);
    namespace.apply(Service::named("web"));
    namespace.apply(Workload::deployment("web").replicas(2));
    let client = namespace.client("client");
    namespace.ready(&["deployment/web"]);
    client.secures("web");
    client.reaches("http://web/");

    let rounds: Vec<BTreeMap<String, u64>> = (0..ROUNDS)
        .map(|_| {
            let report = client.load(Load::http("web").requests(REQUESTS));
            assert_no_failures(&report);
            report.by_pod
        })
        .collect();
    // 35 to 65 %.
    let even = REQUESTS * 35 / 100..=REQUESTS * 65 / 100;
    let uneven: Vec<_> = rounds
        .iter()
        .filter(|round| round.len() != 2 || !round.values().all(|count| even.contains(count)))
        .collect();
    assert!(
        uneven.is_empty(),
        "{} of {ROUNDS} rounds gave one of two equal pods less than 35 % of {REQUESTS} requests: {uneven:?}",
        uneven.len()
    );
}
