//! What disturbs the whole mesh: its operator, its installation, its cluster. Only for tests that run alone.

use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use crate::environment;
use crate::mesh::{Mesh, OPERATOR};
use crate::namespace::{complain, must};
use crate::wait::{Progress, wait_until};

/// An operator that is away until this is dropped.
#[derive(Debug)]
#[must_use = "the operator comes back when this is dropped"]
pub struct OperatorAway<'a> {
    mesh: &'a Mesh,
    replicas: u64,
}

impl<'a> OperatorAway<'a> {
    /// Scales the operator to zero and waits until no replica is left.
    #[track_caller]
    pub fn begin(mesh: &'a Mesh) -> Self {
        let replicas = mesh
            .deployment()
            .ok()
            .and_then(|operator| operator["spec"]["replicas"].as_u64())
            .unwrap_or(1);
        let away = Self { mesh, replicas };
        away.scale(0);
        wait_until("no replica of the operator is left", || {
            let selector = ["pods", "--selector=app.kubernetes.io/name=smilax-operator"];
            let pods = must(mesh.operator().list(&selector));
            Progress::when(pods.is_empty(), (), || format!("{} pods", pods.len()))
        });
        away
    }

    /// Brings the operator back and waits until it is available and leads.
    #[track_caller]
    pub fn end(self) {
        let mesh = self.mesh;
        drop(self);
        mesh.available();
        mesh.leader();
    }

    fn scale(&self, replicas: u64) {
        let to = format!("--replicas={replicas}");
        let scaled = self
            .mesh
            .operator()
            .run(&["scale", &format!("deployment/{OPERATOR}"), &to]);
        if let Err(error) = scaled {
            complain(&error.to_string());
        }
    }
}

impl Drop for OperatorAway<'_> {
    fn drop(&mut self) {
        self.scale(self.replicas);
    }
}

/// An image that no node has and no registry serves.
const NOWHERE: &str = "smilax.invalid/smilax-operator:0.9.9";

/// A Deployment of the operator that asks for a closed mesh and for an image that does not exist, until this is dropped.
#[derive(Debug)]
#[must_use = "the rollout is undone when this is dropped"]
pub struct StuckRollout<'a> {
    mesh: &'a Mesh,
}

impl<'a> StuckRollout<'a> {
    /// Begins the rollout.
    #[track_caller]
    pub fn begin(mesh: &'a Mesh) -> Self {
        let stuck = Self { mesh };
        let container = "/spec/template/spec/containers/0";
        let patch = json!([
            {"op": "replace", "path": format!("{container}/image"), "value": NOWHERE},
            {"op": "add", "path": format!("{container}/args/0"), "value": "--access-mode=deny"},
        ]);
        let patch = format!("--patch={patch}");
        must(
            mesh.operator()
                .run(&["patch", "deployment", OPERATOR, "--type=json", &patch]),
        );
        stuck
    }
}

impl Drop for StuckRollout<'_> {
    fn drop(&mut self) {
        let undo = ["rollout", "undo", &format!("deployment/{OPERATOR}")];
        if let Err(error) = self.mesh.operator().run(&undo) {
            complain(&error.to_string());
        }
    }
}

/// The container of the operator in its pods.
const OPERATOR_CONTAINER: &str = "operator";

/// Operators whose processes are stopped (SIGSTOP) until this is dropped: they hold their connections and answer nothing.
#[derive(Debug)]
#[must_use = "the operators go on when this is dropped"]
pub struct OperatorStopped {
    cluster: Cluster,
    pods: Vec<Value>,
}

impl OperatorStopped {
    /// Stops every replica.
    #[track_caller]
    pub fn begin(mesh: &Mesh, cluster: &Cluster) -> Self {
        let selector = "--selector=app.kubernetes.io/name=smilax-operator";
        let pods = must(mesh.operator().list(&["pods", selector]));
        let stopped = Self {
            cluster: cluster.clone(),
            pods,
        };
        for pod in &stopped.pods {
            cluster.signal(pod, OPERATOR_CONTAINER, "SIGSTOP");
        }
        stopped
    }
}

