//! Where a Service asks for it, callers prefer what is near.

use serde_json::json;
use smilax_e2e::namespace::must;
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::{Kubectl, Load, Mesh, Object, Progress, Service, Workload, assert_share, wait_until};

use crate::WEB;

const ZONE: &str = "topology.kubernetes.io/zone";

/// Nodes that are in zones until this is dropped.
struct Zones {
    kubectl: Kubectl,
    nodes: Vec<String>,
}

impl Zones {
    /// Puts each node into a zone of its own, named like it.
    fn of(mesh: &Mesh) -> Self {
        let kubectl = mesh.kubectl().clone();
        let all = must(kubectl.list(&["nodes"]));
        let names = all.iter().filter_map(|node| node["metadata"]["name"].as_str());
        let zones = Self {
            nodes: names.map(str::to_owned).collect(),
            kubectl,
        };
        for node in &zones.nodes {
            zones.label(node, &format!("{ZONE}={node}"));
        }
        zones
    }

    fn label(&self, node: &str, label: &str) {
        must(self.kubectl.run(&["label", "node", node, "--overwrite", label]));
    }
}

impl Drop for Zones {
    fn drop(&mut self) {
        for node in &self.nodes {
            self.label(node, &format!("{ZONE}-"));
        }
    }
}

fn on(node: &str, workload: Workload) -> Workload {
    workload.pod_spec(json!({"nodeSelector": {"kubernetes.io/hostname": node}}))
}

#[test]
fn requests_stay_in_the_callers_zone_where_the_service_prefers_that() {
    let web = WEB.hold();
    let zones = Zones::of(&web.mesh);
    let [near, far] = &zones.nodes[..] else {
        eprintln!(
            "SKIPPED: zones need two nodes, and there are {}",
            zones.nodes.len()
        );
        return;
    };
    // The slices' controller knows the zones before there are endpoints.
    let namespace = &web.namespace;
    for (name, node) in [("here", near), ("there", far)] {
        namespace.apply(on(node, Workload::deployment(name)).label("serves", "zoned"));
    }
    namespace.apply(on(near, Workload::deployment("zoned-caller")));
    namespace.ready(&["deployment/here", "deployment/there", "deployment/zoned-caller"]);
    let mut service = Object::from(Service::named("zoned"));
    service.0["spec"]["selector"] = json!({"serves": "zoned"});
    service.0["spec"]["trafficDistribution"] = json!("PreferClose");
    namespace.apply(service);
    wait_until("endpoints are meant for zones", || {
        let slices = must(
            namespace
                .kubectl()
                .list(&["endpointslices", "--selector=kubernetes.io/service-name=zoned"]),
        );
        let endpoints: Vec<_> = slices
            .iter()
            .flat_map(|slice| slice["endpoints"].as_array().cloned().unwrap_or_default())
            .collect();
        let hinted = endpoints.iter().all(|one| one["hints"]["forZones"].is_array());
        Progress::when(hinted && endpoints.len() == 2, (), || format!("{endpoints:?}"))
    });
    let caller = smilax_e2e::Client::of(namespace, "zoned-caller", "default");
    caller.reaches("http://zoned/");
    // The first requests go to the virtual address, until endpoints were told.
    wait_until("all requests stay in the zone", || {
        let report = caller.load(Load::http("zoned").requests(100).connections(2));
        let elsewhere = report.by_backend.get("there").copied().unwrap_or_default();
        Progress::when(elsewhere == 0, (), || {
            format!("{elsewhere} of 100 went elsewhere")
        })
    });
    let report = caller.load(Load::http("zoned").requests(1000).connections(4));
    assert_no_failures(&report);
    assert_share(&report, "here", 1.0);

    for name in ["here", "there", "zoned-caller"] {
        must(
            namespace
                .kubectl()
                .run(&["delete", &format!("deployment/{name}")]),
        );
    }
    must(namespace.kubectl().run(&["delete", "service/zoned"]));
}
