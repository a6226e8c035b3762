//! Pods that let UDP in, or keep it out, as an earlier access mode had it.

use std::collections::BTreeMap;

use serde_json::Value;
use smilax_compiler::Modes;

use super::pods::{NAMED, sidecar_of};
use super::{Finding, Snapshot, is_operator, notice};
use crate::controller::{Controller, is_gone};
use crate::mesh;
use crate::output::{counted, named};
use crate::world::text;

pub(super) fn check(snapshot: &Snapshot, findings: &mut Vec<Finding>) {
    // Elements of a list do not say what they are.
    let mut objects: Vec<Value> = Vec::new();
    for (kind, all) in [
        ("MeshConfig", &snapshot.meshes),
        ("Deployment", &snapshot.deployments),
    ] {
        for object in all.iter().filter(|one| kind == "MeshConfig" || is_operator(one)) {
            let mut object = object.clone();
            object["kind"] = Value::from(kind);
            objects.push(object);
        }
    }
    let settings = mesh::settings(&objects);
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
                "inbound UDP is {made} in {} made under another access mode, and should be {wanted}: {}; {}",
                counted(pods.len(), "pod"),
                named(&pods, NAMED),
                controller.restart()
            ),
        ));
    }
}
