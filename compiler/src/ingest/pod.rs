use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use smilax_core::convention::key;

use super::sidecar::port_ranges;
use super::{meta, our_annotations};
use crate::model::{Pod, Sidecar};
use crate::port_names::{ContainerRole, DeclaredPort, port_names, tcp_ports};

/// A Pod.
pub fn pod(object: &core::Pod) -> Pod {
    let spec = object.spec.as_ref();
    let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let declared = || spec.into_iter().flat_map(declared_ports);
    let labels = object.metadata.labels.clone().unwrap_or_default();
    let annotations = our_annotations(&object.metadata);
    let phase = object.status.as_ref().and_then(|status| status.phase.as_deref());
    let account = spec
        .and_then(|spec| spec.service_account_name.as_deref())
        .filter(|name| !name.is_empty());
    let sidecar = spec.and_then(super::sidecar::sidecar);
    let mut meta = meta(&object.metadata);
    // Nobody asks which generation of a pod this is.
    meta.generation = 0;
    Pod {
        meta,
        account: account.unwrap_or("default").into(),
        asks_to_skip: asked_to_skip(sidecar.as_ref(), &annotations),
        inject_status: annotations.get(key::INJECT_STATUS).cloned(),
        host_network,
        port_names: port_names(declared()),
        host_ports: if host_network {
            tcp_ports(declared()).iter().map(|port| port.number).collect()
        } else {
            Vec::new()
        },
        token_holders: spec.map(super::token::holders).unwrap_or_default(),
        skip_inbound: spec.map(super::sidecar::skipped_inbound).unwrap_or_default(),
        sidecar,
        finished: object.metadata.deletion_timestamp.is_some()
            || matches!(phase, Some("Succeeded" | "Failed")),
        addresses: addresses(object.status.as_ref()),
        annotations,
        labels,
    }
}

fn addresses(status: Option<&core::PodStatus>) -> Vec<IpAddr> {
    let Some(status) = status else {
        return Vec::new();
    };
    let all = status.pod_ips.iter().flatten();
    let mut found: Vec<IpAddr> = all.filter_map(|one| one.ip.parse().ok()).collect();
    if found.is_empty() {
        found.extend(status.pod_ip.as_ref().and_then(|one| one.parse::<IpAddr>().ok()));
    }
    found
}

fn declared_ports(spec: &core::PodSpec) -> impl Iterator<Item = DeclaredPort<'_>> {
    let applications = spec
        .containers
        .iter()
        .map(|container| (ContainerRole::Application, container));
    let init = spec.init_containers.iter().flatten().map(|container| {
        let role = ContainerRole::of_init_container(container.restart_policy.as_deref());
        (role, container)
    });
    applications.chain(init).flat_map(|(role, container)| {
        container.ports.iter().flatten().filter_map(move |port| {
            Some(DeclaredPort {
                role,
                name: port.name.as_deref().unwrap_or_default(),
                number: u16::try_from(port.container_port).ok().filter(|&port| port > 0)?,
                protocol: port.protocol.as_deref(),
            })
        })
    })
}

/// What a sidecar carries was settled when the pod was made, so the annotation says nothing about it.
fn asked_to_skip(sidecar: Option<&Sidecar>, annotations: &BTreeMap<String, String>) -> Vec<(u16, u16)> {
    let asked = annotations
        .get(key::SKIP_INBOUND_PORTS)
        .filter(|_| sidecar.is_none());
    asked.map(|list| port_ranges(list)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(pod: serde_json::Value) -> Pod {
        super::pod(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn every_address_of_a_pod_is_remembered() {
        let found = read(json!({
            "metadata": {}, "spec": {"containers": []},
            "status": {"podIP": "10.1.0.1", "podIPs": [{"ip": "10.1.0.1"}, {"ip": "fd00::1"}]},
        }));
        let addresses: Vec<_> = found.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.1.0.1", "fd00::1"]);
    }

    #[test]
    fn a_port_name_that_two_containers_give_is_the_first_containers() {
        let port = |number: u16| json!([{"name": "http", "containerPort": number}]);
        let found = read(json!({
            "metadata": {},
            "spec": {"containers": [{"name": "app", "ports": port(8080)}, {"name": "exporter", "ports": port(9090)}]},
        }));
        assert_eq!(found.port_names["http"], 8080);
    }

    #[test]
    fn a_udp_port_of_the_same_name_is_not_meant() {
        let found = read(json!({
            "metadata": {},
            "spec": {"containers": [{"name": "app", "ports": [
                {"name": "h3", "containerPort": 9090, "protocol": "UDP"},
                {"name": "h3", "containerPort": 8080, "protocol": "TCP"},
                {"name": "dns", "containerPort": 53, "protocol": "UDP"},
            ]}]},
        }));
        assert_eq!(found.port_names, BTreeMap::from([("h3".to_owned(), 8080)]));
    }

    #[test]
    fn ports_are_remembered_by_number_only_where_a_pod_shares_its_nodes_network() {
        let pod = |host: bool| {
            read(json!({
                "metadata": {},
                "spec": {"hostNetwork": host, "containers": [{"name": "agent", "ports": [
                    {"containerPort": 9100}, {"containerPort": 53, "protocol": "UDP"},
                ]}]},
            }))
        };
        assert_eq!(pod(true).host_ports, [9100]);
        assert_eq!(pod(false).host_ports, [0; 0]);
    }

    #[test]
    fn of_init_containers_only_native_sidecars_have_named_ports() {
        let found = read(json!({
            "metadata": {},
            "spec": {
                "containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9}]}],
                "initContainers": [
                    {"name": "setup", "ports": [{"name": "setup", "containerPort": 7070}]},
                    {"name": "side", "restartPolicy": "Always", "ports": [
                        {"name": "metrics", "containerPort": 9090}, {"name": "http", "containerPort": 9091},
                    ]},
                ],
            },
        }));
        let ports: Vec<_> = found.port_names.into_iter().collect();
        assert_eq!(ports, [("http".to_owned(), 8080), ("metrics".to_owned(), 9090)]);
    }
}
