//! Pods that should have a proxy and have none, and pods whose proxy is old: a line for each workload, with the command that
//! makes its pods anew.

use std::collections::{BTreeMap, BTreeSet};

use smilax_core::convention::{container, key};

use super::{Finding, Snapshot, failed, good, notice};
use crate::controller::{Controller, is_gone};
use crate::operator;
use crate::output::{counted, named};
use crate::sidecars::sidecar_of;
use crate::trouble;
use crate::world::text;

/// Pods that are named of a controller; more are counted.
pub(super) const NAMED: usize = 3;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let enabled: BTreeSet<&str> = snapshot
        .namespaces
        .iter()
        .filter(|one| one["metadata"]["labels"][key::INJECT] == "enabled")
        .map(|one| text(one, "/metadata/name"))
        .collect();
    let serving = snapshot.operator().and_then(|operator| operator.serving());
    let operator = serving.map(operator::version);
    let (mut meshed, mut namespaces) = (0, BTreeSet::new());
    let mut missing: BTreeMap<Controller, Vec<&str>> = BTreeMap::new();
    let mut old: BTreeMap<(Controller, &str), Vec<&str>> = BTreeMap::new();
    let mut waiting: BTreeMap<(Controller, String), Vec<&str>> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| !is_gone(pod)) {
        let labels = &pod["metadata"]["labels"];
        let namespace = text(pod, "/metadata/namespace");
        let name = text(pod, "/metadata/name");
        if sidecar_of(pod).is_some() {
            meshed += 1;
            namespaces.insert(namespace);
            if let Some(why) = trouble::of_container(pod, container::PROXY) {
                waiting.entry((Controller::of(pod), why)).or_default().push(name);
            }
            let version = labels[key::PROXY_VERSION].as_str();
            let far = version.filter(|version| operator.is_some_and(|operator| !is_near(operator, version)));
            if let Some(version) = far {
                old.entry((Controller::of(pod), version)).or_default().push(name);
            }
            continue;
        }
        let asked = labels[key::INJECT] == "enabled"
            || (enabled.contains(namespace) && labels[key::INJECT] != "disabled");
        let on_purpose = pod["metadata"]["annotations"][key::INJECT_STATUS].is_string()
            || pod["spec"]["hostNetwork"] == true;
        if asked && !on_purpose {
            missing.entry(Controller::of(pod)).or_default().push(name);
        }
    }
    findings.push(good(
        "proxies",
        format!(
            "{} in {} of the mesh",
            counted(meshed, "pod"),
            counted(namespaces.len(), "namespace")
        ),
    ));
    for ((controller, why), pods) in waiting {
        findings.push(failed(
            &controller.subject(),
            format!(
                "{} whose proxy does not start: {}; {why}",
                counted(pods.len(), "pod"),
                named(&pods, NAMED)
            ),
        ));
    }
    for ((controller, version), pods) in old {
        findings.push(notice(
            &controller.subject(),
            format!(
                "{} with a proxy of version {version}: {}; {}",
                counted(pods.len(), "pod"),
                named(&pods, NAMED),
                controller.restart()
            ),
        ));
    }
    for (controller, pods) in missing {
        findings.push(failed(
            &controller.subject(),
            format!(
                "{} without a proxy: {}; {}",
                counted(pods.len(), "pod"),
                named(&pods, NAMED),
                controller.restart()
            ),
        ));
    }
}

/// One minor version of difference is supported either way.
pub(super) fn is_near(operator: &str, proxy: &str) -> bool {
    let minor = |version: &str| {
        let mut parts = version.split('.');
        Some((
            parts.next()?.parse::<u32>().ok()?,
            parts.next()?.parse::<u32>().ok()?,
        ))
    };
    match (minor(operator), minor(proxy)) {
        (Some((major, minor)), Some((proxy_major, proxy_minor))) => {
            major == proxy_major && minor.abs_diff(proxy_minor) <= 1
        }
        // A tag that is not a version says nothing.
        _ => true,
    }
}
