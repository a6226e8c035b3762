//! The mesh that is installed in the cluster.

use serde_json::Value;

use crate::environment;
use crate::kubectl::Kubectl;
use crate::wait::{PATIENCE, Progress, wait_until, wait_within};

/// Name of the operator's Deployment and of its Lease.
pub const OPERATOR: &str = "smilax-operator";

/// A cluster with Smilax in it.
#[derive(Clone, Debug)]
pub struct Mesh {
    kubectl: Kubectl,
    namespace: String,
}

impl Mesh {
    /// The mesh of the environment's cluster, with its operator available.
    ///
    /// # Panics
    /// When no cluster is named, or Smilax is not installed in it.
    pub fn connect() -> Self {
        let kubectl = Kubectl::of_environment();
        let namespace = installed_in(&kubectl).unwrap_or_else(|| {
            panic!(
                "Smilax is not installed in the cluster of {}: run 'make install', or 'helm install' charts/smilax-crds and \
                 charts/smilax",
                kubectl.kubeconfig().display()
            )
        });
        let mesh = Self { kubectl, namespace };
        mesh.available();
        mesh
    }

    /// `kubectl` without a namespace.
    pub fn kubectl(&self) -> &Kubectl {
        &self.kubectl
    }

    /// Namespace of the installation.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// `kubectl` in the namespace of the installation.
    pub fn operator(&self) -> Kubectl {
        self.kubectl.within(&self.namespace)
    }

    /// Runs the command line of the mesh and gives what it printed, or what it complained of.
    ///
    /// # Errors
    /// When it ends with another code than 0.
    pub fn smilax(&self, arguments: &[&str]) -> Result<String, String> {
        let program = environment::smilax();
        let output = std::process::Command::new(&program)
            .env("KUBECONFIG", self.kubectl.kubeconfig())
            .args(["--smilax-namespace", &self.namespace])
            .args(arguments)
            .output()
            .map_err(|error| {
                format!(
                    "cannot run {}: {error}; cargo build --package smilax makes it",
                    program.display()
                )
            })?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() {
            Ok(text(&output.stdout))
        } else {
            Err(text(&output.stdout) + &text(&output.stderr))
        }
    }

    /// Waits until every wanted replica of the operator runs its newest version and is available, and none of an earlier version is left: those that
    /// are about to end still answer the API server over the connections that it has open.
    pub fn available(&self) {
        wait_within(PATIENCE * 3, "the operator is available", || {
            match self.deployment() {
                Ok(operator) => {
                    let wanted = operator["spec"]["replicas"].as_u64();
                    let count = |field: &str| Some(operator["status"][field].as_u64().unwrap_or_default());
                    let observed =
                        operator["status"]["observedGeneration"] == operator["metadata"]["generation"];
                    let all = ["availableReplicas", "updatedReplicas", "replicas"]
                        .iter()
                        .all(|field| count(field) == wanted);
                    let ending = self.ending_replicas();
                    Progress::when(observed && all && ending == 0, (), || {
                        format!("{}, and {ending} replicas are ending", operator["status"])
                    })
                }
                Err(error) => Progress::Pending(error),
            }
        });
    }

    fn ending_replicas(&self) -> usize {
        let selector = format!("app.kubernetes.io/name={OPERATOR}");
        let pods = self.operator().list(&["pods", "--selector", &selector]);
        let ending = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_string();
        pods.map_or(0, |pods| pods.iter().filter(ending).count())
    }

    /// The operator's Deployment.
    ///
    /// # Errors
    /// What `kubectl` said.
    pub fn deployment(&self) -> Result<Value, String> {
        self.operator()
            .get(&["deployment", OPERATOR])
            .map_err(|error| error.to_string())
    }

    /// Waits until a replica leads, and gives its name.
    pub fn leader(&self) -> String {
        wait_until("a replica of the operator leads", || {
            let lease = self.operator().get(&["lease", OPERATOR]);
            let holder = lease
                .as_ref()
                .ok()
                .and_then(|lease| lease["spec"]["holderIdentity"].as_str())
                .filter(|holder| !holder.is_empty());
            match holder {
                Some(holder) => Progress::Done(holder.to_owned()),
                None => Progress::Pending(format!("{lease:?}")),
            }
        })
    }
}

fn installed_in(kubectl: &Kubectl) -> Option<String> {
    let deployments = kubectl
        .list(&[
            "deployments",
            "--all-namespaces",
            "--field-selector",
            &format!("metadata.name={OPERATOR}"),
        ])
        .unwrap_or_else(|error| panic!("the cluster does not answer: {error}"));
    Some(deployments.first()?["metadata"]["namespace"].as_str()?.to_owned())
}
