//! Putting the sidecar into pods: a pure function from a pod's raw JSON to another.
//!
//! ```text
//! pod ─► what an earlier injection left is taken out
//!
//! pod, Namespace, settings ─► left alone? ──yes──► reason, noted on the pod
//!                                │ no
//!                             obstacles? ──yes──► refused, with all of them
//!                                │ no
//!      annotations ─► Options ─► probes rewritten ─► smilax-init, smilax-proxy, volumes, labels ─► pod
//! ```
//!
//! The pod is never read into a type: fields that this version does not know survive.

mod annotation;
mod earlier;
mod eligibility;
mod evasion;
#[cfg(test)]
pub(crate) mod fixture;
mod limits;
mod modes;
mod pod;
mod ports;
mod powers;
mod probes;
mod running;
mod scrape;
mod settings;
mod sidecar;
mod validate;
mod workload;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Map, Value, json};
use smilax_compiler::keys::{self, Fault, Membership};
use smilax_compiler::modes::InboundUdp;
use smilax_core::convention::key;
use smilax_core::probe::PathKey;

pub use eligibility::{LeftAlone, Rule};
pub use running::validate_running;
pub use settings::{InjectSettings, ProxyLogFormat, PullPolicy, PullPolicyError, Resources};
pub use sidecar::{INIT, PROXY};
pub use smilax_compiler::keys::{Quantity, QuantityError};
pub use validate::{Findings, validate_workload};

use crate::cluster_view::NamespaceView;
use scrape::Scraping;
use sidecar::Sidecar;

/// What injection notes on a pod that has its sidecar. Problems may follow it.
pub const INJECTED: &str = "injected";

/// Local volumes that do not keep the cluster autoscaler from removing a node.
const EVICTABLE: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes";

/// A pod that is about to be created.
#[derive(Clone, Copy, Debug)]
pub struct InjectRequest<'a> {
    /// The pod, raw.
    pub pod: &'a Value,
    /// Its Namespace. Pods under creation often do not say theirs.
    pub namespace: &'a NamespaceView,
    /// How the installation wants its sidecars.
    pub settings: &'a InjectSettings,
    /// What the paths of this pod's probes and hooks begin with: random, for this pod alone.
    pub path_key: &'a PathKey,
}

/// What became of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has a sidecar now.
    Injected {
        /// The pod with it.
        pod: Value,
        /// For whoever creates the pod.
        warnings: Vec<String>,
    },
    /// It has none.
    LeftAlone {
        /// Why.
        reason: LeftAlone,
        /// The pod with the reason noted on it; `None` when it stays as it is.
        pod: Option<Value>,
        /// For whoever creates the pod.
        warnings: Vec<String>,
    },
    /// It must not be created as it is.
    Refused {
        /// Why, and what to do.
        message: String,
    },
}

/// Decides about a pod. Injecting what was injected changes nothing: it keeps its key. A copy that differs gets one of its own.
pub fn inject(request: &InjectRequest<'_>) -> Outcome {
    let earlier = earlier::path_key(request.pod).map(|key| {
        inject_as(&InjectRequest {
            path_key: &key,
            ..*request
        })
    });
    if let Some(Outcome::Injected { pod, warnings }) = earlier
        && &pod == request.pod
    {
        return Outcome::Injected { pod, warnings };
    }
    // By now the pod of the first attempt is gone from memory.
    inject_as(request)
}

