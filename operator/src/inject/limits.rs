//! LimitRanges that the sidecar does not fit into.
//!
//! The API server compares pods with LimitRanges after injection, and its error, an Event of the ReplicaSet, names neither
//! a container nor a way out. The rules are those of `plugin/pkg/admission/limitranger` of Kubernetes 1.34.

use serde_json::Value;
use smilax_compiler::keys::Quantity;
use smilax_core::convention::key;

use super::pod::{lasting_containers, text};
use super::sidecar::PROXY;
use crate::cluster_view::{LimitRangeView, LimitScope, LimitView, NamespaceView};

/// A resource and the annotations that set its request and limit.
struct Resource {
    name: &'static str,
    request: &'static str,
    limit: &'static str,
}

const RESOURCES: [Resource; 2] = [
    Resource {
        name: "cpu",
        request: key::CPU_REQUEST,
        limit: key::CPU_LIMIT,
    },
    Resource {
        name: "memory",
        request: key::MEMORY_REQUEST,
        limit: key::MEMORY_LIMIT,
    },
];

/// Request and limit of one resource, in units of 10⁻⁹.
#[derive(Clone, Copy, Debug, Default)]
struct Amount {
    request: u128,
    limit: u128,
}

/// What a LimitRange minds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Violation {
    Min,
    Max,
    Ratio,
}

/// Every LimitRange that would refuse the pod for the sake of its sidecar, and what to do about it. What the pod's own
/// containers violate is left to the API server.
pub(super) fn obstacles(pod: &Value, namespace: &NamespaceView, sidecar: &Value) -> Vec<String> {
    // Within resources for the pod as a whole, the sidecar has none of its own; the API server gives it the defaults.
    if pod.pointer("/spec/resources").is_some_and(Value::is_object) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for range in &namespace.limit_ranges {
        for limit in &range.limits {
            for resource in &RESOURCES {
                let own = Amount::of(sidecar, resource.name);
                let others = match limit.scope {
                    LimitScope::Container => None,
                    LimitScope::Pod => Some(Amount::of_pod(pod, resource.name)),
                };
                let judged = others.map_or(own, |others| others.plus(own));
                for violation in [Violation::Min, Violation::Max, Violation::Ratio] {
                    let was_there =
                        others.is_some_and(|others| violation.of(others, limit, resource).is_some());
                    if let Some(bound) = violation.of(judged, limit, resource).filter(|_| !was_there) {
                        found.push(message(
                            violation,
                            bound,
                            range,
                            limit.scope,
                            resource,
                            sidecar,
                            namespace,
                        ));
                    }
                }
            }
        }
    }
    found
}

impl Amount {
    /// Of a container, or of an object with `requests` and `limits`.
    fn of(resources: &Value, resource: &str) -> Self {
        let amount = |kind: &str| {
            let value = resources.get(kind)?.get(resource)?;
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned);
            Some(text.parse::<Quantity>().ok()?.nano())
        };
        let limit = amount("limits").unwrap_or_default();
        Self {
            // A request that is not written is the limit.
            request: amount("requests").unwrap_or(limit),
            limit,
        }
    }

    /// Of all containers that run at the same time.
    fn of_pod(pod: &Value, resource: &str) -> Self {
        lasting_containers(pod)
            .filter_map(|container| container.get("resources"))
            .fold(Self::default(), |sum, resources| {
                sum.plus(Self::of(resources, resource))
            })
    }

    fn plus(self, other: Self) -> Self {
        Self {
            request: self.request.saturating_add(other.request),
            limit: self.limit.saturating_add(other.limit),
        }
    }
}

impl Violation {
    /// The bound that an amount violates, as it is written.
    fn of<'a>(self, amount: Amount, limit: &'a LimitView, resource: &Resource) -> Option<&'a str> {
        let bounds = match self {
            Self::Min => &limit.min,
            Self::Max => &limit.max,
            Self::Ratio => &limit.max_limit_request_ratio,
        };
        let text = bounds.get(resource.name)?;
        let bound = text.parse::<Quantity>().ok()?.nano();
        let is_violated = match self {
            Self::Min => amount.request < bound,
            Self::Max => amount.limit > bound,
            Self::Ratio => {
                const ONE: u128 = 1_000_000_000;
                amount.limit.saturating_mul(ONE) > amount.request.saturating_mul(bound)
            }
        };
        is_violated.then_some(text)
    }
}

fn message(
    violation: Violation,
    bound: &str,
    range: &LimitRangeView,
    scope: LimitScope,
    resource: &Resource,
    sidecar: &Value,
    namespace: &NamespaceView,
) -> String {
    let written = |kind: &str| text(sidecar, &format!("/{kind}/{}", resource.name)).unwrap_or("0");
    let (request, limit) = (written("requests"), written("limits"));
    let Resource { name, .. } = resource;
    let whose = match scope {
        LimitScope::Container => "a container",
        LimitScope::Pod => "all containers of a pod together",
    };
    let (rule, has, change) = match violation {
        Violation::Min => (
            format!("asks {whose} to request at least {bound} of {name}"),
            format!("requests {request}"),
            // Where both are the same, as in a Guaranteed pod, the limit decides.
            if request == limit {
                format!("raise {} and {}", resource.request, resource.limit)
            } else {
                format!("raise {}", resource.request)
            },
        ),
        Violation::Max => (
            format!("limits {whose} to {bound} of {name}"),
            format!("has a limit of {limit}"),
            format!("lower {}", resource.limit),
        ),
        Violation::Ratio => (
            format!("lets the limit of {whose} be at most {bound} times the request of {name}"),
            format!("requests {request} with a limit of {limit}"),
            format!("raise {} or lower {}", resource.request, resource.limit),
        ),
    };
    format!(
        "LimitRange {:?} of namespace {} {rule}, and container {PROXY:?} {has}: {change}, an annotation of the pod or of \
         its Namespace, or change the LimitRange",
        range.name, namespace.name
    )
}

#[cfg(test)]
mod tests;
