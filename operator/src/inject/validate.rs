//! Judging workloads when they are applied: nobody sees the warnings that their ReplicaSets get for the pods.

use serde_json::{Value, json};

use super::annotation::{self, Origin};
use super::settings::InjectSettings;
use super::{earlier, eligibility, evasion, limits, powers, sidecar};
use crate::cluster_view::NamespaceView;

/// What is wrong with a workload, or with a change of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Reasons to refuse it.
    pub errors: Vec<String>,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Judges the pod template of a Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob: bad values of our annotations are
/// errors, and so is what would get around a Namespace that keeps its pods in; what else will keep the pods from being created is a
/// warning. Keys that mean nothing are told by [`smilax_compiler::keys::judge`]. An error that the object had before the change is only a warning, so that nothing else about it
/// becomes impossible to change.
///
/// Other kinds, and objects without a pod template, have no findings.
pub fn validate_workload(
    raw: &Value,
    before: Option<&Value>,
    namespace: &NamespaceView,
    settings: &InjectSettings,
) -> Findings {
    let Some((path, pod)) = template(raw) else {
        return Findings::default();
    };
    let at = |message: String| format!("{path}: {message}");
    let mut findings = Findings {
        errors: Vec::new(),
        warnings: Vec::new(),
    };
    let earlier = before
        .and_then(template)
        .map(|(_, pod)| mistakes(&pod, namespace, settings))
        .unwrap_or_default();
    for mistake in mistakes(&pod, namespace, settings) {
        let is_new = mistake.0 == Origin::Pod && !earlier.contains(&mistake);
        let list = if is_new {
            &mut findings.errors
        } else {
            &mut findings.warnings
        };
        list.push(at(mistake.1));
    }
    // A template that was copied from a running pod: its pods are injected anew.
    let pod = earlier::strip(&pod).0;
    let (left_alone, _) = eligibility::left_alone(&pod, namespace, settings);
    if left_alone.is_none() {
        let mut obstacles = eligibility::obstacles(&pod, namespace);
        if evasion::evasions(&pod, namespace, left_alone).is_empty() {
            obstacles.extend(evasion::identities(&pod));
        }
        let options = annotation::resolve(&pod, namespace, settings).0;
        let resources = sidecar::resources(&pod, &options);
        obstacles.extend(limits::obstacles(&pod, namespace, &resources));
        let told = obstacles
            .into_iter()
            .map(|obstacle| at(format!("pods will be refused: {obstacle}")));
        findings.warnings.extend(told);
        findings.warnings.extend(powers::powers(&pod).into_iter().map(at));
    }
    findings
}

/// Values that cannot be read, what would get around the Namespace, and whose they are.
fn mistakes(pod: &Value, namespace: &NamespaceView, settings: &InjectSettings) -> Vec<(Origin, String)> {
    let (left_alone, wishes) = eligibility::left_alone(pod, namespace, settings);
    let values = annotation::resolve(pod, namespace, settings).1;
    let evasions = evasion::evasions(&earlier::strip(pod).0, namespace, left_alone);
    wishes
        .into_iter()
        .chain(evasions)
        .map(|mistake| (Origin::Pod, mistake))
        .chain(
            values
                .into_iter()
                .map(|bad| (bad.origin.clone(), bad.to_string())),
        )
        .collect()
}

/// The pod that a workload would make, and where it stands in the workload.
fn template(raw: &Value) -> Option<(&'static str, Value)> {
    let path = match raw.get("kind")?.as_str()? {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => "spec.template",
        "CronJob" => "spec.jobTemplate.spec.template",
        _ => return None,
    };
    let template = raw.pointer(&format!("/{}", path.replace('.', "/")))?;
    let pod = json!({"metadata": template.get("metadata"), "spec": template.get("spec")});
    Some((path, pod))
}

#[cfg(test)]
mod tests;
