//! The operator as it runs: by what its ready pods were started with. Its Deployment says only what was asked for, which nobody runs while
//! a rollout is stuck. Pure.

use std::collections::BTreeSet;

use anyhow::bail;
use serde_json::Value;
use smilax_operator::lease;

use crate::controller::is_gone;
use crate::remedies;
use crate::trouble;
use crate::world::text;

/// Name of its Deployment.
pub(crate) const DEPLOYMENT: &str = "smilax-operator";
/// Label of its pods.
pub(crate) const SELECTOR: &str = "app.kubernetes.io/name=smilax-operator";
/// Number of a rollout, on a Deployment and on the ReplicaSet of it.
const REVISION: &str = "deployment.kubernetes.io/revision";

/// The operator of one installation.
#[derive(Clone, Debug)]
pub(crate) struct Operator<'a> {
    pub(crate) deployment: &'a Value,
    /// Its pods that have not ended.
    pub(crate) pods: Vec<&'a Value>,
    /// Name of the pod that leads, where that may be seen.
    leader: Option<&'a str>,
}

/// How far a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rollout {
    /// How many replicas there should be.
    pub(crate) wanted: usize,
    /// Ready replicas that run what the Deployment asks for.
    pub(crate) current: usize,
    /// Ready replicas that run what an earlier one asked for.
    pub(crate) earlier: usize,
}

/// Whether this is the operator's Deployment.
pub(crate) fn is_deployment(object: &Value) -> bool {
    object["metadata"]["name"] == DEPLOYMENT
}

/// Makes sure that an operator is among these objects of an installation: without one, everything would be said to have its default, which looks
/// like an answer about the mesh.
///
/// # Errors
/// When there is none.
pub(crate) fn expect(objects: &[Value], installation: &str) -> anyhow::Result<()> {
    if objects.iter().any(is_deployment) {
        return Ok(());
    }
    bail!(
        "there is no Deployment {DEPLOYMENT} in namespace {installation}: if Smilax is installed elsewhere, name its namespace with \
         --smilax-namespace; if it is not, run {}",
        remedies::install(installation)
    )
}

/// Whether this is a pod of some operator, in whatever namespace.
pub(crate) fn is_pod(object: &Value) -> bool {
    object["metadata"]["labels"]["app.kubernetes.io/name"] == DEPLOYMENT
}

/// The pod that holds the operator's Lease among these. It holds it under its name and a number, so that it is not taken for an earlier life of
/// its own.
pub(crate) fn leader(leases: &[Value]) -> Option<&str> {
    let lease = leases.iter().find(|one| one["metadata"]["name"] == lease::NAME)?;
    text(lease, "/spec/holderIdentity").split('_').next()
}

impl<'a> Operator<'a> {
    /// That of the Deployment among these, with its pods among those.
    pub(crate) fn find(deployments: &'a [Value], pods: &'a [Value], leader: Option<&'a str>) -> Option<Self> {
        let deployment = deployments.iter().find(|one| is_deployment(one))?;
        let namespace = &deployment["metadata"]["namespace"];
        let pods = pods
            .iter()
            .filter(|pod| is_pod(pod) && !is_gone(pod) && pod["metadata"]["namespace"] == *namespace);
        Some(Self {
            deployment,
            pods: pods.collect(),
            leader,
        })
    }