impl Drop for OperatorStopped {
    fn drop(&mut self) {
        for pod in &self.pods {
            self.cluster.try_signal(pod, OPERATOR_CONTAINER, "SIGCONT");
        }
    }
}

/// A node without power until this is dropped.
#[derive(Debug)]
#[must_use = "the node comes back when this is dropped"]
pub struct PoweredOff {
    cluster: Cluster,
    node: String,
}

impl Drop for PoweredOff {
    fn drop(&mut self) {
        self.cluster.run(&["power-on", &self.node]);
    }
}

/// The tool that made the cluster, when it is our own: it reaches what no API reaches.
#[derive(Clone, Debug)]
pub struct Cluster {
    tool: PathBuf,
}

impl Cluster {
    /// The tool, or `None` with a loud word when the cluster is somebody else's.
    pub fn of(mesh: &Mesh, needed_for: &str) -> Option<Self> {
        let cluster = Self {
            tool: environment::repository().join("e2e/cluster/cluster"),
        };
        let own = cluster.run(&["kubeconfig"]).map(PathBuf::from);
        let same = own.and_then(|own| own.canonicalize().ok()).is_some_and(|own| {
            mesh.kubectl()
                .kubeconfig()
                .canonicalize()
                .is_ok_and(|other| own == other)
        });
        if !same {
            complain(&format!(
                "SKIPPED: {needed_for} needs a cluster that e2e/cluster made, and KUBECONFIG names another"
            ));
        }
        same.then_some(cluster)
    }

    /// Kills the API server and waits until a new one is ready.
    #[track_caller]
    pub fn restart_api_server(&self) {
        self.must(&["restart-apiserver"]);
    }

    /// Kills the main process of a container, as the kernel would when memory is short.
    #[track_caller]
    pub fn kill(&self, pod: &Value, container: &str) {
        self.signal(pod, container, "SIGKILL");
    }

    /// Sends a signal to the main process of a container, from outside of it.
    #[track_caller]
    pub fn signal(&self, pod: &Value, container: &str, signal: &str) {
        assert!(
            self.try_signal(pod, container, signal),
            "container {container} got no {signal}: {}",
            pod["status"]
        );
    }

    fn try_signal(&self, pod: &Value, container: &str, signal: &str) -> bool {
        let node = pod["spec"]["nodeName"].as_str().unwrap_or_default();
        let status = container_status(pod, container);
        let id = status["containerID"]
            .as_str()
            .and_then(|id| id.strip_prefix("containerd://"));
        let Some(id) = id else { return false };
        let kill = ["ctr", "-n", "k8s.io", "tasks", "kill", "-s", signal, id];
        let mut arguments = vec!["exec-node", node];
        arguments.extend(kill);
        self.run(&arguments).is_some()
    }

    /// Freezes every process of a node and takes its link down, until what is returned is dropped.
    #[track_caller]
    pub fn power_off(&self, node: &str) -> PoweredOff {
        let off = PoweredOff {
            cluster: self.clone(),
            node: node.to_owned(),
        };
        self.must(&["power-off", node]);
        off
    }

    /// What a file of a ConfigMap that a pod mounts holds now, as kubelet keeps it.
    pub fn mounted(&self, pod: &Value, volume: &str, file: &str) -> Option<String> {
        let node = pod["spec"]["nodeName"].as_str()?;
        let uid = pod["metadata"]["uid"].as_str()?;
        let path =
            format!("/var/lib/kubelet/pods/{uid}/volumes/kubernetes.io~configmap/{volume}/..data/{file}");
        self.run(&["exec-node", node, "cat", &path])
    }

    /// Sets how often kubelets bring ConfigMaps to pods.
    #[track_caller]
    pub fn kubelet_sync(&self, every: &str) {
        self.must(&["kubelet-sync", every]);
    }

    #[track_caller]
    fn must(&self, arguments: &[&str]) {
        assert!(
            self.run(arguments).is_some(),
            "{} {} failed",
            self.tool.display(),
            arguments.join(" ")
        );
    }

