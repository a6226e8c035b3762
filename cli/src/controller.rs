//! What makes a pod, and makes it anew.

use serde_json::Value;

use crate::remedies;
use crate::world::text;

/// What makes a pod: the kind as kubectl takes it, and the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Controller {
    pub(crate) namespace: String,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
}

impl Controller {
    /// API group and kind of everything that makes pods from a template of its own.
    pub(crate) const RESOURCES: [(&str, &str); 5] = [
        ("apps", "Deployment"),
        ("apps", "StatefulSet"),
        ("apps", "DaemonSet"),
        ("apps", "ReplicaSet"),
        ("batch", "Job"),
    ];

    /// The kind as kubectl takes it, from what kubectl takes: `deploy`, `deployments`, `sts` and so on. `None` for another kind.
    pub(crate) fn kind(text: &str) -> Option<&'static str> {
        Some(match text {
            "deploy" | "deployment" | "deployments" => "deployment",
            "sts" | "statefulset" | "statefulsets" => "statefulset",
            "ds" | "daemonset" | "daemonsets" => "daemonset",
            "rs" | "replicaset" | "replicasets" => "replicaset",
            "job" | "jobs" => "job",
            _ => return None,
        })
    }

    /// API group and kind of what makes pods from a template for ever.
    pub(crate) fn resource(kind: &str) -> Option<(&'static str, &'static str)> {
        Some(match kind {
            "deployment" => ("apps", "Deployment"),
            "statefulset" => ("apps", "StatefulSet"),
            "daemonset" => ("apps", "DaemonSet"),
            "replicaset" => ("apps", "ReplicaSet"),
            "job" => ("batch", "Job"),
            _ => return None,
        })
    }

    /// The kind as Kubernetes writes it in objects.
    pub(crate) fn api_kind(&self) -> &'static str {
        Self::resource(self.kind).map_or("Pod", |(_, kind)| kind)
    }

    /// This object, where it is a kind that makes pods.
    pub(crate) fn of_object(object: &Value) -> Option<Self> {
        let kind = Self::kind(&text(object, "/kind").to_ascii_lowercase())?;
        Some(Self {
            namespace: text(object, "/metadata/namespace").to_owned(),
            kind,
            name: text(object, "/metadata/name").to_owned(),
        })
    }

    /// The one whose template this is.
    pub(crate) fn of_template(template: &Value) -> Self {
        let owner = &template["metadata"]["ownerReferences"][0];
        Self {
            namespace: text(template, "/metadata/namespace").to_owned(),
            kind: Self::kind(&text(owner, "/kind").to_ascii_lowercase()).unwrap_or("pod"),
            name: text(owner, "/name").to_owned(),
        }
    }

    /// That of a pod; the pod itself where nothing makes it.
    pub(crate) fn of(pod: &Value) -> Self {
        let owners = pod["metadata"]["ownerReferences"].as_array();
        let owner = owners
            .into_iter()
            .flatten()
            .find(|owner| owner["controller"] == true);
        let of = |kind, name: &str| Self {
            namespace: text(pod, "/metadata/namespace").to_owned(),
            kind,
            name: name.to_owned(),
        };
        let Some(owner) = owner else {
            return of("pod", text(pod, "/metadata/name"));
        };
        let name = text(owner, "/name");
        match text(owner, "/kind") {
            "ReplicaSet" => {
                // A Deployment names its ReplicaSets after itself and the hash of their template.
                let hash = text(pod, "/metadata/labels/pod-template-hash");
                match name.strip_suffix(hash).and_then(|name| name.strip_suffix('-')) {
                    Some(deployment) if !hash.is_empty() => of("deployment", deployment),
                    _ => of("replicaset", name),
                }
            }
            "StatefulSet" => of("statefulset", name),
            "DaemonSet" => of("daemonset", name),
            "Job" => of("job", name),
            _ => of("pod", text(pod, "/metadata/name")),
        }
    }

    /// As findings name it: with its kind as Kubernetes writes it.
    pub(crate) fn subject(&self) -> String {
        format!("{} {}/{}", self.api_kind(), self.namespace, self.name)
    }

    /// What makes its pods anew.
    pub(crate) fn restart(&self) -> String {
        let Self {
            namespace,
            kind,
            name,
        } = self;
        match *kind {
            "deployment" | "statefulset" | "daemonset" => remedies::restart(namespace, kind, name),
            "replicaset" => {
                format!("delete these pods, and replicaset {name} in namespace {namespace} makes new ones")
            }
            kind => format!("{}, and create it again", remedies::delete(namespace, kind, name)),
        }
    }
}

/// Whether a pod has ended, or is about to.
pub(crate) fn is_gone(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
        || pod["metadata"]["deletionTimestamp"].is_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, owner: &str, of: &str, hash: &str) -> Value {
        json!({"metadata": {
            "name": name, "namespace": "shop", "labels": {"pod-template-hash": hash},
            "ownerReferences": [{"kind": owner, "name": of, "controller": true}],
        }})
    }

    #[test]
    fn pods_are_made_anew_by_what_made_them() {
        let restart = |pod: &Value| Controller::of(pod).restart();
        let of = [
            (
                pod("web-5d-x", "ReplicaSet", "web-5d", "5d"),
                "kubectl --namespace shop rollout restart deployment/web",
            ),
            (
                pod("db-0", "StatefulSet", "db", ""),
                "kubectl --namespace shop rollout restart statefulset/db",
            ),
            (
                pod("agent-x", "DaemonSet", "agent", ""),
                "kubectl --namespace shop rollout restart daemonset/agent",
            ),
        ];
        for (pod, expected) in of {
            assert_eq!(restart(&pod), expected);
        }
        let bare = json!({"metadata": {"name": "tool", "namespace": "shop"}});
        assert_eq!(Controller::of(&bare).subject(), "Pod shop/tool");
        assert_eq!(
            Controller::of(&pod("r-x", "ReplicaSet", "r", "")).subject(),
            "ReplicaSet shop/r"
        );
    }
}
