//! Which workload a pod belongs to.

use serde_json::Value;

use super::pod::{label, list, text};

/// Labels with the suffix that a Deployment, or a Rollout of the same kind, gives its ReplicaSets.
const TEMPLATE_HASHES: [&str; 2] = ["pod-template-hash", "rollouts-pod-template-hash"];

/// Minutes since 1970 in 2017. Newer schedule suffixes are greater; a date written as 20240131 is not.
const FIRST_SCHEDULE: u64 = 25_000_000;

/// Name of the pod's Deployment, StatefulSet, DaemonSet, Job or CronJob, else its own.
pub(super) fn workload_name(pod: &Value) -> String {
    let owner = list(pod, "/metadata/ownerReferences")
        .find(|owner| owner.get("controller").and_then(Value::as_bool) == Some(true));
    let Some(name) = owner.and_then(|owner| text(owner, "/name")) else {
        return own_name(pod);
    };
    match owner.and_then(|owner| text(owner, "/kind")) {
        Some("ReplicaSet") => TEMPLATE_HASHES
            .iter()
            .filter_map(|key| label(pod, key))
            .find_map(|hash| name.strip_suffix(hash)?.strip_suffix('-'))
            .unwrap_or(name)
            .to_owned(),
        Some("Job") => without_schedule(name).to_owned(),
        _ => name.to_owned(),
    }
}

fn own_name(pod: &Value) -> String {
    text(pod, "/metadata/name")
        .filter(|name| !name.is_empty())
        .or_else(|| text(pod, "/metadata/generateName").map(|prefix| prefix.trim_end_matches('-')))
        .unwrap_or_default()
        .to_owned()
}

/// A CronJob names its Jobs after itself and the scheduled minute since 1970; a pod knows only the Job.
fn without_schedule(job: &str) -> &str {
    match job.rsplit_once('-') {
        Some((name, minute))
            if minute.len() == 8 && minute.parse().is_ok_and(|minute: u64| minute > FIRST_SCHEDULE) =>
        {
            name
        }
        _ => job,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn owned_by(kind: &str, name: &str, hash: Option<&str>) -> String {
        workload_name(&json!({"metadata": {
            "generateName": format!("{name}-"),
            "labels": {"pod-template-hash": hash},
            "ownerReferences": [{"kind": kind, "name": name, "controller": true}],
        }}))
    }

    #[test]
    fn a_pod_belongs_to_what_its_owner_wrote() {
        assert_eq!(
            owned_by("ReplicaSet", "web-6d4cf56db6", Some("6d4cf56db6")),
            "web"
        );
        assert_eq!(owned_by("ReplicaSet", "web-frontend", None), "web-frontend");
        assert_eq!(owned_by("StatefulSet", "db", None), "db");
        assert_eq!(owned_by("DaemonSet", "agent", None), "agent");
        assert_eq!(owned_by("Job", "backup-29381760", None), "backup");
        assert_eq!(owned_by("Job", "backup-20240131", None), "backup-20240131");
        assert_eq!(owned_by("Job", "import", None), "import");
    }

    #[test]
    fn a_pod_without_owner_is_its_own_workload() {
        assert_eq!(workload_name(&json!({"metadata": {"name": "shell"}})), "shell");
        assert_eq!(
            workload_name(&json!({"metadata": {"generateName": "shell-"}})),
            "shell"
        );
    }
}
