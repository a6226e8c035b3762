//! Pods that let UDP in, or keep it out, as an earlier access mode had it.

use std::collections::BTreeMap;

use serde_json::Value;
use smilax_compiler::Modes;
use smilax_core::convention::key;

use super::{Finding, Snapshot, is_operator, notice};
use crate::mesh;

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
        .filter_map(|namespace| {
            let annotations = &namespace["metadata"]["annotations"];
            let annotations = serde_json::from_value(annotations.clone()).unwrap_or_default();
            let name = namespace["metadata"]["name"].as_str()?;
            Some((name, Modes::of(&settings, &annotations).0))
        })
        .collect();
    for pod in &snapshot.pods {
        let metadata = &pod["metadata"];
        let (Some(namespace), Some(name)) = (metadata["namespace"].as_str(), metadata["name"].as_str())
        else {
            continue;
        };
        let ended = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let injected = metadata["labels"][key::PROXY_VERSION].is_string();
        let Some(modes) = modes.get(namespace).filter(|_| injected && !ended) else {
            continue;
        };
        let own = metadata["annotations"][key::ACCESS_MODE]
            .as_str()
            .and_then(|mode| mode.trim().parse().ok());
        let wanted = modes.inbound_udp(own).as_str();
        let made = metadata["annotations"][key::INBOUND_UDP]
            .as_str()
            .unwrap_or("open");
        if wanted != made {
            findings.push(notice(
                &format!("{namespace}/{name}"),
                format!("new inbound UDP is {made} as when the pod was made, and should be {wanted} by now; restart it"),
            ));
        }
    }
}
