//! The pods that are called and the one that calls: once in the mesh, once outside of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use smilax_e2e::disrupt::container_status;
use smilax_e2e::{Client, Inject, Load, Mesh, Namespace, Object, Progress, Service, Workload, wait_until};

use crate::scenario::{APPLICATION_MS, App};

/// The node of the client.
const CLIENT_NODE: &str = "node1";
/// Seconds that the preStop hook of pods that drain sleeps, so that callers hear of their end before they do.
const PRE_STOP_S: u32 = 3;

/// Pods.
#[derive(Debug)]
pub struct Pods {
    /// Where they are.
    pub namespace: Namespace,
    /// The pod that calls.
    pub client: Client,
    inject: Inject,
    addresses: BTreeMap<App, String>,
}

impl Pods {
    /// Makes them and waits until all of them answer.
    pub fn start(mesh: &Mesh, inject: Inject) -> Self {
        let purpose = match inject {
            Inject::Enabled => "events-with",
            Inject::NotAsked => "events-without",
        };
        let namespace = Namespace::fresh(mesh, purpose, inject);
        namespace.account("client");
        let on_node = json!({"nodeSelector": {"kubernetes.io/hostname": CLIENT_NODE}});
        namespace.apply(Workload::deployment("client").account("client").pod_spec(on_node));
        let mut addresses = BTreeMap::new();
        for app in App::ALL {
            let service = namespace.apply(Service::named(app.name()));
            namespace.apply(workload(app));
            let address = namespace.read(&service)["spec"]["clusterIP"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            addresses.insert(app, address);
        }
        namespace.ready(&["deployment/client"]);
        let client = Client::of(&namespace, "client", "client");
        let pods = Self {
            namespace,
            client,
            inject,
            addresses,
        };
        for app in App::ALL {
            pods.namespace.ready(&[&deployment(app)]);
        }
        pods
    }

    /// An open-loop load of one app, by its ClusterIP.
    pub fn load(&self, app: App, speech: smilax_e2e::load::Speech) -> Load {
        let address = self.addresses.get(&app).map_or("", String::as_str);
        match speech {
            smilax_e2e::load::Speech::Grpc => Load::grpc(address),
            _ => Load::http(address),
        }
    }

    /// The pods of an app.
    pub fn of(&self, app: App) -> Vec<Value> {
        self.namespace.pods(app.name())
    }

    /// Puts an app into the state in which every run begins: its pods are ready, in the mesh if they should be, and
    /// answer.
    pub fn restore(&self, app: App) {
        let pods = self.of(app);
        if self.inject == Inject::Enabled && pods.iter().any(|pod| !is_injected(pod)) {
            restart(&self.namespace, app);
        }
        self.namespace.ready(&[&deployment(app)]);
        self.gone(app);
        if self.inject == Inject::Enabled {
            self.client.secures(app.name());
        }
        wait_until(&format!("{} answers without a failure", app.name()), || {
            let load = self.load(app, smilax_e2e::load::Speech::Http1);
            let report = self.client.load(load.requests(100).connections(4));
            Progress::when(report.failed() == 0, (), || format!("{:?}", report.failures))
        });
    }

    /// Waits until no pod of an app is on its way out.
    pub fn gone(&self, app: App) {
        let selector = format!("--selector=app={}", app.name());
        wait_until(&format!("old pods of {} are gone", app.name()), || {
            let all = self.namespace.kubectl().list(&["pods", &selector]);
            let count = all.map_or(usize::MAX, |all| all.len());
            Progress::when(count == app.replicas() as usize, (), || format!("{count} pods"))
        });
    }
}

/// Begins a rolling restart.
pub fn restart(namespace: &Namespace, app: App) {
    let restarted = namespace.kubectl().run(&["rollout", "restart", &deployment(app)]);
    smilax_e2e::namespace::must(restarted);
}

/// What `kubectl` calls the Deployment of an app.
pub fn deployment(app: App) -> String {
    format!("deployment/{}", app.name())
}

/// Name of a pod.
pub fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

/// The node of a pod.
pub fn node(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap_or_default()
}

/// How often the application of a pod was restarted, once it is ready.
pub fn restarts(pod: &Value) -> Option<u64> {
    let status = container_status(pod, "app");
    (status["ready"] == true).then(|| status["restartCount"].as_u64().unwrap_or_default())
}

/// Whether a node can lose power without the client, and without all pods of an app.
pub fn is_apart_from_client(pod: &Value) -> bool {
    node(pod) != CLIENT_NODE
}

fn is_injected(pod: &Value) -> bool {
    pod["spec"]["initContainers"]
        .as_array()
        .is_some_and(|containers| containers.iter().any(|one| one["name"] == "smilax-proxy"))
}

fn workload(app: App) -> Object {
    let base = Workload::deployment(app.name())
        .replicas(app.replicas())
        .argument(&format!("--latency-ms={APPLICATION_MS}"));
    match app {
        App::Pair => base
            .pod_spec(json!({"topologySpreadConstraints": [{
                "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"app": app.name()}},
            }]}))
            .into(),
        App::Draining => base
            .argument("--on-sigterm=drain")
            .container(json!({"lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_S}}}}))
            .into(),
        App::Exiting => base.argument("--on-sigterm=exit").into(),
    }
}
