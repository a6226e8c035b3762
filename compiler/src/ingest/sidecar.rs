//! The sidecar of a pod, from its containers.

use k8s_openapi::api::core::v1 as core;
use smilax_core::convention::container::{INIT, PROXY, PROXY_ARGUMENTS};
use smilax_core::convention::variable;

use crate::model::{InboundUdp, Sidecar};

/// Variables of our containers that are read here. Whoever holds less than whole pods must hold these.
pub const SIDECAR_VARIABLES: [&str; 3] = [
    variable::SKIP_INBOUND_PORTS,
    variable::INBOUND_UDP,
    variable::ACCESS_MODE,
];

/// The sidecar: a native one with our name and arguments. Any image will do, since images may be exchanged in a running pod:
/// a pod must not become one without a sidecar, which is called in plaintext, by a patch.
pub fn sidecar(spec: &core::PodSpec) -> Option<Sidecar> {
    let proxy = named(spec, PROXY).filter(|one| is_proxy(one))?;
    let drops = variable(spec, INIT, variable::INBOUND_UDP) == Some(InboundUdp::Drop.as_str());
    let access = variable(spec, PROXY, variable::ACCESS_MODE);
    Some(Sidecar {
        image: proxy.image.clone().unwrap_or_default(),
        inbound_udp: if drops { InboundUdp::Drop } else { InboundUdp::Open },
        access: access.and_then(|mode| mode.parse().ok()),
    })
}

/// Inbound ports that the redirect leaves alone.
pub(super) fn skipped_inbound(spec: &core::PodSpec) -> Vec<(u16, u16)> {
    let list = variable(spec, INIT, variable::SKIP_INBOUND_PORTS);
    list.map(port_ranges).unwrap_or_default()
}

/// Ports and ranges of ports, separated by commas.
pub(super) fn port_ranges(list: &str) -> Vec<(u16, u16)> {
    list.split(',')
        .filter_map(|entry| {
            let (from, to) = entry.split_once('-').unwrap_or((entry, entry));
            Some((from.trim().parse().ok()?, to.trim().parse().ok()?))
        })
        .collect()
}

fn is_proxy(container: &core::Container) -> bool {
    let arguments = container.args.iter().flatten();
    container.restart_policy.as_deref() == Some("Always")
        && container.command.iter().flatten().next().is_none()
        && arguments.eq(PROXY_ARGUMENTS)
}

fn named<'a>(spec: &'a core::PodSpec, name: &str) -> Option<&'a core::Container> {
    let mut containers = spec.init_containers.iter().flatten();
    containers.find(|one| one.name == name)
}

/// A variable of one of our containers, as it was written when the pod was made.
fn variable<'a>(spec: &'a core::PodSpec, container: &str, name: &str) -> Option<&'a str> {
    let mut variables = named(spec, container)?.env.iter().flatten();
    variables.find(|one| one.name == name)?.value.as_deref()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use smilax_core::config::AccessMode;
    use smilax_core::convention::key;

    use crate::model::{InboundUdp, Pod};

    fn init() -> Value {
        let variable = |name: &str, value: &str| json!({"name": name, "value": value});
        json!({"name": "smilax-init", "env": [
            variable("SMILAX_SKIP_INBOUND_PORTS", "80,9000-9010"), variable("SMILAX_INBOUND_UDP", "drop"),
        ]})
    }

    fn proxy() -> Value {
        json!({
            "name": "smilax-proxy", "image": "registry.example/smilax-proxy:1", "restartPolicy": "Always", "args": ["run"],
            "env": [{"name": "SMILAX_ACCESS_MODE", "value": "deny"}],
        })
    }

    /// A pod with these init containers, and these labels and annotations.
    fn read(containers: &[Value], words: &[(&str, &str)]) -> Pod {
        let words: serde_json::Map<String, Value> = words
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        let pod = json!({
            "metadata": {"labels": words, "annotations": words},
            "spec": {"containers": [{"name": "web"}], "initContainers": containers},
        });
        crate::ingest::pod(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn s31_labels_and_annotations_make_no_sidecar() {
        let claims = [(key::PROXY_VERSION, "0.1.0"), (key::INJECT_STATUS, "injected")];
        assert!(!read(&[], &claims).injected());
        assert!(!read(&[json!({"name": "setup"})], &claims).injected());
    }

    #[test]
    fn s31_a_pod_keeps_its_sidecar_whatever_becomes_of_its_labels_and_annotations() {
        for words in [&[][..], &[(key::PROXY_VERSION, "")], &[(key::INJECT, "disabled")]] {
            assert!(read(&[init(), proxy()], words).injected(), "{words:?}");
        }
    }

    #[test]
    fn s31_a_pod_keeps_its_sidecar_when_somebody_exchanges_its_image() {
        let mut other = proxy();
        other["image"] = json!("registry.example/pause:3");
        let found = read(&[init(), other], &[]).sidecar.unwrap();
        assert_eq!(found.image, "registry.example/pause:3");
    }

    #[test]
    fn s31_a_container_that_is_no_native_sidecar_or_runs_something_else_is_none() {
        let changes = [
            ("restartPolicy", json!(null)),
            ("args", json!(["run", "--help"])),
            ("args", json!(null)),
            ("command", json!(["sleep"])),
            ("name", json!("smilax-proxy-2")),
        ];
        for (field, value) in changes {
            let mut container = proxy();
            container[field] = value;
            assert!(!read(&[container.clone()], &[]).injected(), "{container}");
        }
    }

    #[test]
    fn s31_what_the_redirect_does_is_what_it_was_given_when_the_pod_was_made() {
        let claims = [
            (key::SKIP_INBOUND_PORTS, "1"),
            (key::INBOUND_UDP, "open"),
            (key::ACCESS_MODE, "allow"),
        ];
        let found = read(&[init(), proxy()], &claims);
        assert!(found.skips_inbound(80) && found.skips_inbound(9005));
        assert!(!found.skips_inbound(1) && !found.skips_inbound(9011));
        let sidecar = found.sidecar.unwrap();
        assert_eq!(sidecar.inbound_udp, InboundUdp::Drop);
        assert_eq!(sidecar.access, Some(AccessMode::Deny));
    }

    #[test]
    fn s31_an_init_container_of_the_application_says_nothing_about_the_redirect() {
        let mut other = init();
        other["name"] = json!("setup");
        let found = read(&[other, proxy()], &[]);
        assert!(!found.skips_inbound(80));
        assert_eq!(found.sidecar.unwrap().inbound_udp, InboundUdp::Open);
    }
}