    fn run(&self, arguments: &[&str]) -> Option<String> {
        run(&mut Command::new(&self.tool), arguments)
    }
}

/// Helm, and the release that is installed.
#[derive(Clone, Debug)]
pub struct Helm {
    kubeconfig: PathBuf,
    namespace: String,
}

impl Helm {
    /// Helm for this mesh.
    pub fn of(mesh: &Mesh) -> Self {
        Self {
            kubeconfig: mesh.kubectl().kubeconfig().to_owned(),
            namespace: mesh.namespace().to_owned(),
        }
    }

    /// Upgrades the operator's release from the chart of this repository, with values beside those in force.
    #[track_caller]
    pub fn upgrade(&self, values: &[&str]) {
        let chart = environment::repository()
            .join("charts/smilax")
            .display()
            .to_string();
        let mut arguments = vec![
            "upgrade",
            "smilax",
            &chart,
            "--reuse-values",
            "--wait",
            "--timeout=3m",
        ];
        for value in values {
            arguments.extend(["--set", value]);
        }
        self.must(&arguments);
    }

    /// Uninstalls the operator's release.
    #[track_caller]
    pub fn uninstall(&self) {
        self.must(&["uninstall", "smilax", "--wait", "--timeout=3m"]);
    }

    /// The values that the release was installed with, a JSON object.
    #[track_caller]
    pub fn values(&self) -> String {
        let values = self.must(&["get", "values", "smilax", "--output=json"]);
        if values == "null" { "{}".to_owned() } else { values }
    }

    /// Installs the operator's release with these values.
    #[track_caller]
    pub fn install(&self, values: &str) {
        let folder = environment::repository().join("target/e2e");
        let file = folder.join(format!("values-{}.json", std::process::id()));
        let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, values));
        assert!(written.is_ok(), "cannot write {}: {written:?}", file.display());
        let chart = environment::repository()
            .join("charts/smilax")
            .display()
            .to_string();
        let file = file.display().to_string();
        self.must(&[
            "install",
            "smilax",
            &chart,
            "--values",
            &file,
            "--wait",
            "--timeout=3m",
        ]);
    }

    /// Installs the release of the definitions, or brings it up to date.
    #[track_caller]
    pub fn install_definitions(&self, flags: &[&str]) {
        let chart = environment::repository()
            .join("charts/smilax-crds")
            .display()
            .to_string();
        let mut arguments = vec!["upgrade", "--install", "smilax-crds", &chart];
        arguments.extend(flags);
        self.must(&arguments);
    }

    /// Forgets the release of the definitions, which stay.
    #[track_caller]
    pub fn forget_definitions(&self) {
        self.must(&["uninstall", "smilax-crds"]);
    }

    #[track_caller]
    fn must(&self, arguments: &[&str]) -> String {
        let program = environment::variable("HELM").unwrap_or_else(|| "helm".to_owned());
        let mut command = Command::new(&program);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .args(["--namespace", &self.namespace]);
        match run(&mut command, arguments) {
            Some(output) => output,
            None => panic!(
                "{program} {} failed; is helm in PATH? eval \"$(e2e/cluster/cluster env)\" puts it there",
                arguments.join(" ")
            ),
        }
    }
}

/// Whether tests that take many minutes run whole, as `SMILAX_E2E_SLOW` asks.
pub fn slow() -> bool {
    environment::slow()
}

/// A container's status, an init container's too.
pub fn container_status(pod: &Value, container: &str) -> Value {
    ["initContainerStatuses", "containerStatuses"]
        .iter()
        .filter_map(|field| pod["status"][*field].as_array())
        .flatten()
        .find(|status| status["name"] == container)
        .cloned()
        .unwrap_or(Value::Null)
}

fn run(command: &mut Command, arguments: &[&str]) -> Option<String> {
    let output = command.args(arguments).output();
    match output {
        Ok(output) if output.status.success() => {
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => {
            complain(&String::from_utf8_lossy(&output.stderr));
            None
        }
        Err(error) => {
            complain(&format!("{command:?}: {error}"));
            None
        }
    }
}