fn inject_as(request: &InjectRequest<'_>) -> Outcome {
    let InjectRequest {
        pod: given,
        namespace,
        settings,
        path_key,
    } = *request;
    let (stripped, of_earlier) = earlier::strip(given);
    let raw = &stripped;
    let (left_alone, mut warnings) = eligibility::left_alone(raw, namespace, settings);
    if !left_alone.is_some_and(LeftAlone::is_untouchable) {
        warnings.extend(of_earlier);
    }
    if let Some(reason) = left_alone {
        let mut evasions = evasion::evasions(raw, namespace, left_alone);
        if !reason.is_untouchable() {
            evasions.extend(eligibility::tokens(raw));
        }
        if !evasions.is_empty() {
            return Outcome::Refused {
                message: format!("smilax refuses this pod: {}", evasions.join("; ")),
            };
        }
        let pod = match reason.status() {
            Some(status) => noted(raw, status),
            None if reason.is_untouchable() => given.clone(),
            None => stripped,
        };
        return Outcome::LeftAlone {
            reason,
            pod: Some(pod).filter(|pod| pod != given),
            warnings,
        };
    }
    let mut obstacles = evasion::identities(raw);
    obstacles.extend(eligibility::obstacles(raw, namespace));
    if !obstacles.is_empty() {
        return Outcome::Refused {
            message: format!("smilax cannot inject this pod: {}", obstacles.join("; ")),
        };
    }
    let (options, bad) = annotation::resolve(raw, namespace, settings);
    let too_large = limits::obstacles(raw, namespace, &sidecar::resources(raw, &options));
    if !too_large.is_empty() {
        return Outcome::Refused {
            message: format!("smilax cannot inject this pod: {}", too_large.join("; ")),
        };
    }
    warnings.extend(misplaced_keys(raw));
    warnings.extend(bad.iter().map(|bad| format!("ignored: {bad}")));
    warnings.extend(powers::powers(raw));
    warnings.extend(drains_longer_than_it_lives(raw, options.drain_seconds));

    let mut pod = raw.clone();
    let (probes, of_probes) = probes::rewrite(&mut pod, path_key);
    warnings.extend(of_probes);
    let (scraping, unscraped) = scrape::scraping(raw, options.merge_metrics);
    warnings.extend(unscraped);
    let sidecar = Sidecar {
        settings,
        options: &options,
        probes: &probes,
        scraping: &scraping,
        protocols: &ports::protocols(raw, &options.opaque),
        port_names: &ports::names(raw),
        workload: &workload::workload_name(raw),
        trust_anchors: namespace.trust_anchors.as_ref(),
    };
    let added = add_containers(
        &mut pod,
        [sidecar.init(raw), sidecar.proxy(raw)],
        sidecar::volumes(raw),
    );
    let status = match bad.as_slice() {
        [] => INJECTED.to_owned(),
        bad => {
            let bad: Vec<String> = bad.iter().map(ToString::to_string).collect();
            format!("{INJECTED}; ignored: {}", bad.join("; "))
        }
    };
    match added.and_then(|()| add_metadata(
        &mut pod,
        &settings.version,
        options.inbound_udp,
        status,
        &scraping,
    )) {
        Some(()) => Outcome::Injected { pod, warnings },
        None => Outcome::Refused {
            message: "smilax cannot inject this pod: its metadata or spec is not of the form that Kubernetes defines"
                .to_owned(),
        },
    }
}

/// Why a pod is left alone, if it is: the first part of [`inject`].
pub fn left_alone(pod: &Value, namespace: &NamespaceView, settings: &InjectSettings) -> Option<LeftAlone> {
    eligibility::left_alone(pod, namespace, settings).0
}

/// What decides whether a pod asks for a sidecar, of an earlier injection or none.
pub fn rule(pod: &Value, namespace: &NamespaceView) -> Rule {
    eligibility::rule(pod, namespace)
}

/// The JSON Patch (RFC 6902) that makes one pod of the other. Our containers are added in front rather than written over
/// the ones that stood there, so that the patch says what happens and stays right when others have patched in between.
pub fn patch(raw: &Value, mutated: &Value) -> Patch {
    let new = new_containers(raw, mutated);
    if new.is_empty() {
        return json_patch::diff(raw, mutated);
    }
    let mut between = raw.clone();
    let mut operations = Vec::new();
    if let Some(existing) = between
        .pointer_mut("/spec/initContainers")
        .and_then(Value::as_array_mut)
    {
        for (index, container) in new.into_iter().enumerate() {
            existing.insert(index, container.clone());
            operations.push(PatchOperation::Add(AddOperation {
                path: PointerBuf::from_tokens(["spec", "initContainers", &index.to_string()]),
                value: container.clone(),
            }));
        }
    }
    operations.extend(json_patch::diff(&between, mutated).0);
    Patch(operations)
}

