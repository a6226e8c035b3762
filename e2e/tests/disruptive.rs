//! Traffic and policy outlive what happens to the mesh itself. These tests disturb the whole cluster: alone, one by one.

#[path = "disruptive/earlier.rs"]
mod earlier;
#[path = "disruptive/hand_over.rs"]
mod hand_over;
#[path = "disruptive/kubelet.rs"]
mod kubelet;
#[path = "disruptive/leaders.rs"]
mod leaders;
#[path = "disruptive/rollout.rs"]
mod rollout;
#[path = "disruptive/zones.rs"]
mod zones;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use smilax_e2e::client::Background;
use smilax_e2e::disrupt::{Cluster, Helm, OperatorAway, container_status, slow};
use smilax_e2e::fixture::Hold;
use smilax_e2e::mesh::OPERATOR;
use smilax_e2e::namespace::must;
use smilax_e2e::share::assert_no_failures;
use smilax_e2e::wait::{stays, wait_within};
use smilax_e2e::{
    Client, Load, Mesh, Object, Progress, Shared, SplitVersion, TrafficSplit, Workload, assert_share,
    wait_until,
};

static WEB: Shared = Shared::new("disruptive");

/// A mesh under load: a root of its own that is split half and half, and a client that calls it all the time.
struct UnderLoad {
    web: Hold,
    root: &'static str,
    background: Background,
}

impl UnderLoad {
    fn begin(root: &'static str) -> Self {
        let web = WEB.hold();
        web.root(root);
        web.enforce(TrafficSplit::of(root).backend("web-v1", 1).backend("web-v2", 1));
        let background = web.client.start(Load::http(root).rate(100).connections(4));
        background.goes_on(100);
        Self {
            web,
            root,
            background,
        }
    }

    /// The split, for a look at its status.
    fn split(&self) -> Object {
        Object::from(TrafficSplit::of(self.root))
    }

    /// Holds that a client's requests are split as asked, without a failure.
    #[track_caller]
    fn is_split(&self, client: &Client) {
        let report = client.load(Load::http(self.root).requests(2000).connections(4));
        assert_no_failures(&report);
        assert_share(&report, "web-v1", 0.5);
    }

    /// Holds that nothing failed, and that policy can be changed again.
    #[track_caller]
    fn end(self) {
        self.background.goes_on(100);
        assert_no_failures(&self.background.look());
        self.web.enforce(TrafficSplit::of(self.root).backend("web-v2", 1));
        let report = self.web.client.load(Load::http(self.root).requests(200));
        assert_share(&report, "web-v2", 1.0);
        assert_no_failures(&self.background.stop());
        self.web
            .namespace
            .delete(&Object::from(TrafficSplit::of(self.root)));
    }
}

/// Versions of everything that the mesh writes, by reference.
fn versions(mesh: &Mesh) -> BTreeMap<String, String> {
    let kinds = "configmaps,trafficsplits,httproutegroups,traffictargets,validatingwebhookconfigurations,\
                 mutatingwebhookconfigurations,customresourcedefinitions";
    let labelled = "--selector=app.kubernetes.io/part-of=smilax";
    let ours = must(mesh.kubectl().list(&[kinds, "--all-namespaces", labelled]));
    let smi = must(
        mesh.kubectl()
            .list(&["trafficsplits,httproutegroups", "--all-namespaces"]),
    );
    let secrets = must(mesh.operator().list(&["secrets"]));
    ours.iter()
        .chain(&smi)
        .chain(&secrets)
        .map(|object| {
            let meta = &object["metadata"];
            let name = format!("{}/{}/{}", object["kind"], meta["namespace"], meta["name"]);
            (name, meta["resourceVersion"].to_string())
        })
        .collect()
}

fn differences(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let keys = before.keys().chain(after.keys());
    let mut changed: Vec<String> = keys
        .filter(|key| before.get(*key) != after.get(*key))
        .cloned()
        .collect();
    changed.dedup();
    changed
}

