//! What proxies have without the operator's stream comes by kubelet.

use std::time::{Duration, Instant};

use smilax_core::convention::POLICY_KEY;
use smilax_e2e::disrupt::{Cluster, slow};
use smilax_e2e::wait::wait_within;
use smilax_e2e::{Object, Progress, TrafficSplit};

use crate::WEB;

/// Volume of a pod's configuration.
const VOLUME: &str = "smilax-config";

#[test]
fn a_change_is_in_the_mount_within_the_kubelets_period() {
    if !slow() {
        eprintln!("SKIPPED: measuring the kubelet's default period takes minutes; SMILAX_E2E_SLOW=1 runs it");
        return;
    }
    let web = WEB.hold();
    let Some(cluster) = Cluster::of(&web.mesh, "setting the kubelets' syncFrequency") else {
        return;
    };
    web.root("delayed");
    cluster.kubelet_sync("1m");
    let pod = web.namespace.pod("client");
    let mut delays = Vec::new();
    for weight in 1..=4 {
        let start = Instant::now();
        let split = web
            .namespace
            .apply(TrafficSplit::of("delayed").backend("web-v1", weight));
        let generation = generation(&split);
        wait_within(Duration::from_mins(3), "the mount holds it", || {
            let policy = cluster.mounted(&pod, VOLUME, POLICY_KEY).unwrap_or_default();
            let config = smilax_core::decode(policy.as_bytes());
            let sources = config.iter().flat_map(|config| &config.destinations);
            let sources = sources.flat_map(|destination| &destination.ports);
            let mut sources = sources.flat_map(|port| &port.routes).map(|route| &route.source);
            let holds = sources.any(|source| *source.name == *"delayed" && source.generation == generation);
            Progress::when(holds, (), || {
                format!("{:?}", config.map(|config| config.revision))
            })
        });
        delays.push(start.elapsed().as_secs());
    }
    cluster.kubelet_sync("2s");
    println!("seconds from kubectl apply to the mount with the default period of 60 s: {delays:?}");
    // kubelet syncs a pod after one period and up to a half of it more, and each change here comes right after a sync.
    assert!(delays.iter().all(|seconds| *seconds <= 100), "{delays:?}");
}

fn generation(object: &Object) -> i64 {
    object.0["metadata"]["generation"].as_i64().unwrap_or_default()
}
