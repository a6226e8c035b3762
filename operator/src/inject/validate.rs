//! Judging workloads when they are applied: nobody sees the warnings that their ReplicaSets get for the pods.

use serde_json::{Value, json};

use super::annotation::{self, Origin};
use super::eligibility;
use super::settings::InjectSettings;
use crate::cluster_view::NamespaceView;

/// What is wrong with a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkloadFindings {
    /// Reasons to refuse it.
    pub errors: Vec<String>,
    /// What its author should know.
    pub warnings: Vec<String>,
}

/// Judges the pod template of a Deployment, StatefulSet, DaemonSet, ReplicaSet, Job or CronJob: bad values of our annotations are
/// errors; unknown annotations, and what will keep the pods from being created, are warnings. An error that the object had before
/// the change is only a warning, so that nothing else about it becomes impossible to change.
///
/// Other kinds, and objects without a pod template, have no findings.
pub fn validate_workload(
    raw: &Value,
    before: Option<&Value>,
    namespace: &NamespaceView,
    settings: &InjectSettings,
) -> WorkloadFindings {
    let Some((path, pod)) = template(raw) else {
        return WorkloadFindings::default();
    };
    let at = |message: String| format!("{path}: {message}");
    let (left_alone, warnings) = eligibility::left_alone(&pod, namespace, settings);
    let mut findings = WorkloadFindings {
        errors: Vec::new(),
        warnings: warnings.into_iter().map(at).collect(),
    };
    findings
        .warnings
        .extend(annotation::unknown_keys(&pod).into_iter().map(at));
    let earlier = before
        .and_then(template)
        .map(|(_, pod)| annotation::resolve(&pod, namespace, settings).1)
        .unwrap_or_default();
    for bad in annotation::resolve(&pod, namespace, settings).1 {
        let is_new = bad.origin == Origin::Pod && !earlier.contains(&bad);
        let list = if is_new {
            &mut findings.errors
        } else {
            &mut findings.warnings
        };
        list.push(at(bad.to_string()));
    }
    if left_alone.is_none() {
        let obstacles = eligibility::obstacles(&pod, namespace);
        let told = obstacles
            .into_iter()
            .map(|obstacle| at(format!("pods will be refused: {obstacle}")));
        findings.warnings.extend(told);
    }
    findings
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