/// Our containers in front of those that the pod had.
fn new_containers<'a>(raw: &Value, mutated: &'a Value) -> Vec<&'a Value> {
    let containers = |pod: &'a Value| pod.pointer("/spec/initContainers").and_then(Value::as_array);
    let existing = raw.pointer("/spec/initContainers").and_then(Value::as_array);
    let Some((ours, existing)) = containers(mutated).zip(existing) else {
        return Vec::new();
    };
    let is_new = |container: &&Value| {
        sidecar::CONTAINERS.contains(&pod::name(container)) && !existing.contains(container)
    };
    ours.iter().take_while(is_new).collect()
}

fn noted(raw: &Value, status: &str) -> Value {
    let mut pod = raw.clone();
    if let Some(annotations) = metadata(&mut pod, "annotations") {
        annotations.insert(key::INJECT_STATUS.to_owned(), json!(status));
    }
    pod
}

fn add_containers(pod: &mut Value, containers: [Value; 2], volumes: [Value; 5]) -> Option<()> {
    let spec = pod.get_mut("spec").filter(|spec| spec.is_object())?;
    // First of all: what the application's own init containers do goes through the proxy as well.
    pod::list_mut(spec, "initContainers")?.splice(0..0, containers);
    pod::list_mut(spec, "volumes")?.extend(volumes);
    Some(())
}

fn add_metadata(
    pod: &mut Value,
    version: &str,
    inbound_udp: InboundUdp,
    status: String,
    scraping: &Scraping,
) -> Option<()> {
    let annotations = metadata(pod, "annotations")?;
    annotations.insert(key::INBOUND_UDP.to_owned(), json!(inbound_udp.as_str()));
    annotations.insert(key::INJECT_STATUS.to_owned(), Value::String(status));
    scrape::write(annotations, scraping);
    let mut evictable: Vec<String> = annotations
        .get(EVICTABLE)
        .and_then(Value::as_str)
        .into_iter()
        .flat_map(|list| list.split(',').map(ToOwned::to_owned))
        .collect();
    evictable.extend(sidecar::evictable().map(ToOwned::to_owned));
    annotations.insert(EVICTABLE.to_owned(), Value::String(evictable.join(",")));
    metadata(pod, "labels")?.insert(key::PROXY_VERSION.to_owned(), Value::String(label_value(version)));
    Some(())
}

fn metadata<'a>(pod: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    pod::map(pod, "metadata")?;
    pod::map(pod.get_mut("metadata")?, key)
}

/// A version as the value of a label: at most 63 of the permitted characters, the outer ones letters or digits.
fn label_value(version: &str) -> String {
    let permitted = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.".contains(c) {
            c
        } else {
            '_'
        }
    };
    let value: String = version.chars().map(permitted).take(63).collect();
    value
        .trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

fn drains_longer_than_it_lives(pod: &Value, drain_seconds: u32) -> Option<String> {
    let grace = pod.pointer("/spec/terminationGracePeriodSeconds")?.as_u64()?;
    (u64::from(drain_seconds) > grace).then(|| {
        format!(
            "draining may take {drain_seconds} s ({}), but the pod is killed after terminationGracePeriodSeconds: {grace}",
            key::DRAIN_SECONDS
        )
    })
}

/// Keys that mean nothing on a pod; values that cannot be read are told with what is taken instead.
fn misplaced_keys(pod: &Value) -> Vec<String> {
    keys::judge("Pod", pod, Membership::Joined)
        .into_iter()
        .filter(|found| !matches!(found.fault, Fault::Value(_)))
        .map(|found| found.to_string())
        .collect()
}

#[cfg(test)]
mod tests;