    fn ready(&self) -> impl Iterator<Item = &'a Value> {
        self.pods.iter().copied().filter(|pod| trouble::is_ready(pod))
    }

    /// The pod whose settings are in force: the leader; where it is not known, the ready pod that was made first.
    pub(crate) fn serving(&self) -> Option<&'a Value> {
        let leads = |pod: &&Value| Some(text(pod, "/metadata/name")) == self.leader;
        self.ready().find(leads).or_else(|| {
            self.ready()
                .min_by_key(|pod| text(pod, "/metadata/creationTimestamp"))
        })
    }

    /// The Deployment with the pod template that is in force. The one it asks for where no pod is ready: there is no better answer.
    pub(crate) fn in_force(&self) -> Value {
        let mut deployment = self.deployment.clone();
        if let Some(serving) = self.serving() {
            deployment["spec"]["template"]["spec"] = serving["spec"].clone();
        }
        deployment
    }

    /// Versions of the ready pods.
    pub(crate) fn versions(&self) -> BTreeSet<&'a str> {
        self.ready().map(version).collect()
    }

    /// How far the rollout of what the Deployment asks for is, by the ReplicaSets among these objects.
    pub(crate) fn rollout(&self, objects: &[Value]) -> Rollout {
        let hash = self.current_hash(objects);
        let is_current =
            |pod: &&Value| hash.is_some_and(|hash| text(pod, "/metadata/labels/pod-template-hash") == hash);
        let (current, earlier): (Vec<&Value>, Vec<&Value>) = self.ready().partition(is_current);
        let wanted = self.deployment["spec"]["replicas"].as_u64().unwrap_or(1);
        Rollout {
            wanted: usize::try_from(wanted).unwrap_or(usize::MAX),
            current: current.len(),
            earlier: earlier.len(),
        }
    }

    /// The hash of the pod template that the Deployment asks for; `None` while it has made no ReplicaSet of it.
    fn current_hash<'b>(&self, objects: &'b [Value]) -> Option<&'b str> {
        let metadata = &self.deployment["metadata"];
        let observed = self.deployment["status"]["observedGeneration"].as_i64();
        if observed < metadata["generation"].as_i64() {
            return None;
        }
        let revision = metadata["annotations"][REVISION].as_str()?;
        let found = objects.iter().find(|one| {
            one["kind"] == "ReplicaSet"
                && one["metadata"]["namespace"] == metadata["namespace"]
                && one["metadata"]["annotations"][REVISION] == revision
                && one["metadata"]["ownerReferences"][0]["name"] == metadata["name"]
        })?;
        Some(text(found, "/metadata/labels/pod-template-hash"))
    }
}

