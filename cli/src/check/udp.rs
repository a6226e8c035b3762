//! Pods that let UDP in, or keep it out, as an earlier access mode had it.

use std::collections::BTreeMap;

use smilax_compiler::Modes;

use super::pods::NAMED;
use super::{Finding, Snapshot, notice};
use crate::controller::{Controller, is_gone};
use crate::mesh;
use crate::output::{counted, named};
use crate::sidecars::sidecar_of;
use crate::world::text;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    let settings = mesh::settings(&snapshot.settings());
    let modes: BTreeMap<&str, Modes> = snapshot
        .namespaces
        .iter()
        .map(|namespace| {
            let annotations = &namespace["metadata"]["annotations"];
            let annotations = serde_json::from_value(annotations.clone()).unwrap_or_default();
            let name = text(namespace, "/metadata/name");
            (name, Modes::of(&settings, &annotations).0)
        })
        .collect();
    let mut outdated: BTreeMap<(Controller, &str, &str), Vec<&str>> = BTreeMap::new();
    for pod in snapshot.pods.iter().filter(|pod| !is_gone(pod)) {
        let modes = modes.get(text(pod, "/metadata/namespace"));
        let Some((modes, sidecar)) = modes.zip(sidecar_of(pod)) else {
            continue;
        };
        let wanted = modes.inbound_udp(sidecar.access).as_str();
        let made = sidecar.inbound_udp.as_str();
        if wanted != made {
            let pods = outdated.entry((Controller::of(pod), made, wanted)).or_default();
            pods.push(text(pod, "/metadata/name"));
        }
    }
    for ((controller, made, wanted), pods) in outdated {
        findings.push(notice(
            &controller.subject(),
            format!(
                "inbound UDP: {made} in {} created under another access mode, where the mode now in force asks for {wanted}: {}; {}",
                counted(pods.len(), "pod"),
                named(&pods, NAMED),
                controller.restart()
            ),
        ));
    }
}