#[track_caller]
fn nothing_is_written(mesh: &Mesh, before: &BTreeMap<String, String>, during: Duration) {
    stays(during, "the mesh writes nothing", || {
        let changed = differences(before, &versions(mesh));
        Progress::when(changed.is_empty(), (), || format!("written: {changed:?}"))
    });
}

#[test]
fn while_the_operator_is_away_traffic_goes_on_and_a_killed_proxy_comes_back_with_its_policy() {
    let load = UnderLoad::begin("away");
    let web = &load.web;
    let second = web.namespace.client("second");
    second.enforces_split(&load.split());
    let away = OperatorAway::begin(&web.mesh);
    load.background.goes_on(200);

    if let Some(cluster) = Cluster::of(&web.mesh, "killing a proxy in place") {
        let pod = web.namespace.pod("second");
        let restarts = |pod: &Value| container_status(pod, "smilax-proxy")["restartCount"].as_u64();
        let before = restarts(&pod);
        cluster.kill(&pod, "smilax-proxy");
        wait_until("the proxy runs again", || {
            let pod = web.namespace.pod("second");
            let status = container_status(&pod, "smilax-proxy");
            let again = restarts(&pod) > before && status["ready"] == true;
            Progress::when(again, (), || status.to_string())
        });
        load.is_split(&second);
    }

    load.background.goes_on(200);
    away.end();
    load.end();
}

#[test]
fn with_failure_policy_ignore_a_pod_that_is_made_while_the_operator_is_away_is_reported_later() {
    let web = WEB.hold();
    let helm = Helm::of(&web.mesh);
    helm.upgrade(&["injector.failurePolicy=Ignore"]);
    web.mesh.available();
    let away = OperatorAway::begin(&web.mesh);
    web.namespace.apply(Workload::deployment("meanwhile"));
    web.namespace.ready(&["deployment/meanwhile"]);
    let pod = Object(web.namespace.pod("meanwhile"));
    assert!(pod.0["spec"]["initContainers"].is_null(), "who injected it?");
    away.end();
    let pod = Object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod.name()}}));
    let event = web.namespace.await_event(&pod, "NotInjected");
    assert_eq!(event.kind, "Warning");
    helm.upgrade(&["injector.failurePolicy=Fail"]);
    web.mesh.available();
}

#[test]
fn while_the_operator_is_away_a_pod_is_refused_rather_than_left_uninjected() {
    let web = WEB.hold();
    let away = OperatorAway::begin(&web.mesh);
    let refusal = web.namespace.refused(Workload::pod("refused"));
    assert!(refusal.contains("inject.smilax.dev"), "{refusal}");
    away.end();
    wait_until("pods are taken again", || {
        let object = Object::from(Workload::pod("taken"));
        match web
            .namespace
            .kubectl()
            .feed(&["apply", "--filename=-"], &object.0)
        {
            Ok(_) => Progress::Done(()),
            Err(error) => Progress::Pending(error.to_string()),
        }
    });
}

#[test]
fn an_operator_that_is_restarted_writes_nothing_when_nothing_changed() {
    let load = UnderLoad::begin("restart");
    let mesh = &load.web.mesh;
    let split = load.split();
    load.web
        .namespace
        .await_condition(&split, "Programmed", "True", "Programmed");
    let before = settled(mesh);
    let leader = mesh.leader();
    must(
        mesh.operator()
            .run(&["rollout", "restart", &format!("deployment/{OPERATOR}")]),
    );
    mesh.available();
    wait_until("another replica leads", || {
        let now = mesh.leader();
        Progress::when(now != leader, (), || now)
    });
    // Proxies that have come back by then are what the new leader writes of after its first minute, if it writes.
    let window = if slow() { 70 } else { 10 };
    nothing_is_written(mesh, &before, Duration::from_secs(window));
    load.end();
}

#[test]
fn an_idle_mesh_writes_nothing_but_its_lease() {
    let load = UnderLoad::begin("idle");
    let mesh = &load.web.mesh;
    let before = settled(mesh);
    let events = || must(load.web.namespace.kubectl().list(&["events"])).len();
    let told = events();
    let window = if slow() { 300 } else { 20 };
    nothing_is_written(mesh, &before, Duration::from_secs(window));
    assert_eq!(events(), told, "Events were written");
    load.end();
}

