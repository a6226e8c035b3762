//! What keeps a pod from being ready, by its status. Pure.

use serde_json::Value;

use crate::world::text;

/// Containers that wait for one of these wait for what comes anyway.
const ON_THE_WAY: [&str; 2] = ["PodInitializing", "ContainerCreating"];

/// Why a pod does not start: it finds no node, or a container waits. `None` where nothing is known to be wrong.
pub(crate) fn of_pod(pod: &Value) -> Option<String> {
    unscheduled(pod).or_else(|| {
        let containers = ["initContainerStatuses", "containerStatuses"];
        containers
            .into_iter()
            .flat_map(|field| pod["status"][field].as_array().into_iter().flatten())
            .find_map(waiting)
    })
}

/// Why one container of a pod waits.
pub(crate) fn of_container(pod: &Value, name: &str) -> Option<String> {
    let containers = ["initContainerStatuses", "containerStatuses"];
    containers
        .into_iter()
        .flat_map(|field| pod["status"][field].as_array().into_iter().flatten())
        .filter(|status| status["name"] == name)
        .find_map(waiting)
}

/// Whether a pod is ready, as its condition says.
pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

fn condition<'a>(pod: &'a Value, kind: &str) -> Option<&'a Value> {
    let conditions = pod["status"]["conditions"].as_array()?;
    conditions.iter().find(|one| one["type"] == kind)
}

fn unscheduled(pod: &Value) -> Option<String> {
    let scheduled = condition(pod, "PodScheduled").filter(|one| one["status"] == "False")?;
    Some(told(text(scheduled, "/reason"), text(scheduled, "/message")))
}

fn waiting(status: &Value) -> Option<String> {
    let waiting = &status["state"]["waiting"];
    let reason = text(waiting, "/reason");
    if reason.is_empty() || ON_THE_WAY.contains(&reason) {
        return None;
    }
    let told = told(reason, text(waiting, "/message"));
    Some(format!("container {}: {told}", text(status, "/name")))
}

fn told(reason: &str, message: &str) -> String {
    match message {
        "" => reason.to_owned(),
        message => format!("{reason}: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_that_finds_no_node_says_why() {
        let pod = json!({"status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes are available",
        }]}});
        assert_eq!(
            of_pod(&pod).as_deref(),
            Some("Unschedulable: 0/2 nodes are available")
        );
    }

    #[test]
    fn a_container_that_waits_for_its_image_is_named() {
        let pod = json!({"status": {"initContainerStatuses": [
            {"name": "smilax-proxy", "state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}},
        ]}});
        let told = Some("container smilax-proxy: ErrImagePull: not found".to_owned());
        assert_eq!(of_pod(&pod), told);
        assert_eq!(of_container(&pod, "smilax-proxy"), told);
        assert_eq!(of_container(&pod, "web"), None);
    }

    #[test]
    fn a_pod_that_is_about_to_start_has_no_trouble() {
        let pod = json!({"status": {"containerStatuses": [
            {"name": "web", "state": {"waiting": {"reason": "ContainerCreating"}}},
        ]}});
        assert_eq!(of_pod(&pod), None);
        assert!(!is_ready(&pod));
    }
}