/// The version of a pod of the operator: the tag of its image, or the chart's version where a digest stands in its place.
pub(crate) fn version(pod: &Value) -> &str {
    let image = text(pod, "/spec/containers/0/image");
    let image = image.split('@').next().unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    match name.split_once(':') {
        Some((_, tag)) => tag,
        None => pod["metadata"]["labels"]["app.kubernetes.io/version"]
            .as_str()
            .unwrap_or("unknown"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    /// The Deployment, of which the second template was rolled out.
    pub(crate) fn deployment(image: &str) -> Value {
        json!({
            "kind": "Deployment",
            "metadata": {
                "name": "smilax-operator", "namespace": "smilax-system", "generation": 2,
                "annotations": {"deployment.kubernetes.io/revision": "2"},
            },
            "spec": {"replicas": 2, "template": {"spec": {"containers": [{"image": image, "args": ["--access-mode=deny"]}]}}},
            "status": {"observedGeneration": 2},
        })
    }

    /// The ReplicaSet of the second template.
    pub(crate) fn replica_set() -> Value {
        json!({
            "kind": "ReplicaSet",
            "metadata": {
                "name": "smilax-operator-new", "namespace": "smilax-system", "labels": {"pod-template-hash": "new"},
                "annotations": {"deployment.kubernetes.io/revision": "2"},
                "ownerReferences": [{"kind": "Deployment", "name": "smilax-operator", "controller": true}],
            },
        })
    }

    /// A ready pod of the operator.
    pub(crate) fn pod(name: &str, hash: &str, image: &str) -> Value {
        json!({
            "metadata": {
                "name": name, "namespace": "smilax-system", "creationTimestamp": "2026-05-01T12:00:00Z",
                "labels": {"app.kubernetes.io/name": "smilax-operator", "pod-template-hash": hash},
            },
            "spec": {"containers": [{"image": image, "args": ["--access-mode=allow"]}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    fn access(deployments: &[Value], pods: &[Value], leader: Option<&str>) -> Value {
        let operator = Operator::find(deployments, pods, leader).unwrap();
        operator.in_force()["spec"]["template"]["spec"]["containers"][0]["args"][0].clone()
    }

    #[test]
    fn what_is_in_force_is_what_the_leader_runs_and_not_what_the_deployment_asks_for() {
        let deployments = [deployment("operator:0.2.0")];
        let earlier = pod("a", "old", "operator:0.1.0");
        let mut new = pod("b", "new", "operator:0.2.0");
        new["spec"]["containers"][0]["args"] = json!(["--access-mode=deny"]);
        new["metadata"]["creationTimestamp"] = json!("2026-05-02T12:00:00Z");
        let pods = [new, earlier];
        assert_eq!(access(&deployments, &pods, None), "--access-mode=allow");
        assert_eq!(access(&deployments, &pods, Some("b")), "--access-mode=deny");
        assert_eq!(access(&deployments, &[], None), "--access-mode=deny");
    }

    #[test]
    fn a_namespace_without_an_operator_has_no_answer() {
        let error = expect(&[], "smilax-sytem").unwrap_err().to_string();
        assert!(
            error.contains("in namespace smilax-sytem: if Smilax is installed elsewhere"),
            "{error}"
        );
        assert!(expect(&[deployment("operator:0.1.0")], "smilax-system").is_ok());
    }

    #[test]
    fn the_leader_is_the_pod_in_the_name_under_which_the_lease_is_held() {
        let lease = |name: &str, holder: &str| json!({"metadata": {"name": name}, "spec": {"holderIdentity": holder}});
        let leases = [
            lease("other", "z_0"),
            lease("smilax-operator", "smilax-operator-5d-a_00c0ffee"),
        ];
        assert_eq!(leader(&leases), Some("smilax-operator-5d-a"));
        assert_eq!(leader(&leases[..1]), None);
    }

    #[test]
    fn a_pod_that_is_not_ready_decides_nothing() {
        let deployments = [deployment("operator:0.2.0")];
        let mut pending = pod("a", "new", "operator:0.2.0");
        pending["status"] = json!({"phase": "Pending"});
        let pods = [pending, pod("b", "old", "operator:0.1.0")];
        let operator = Operator::find(&deployments, &pods, Some("a")).unwrap();
        assert_eq!(text(operator.serving().unwrap(), "/metadata/name"), "b");
        assert_eq!(operator.versions(), ["0.1.0"].into());
        let rollout = Rollout {
            wanted: 2,
            current: 0,
            earlier: 1,
        };
        assert_eq!(operator.rollout(&[replica_set()]), rollout);
    }

    #[test]
    fn a_template_that_the_deployment_controller_has_not_seen_is_run_by_nobody() {
        let mut changed = deployment("operator:0.2.0");
        changed["metadata"]["generation"] = json!(3);
        let deployments = [changed];
        let pods = [pod("a", "new", "operator:0.1.0")];
        let operator = Operator::find(&deployments, &pods, None).unwrap();
        assert_eq!(operator.rollout(&[replica_set()]).current, 0);
    }

    #[test]
    fn the_version_is_the_tag_or_that_of_the_chart_beside_a_digest() {
        let of = |image: &str| {
            let mut pod = pod("a", "new", image);
            pod["metadata"]["labels"]["app.kubernetes.io/version"] = json!("0.3.0");
            version(&pod).to_owned()
        };
        assert_eq!(of("localhost:5000/smilax-operator:0.1.0"), "0.1.0");
        assert_eq!(of("localhost:5000/smilax-operator@sha256:abcd"), "0.3.0");
        assert_eq!(of("smilax-operator:0.1.0@sha256:abcd"), "0.1.0");
    }
}