/// How long another count of proxies may wait before it is written.
const COUNT_PERIOD: Duration = Duration::from_mins(1);

/// Versions that have not changed for so long that no count of proxies waits to be written.
fn settled(mesh: &Mesh) -> BTreeMap<String, String> {
    let mut last = (versions(mesh), Instant::now());
    wait_within(4 * COUNT_PERIOD, "the mesh has come to rest", || {
        let now = versions(mesh);
        let changed = differences(&last.0, &now);
        if !changed.is_empty() {
            last = (now.clone(), Instant::now());
        }
        let rested = last.1.elapsed() > COUNT_PERIOD + Duration::from_secs(2);
        Progress::when(rested, now, || format!("written: {changed:?}"))
    })
}

#[test]
fn while_the_api_server_restarts_traffic_goes_on_and_afterwards_policy_changes_again() {
    let load = UnderLoad::begin("apiserver");
    let Some(cluster) = Cluster::of(&load.web.mesh, "restarting the API server") else {
        return;
    };
    cluster.restart_api_server();
    wait_until("the API server answers", || {
        match load.web.mesh.kubectl().run(&["get", "--raw=/readyz"]) {
            Ok(_) => Progress::Done(()),
            Err(error) => Progress::Pending(error.to_string()),
        }
    });
    load.end();
}

#[test]
fn an_upgrade_leaves_running_proxies_of_an_older_version_in_service() {
    let load = UnderLoad::begin("upgrade");
    let web = WEB.hold();
    // The proxies announce a version before ours, so the new operator must keep to what these understand.
    let announce = |version: &str| {
        let label = format!("smilax.dev/proxy-version={version}");
        let injected = "--selector=smilax.dev/proxy-version";
        must(
            web.namespace
                .kubectl()
                .run(&["label", "pods", injected, "--overwrite", &label]),
        );
    };
    let current = web.namespace.pod("client")["metadata"]["labels"]["smilax.dev/proxy-version"].clone();
    announce("0.0.9");
    let helm = Helm::of(&web.mesh);
    helm.upgrade(&["log.level=debug"]);
    web.mesh.available();
    load.background.goes_on(200);
    let pods = web.namespace.pods("client");
    assert_eq!(pods.len(), 1);
    assert_eq!(
        pods[0]["metadata"]["name"],
        web.client.pod(),
        "the client was replaced"
    );
    helm.upgrade(&["log.level=info"]);
    web.mesh.available();
    load.end();
    announce(current.as_str().unwrap());
}

#[test]
fn after_an_uninstall_proxies_go_on_with_what_they_have_until_the_mesh_is_back() {
    let load = UnderLoad::begin("uninstall");
    let web = &load.web;
    let helm = Helm::of(&web.mesh);
    let values = helm.values();
    helm.uninstall();
    load.background.goes_on(300);
    load.is_split(&web.client);
    // Objects stay readable, and nothing is in the way of new pods.
    assert_eq!(web.namespace.read(&load.split())["spec"]["service"], load.root);
    web.namespace.apply(Workload::deployment("afterwards"));
    web.namespace.ready(&["deployment/afterwards"]);
    assert!(web.namespace.pod("afterwards")["spec"]["initContainers"].is_null());
    // A proxy that restarts finds the policy where it was.
    assert!(web.namespace.policy("client").is_ok());

    helm.install_definitions(&[]);
    helm.install(&values);
    web.mesh.available();
    web.mesh.leader();
    let old = Object::from(TrafficSplit::of(load.root).version(SplitVersion::V1alpha1));
    wait_until("older versions are served again", || {
        match web.namespace.kubectl().get(&[&old.reference()]) {
            Ok(_) => Progress::Done(()),
            Err(error) => Progress::Pending(error.to_string()),
        }
    });
    load.end();
}
