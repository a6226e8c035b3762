//! Which number a named port of a pod has.
//!
//! It follows `FindPort` of Kubernetes' EndpointSlice controller (k8s.io/endpointslice, utils.go), so that policy opens
//! the port that a Service leads to, and no other: containers in their order, then native sidecars in theirs, and the
//! first port whose name and protocol match.

use std::collections::BTreeMap;

/// When a container runs, in the order in which Kubernetes looks for ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerRole {
    /// An ordinary container.
    Application,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    /// An init container that ends before the application starts; no Service leads to it.
    Init,
}

/// An entry of a container's `ports`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeclaredPort<'a> {
    /// Of which kind its container is.
    pub role: ContainerRole,
    /// `name`; empty without one.
    pub name: &'a str,
    /// `containerPort`.
    pub number: u16,
    /// `protocol`; TCP when it is not written.
    pub protocol: Option<&'a str>,
}

impl ContainerRole {
    /// The role of an init container with this `restartPolicy`.
    pub fn of_init_container(restart_policy: Option<&str>) -> Self {
        match restart_policy {
            Some("Always") => Self::Sidecar,
            _ => Self::Init,
        }
    }
}

/// The TCP ports that outlast the start of a pod, in the order in which Kubernetes looks through them.
pub fn tcp_ports<'a>(declared: impl IntoIterator<Item = DeclaredPort<'a>>) -> Vec<DeclaredPort<'a>> {
    let mut ports: Vec<_> = declared
        .into_iter()
        .filter(|port| port.role != ContainerRole::Init && port.protocol.unwrap_or("TCP") == "TCP")
        .collect();
    // Stable: containers of one role keep their order.
    ports.sort_by_key(|port| port.role);
    ports
}

/// Numbers of a pod's named TCP ports.
pub fn port_names<'a>(declared: impl IntoIterator<Item = DeclaredPort<'a>>) -> BTreeMap<String, u16> {
    let mut names = BTreeMap::new();
    for port in tcp_ports(declared) {
        if !port.name.is_empty() {
            names.entry(port.name.to_owned()).or_insert(port.number);
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(role: ContainerRole, name: &str, number: u16) -> DeclaredPort<'_> {
        DeclaredPort {
            role,
            name,
            number,
            protocol: None,
        }
    }

    fn http(declared: &[DeclaredPort<'_>]) -> Option<u16> {
        port_names(declared.iter().copied()).get("http").copied()
    }

    #[test]
    fn the_first_container_with_a_name_has_it() {
        let both = [
            port(ContainerRole::Application, "http", 8080),
            port(ContainerRole::Application, "http", 9090),
        ];
        assert_eq!(http(&both), Some(8080));
    }

    #[test]
    fn a_port_of_another_protocol_does_not_have_the_name() {
        for other in ["UDP", "SCTP"] {
            let udp = DeclaredPort {
                protocol: Some(other),
                ..port(ContainerRole::Application, "http", 9090)
            };
            assert_eq!(
                http(&[udp, port(ContainerRole::Application, "http", 8080)]),
                Some(8080)
            );
            assert_eq!(http(&[udp]), None);
        }
    }

    #[test]
    fn containers_come_before_sidecars_wherever_they_are_written() {
        let both = [
            port(ContainerRole::Sidecar, "http", 9090),
            port(ContainerRole::Application, "http", 8080),
        ];
        assert_eq!(http(&both), Some(8080));
        assert_eq!(http(&both[..1]), Some(9090));
    }

    #[test]
    fn an_init_container_that_ends_has_no_ports() {
        assert_eq!(http(&[port(ContainerRole::Init, "http", 9090)]), None);
        assert_eq!(ContainerRole::of_init_container(None), ContainerRole::Init);
        assert_eq!(
            ContainerRole::of_init_container(Some("Always")),
            ContainerRole::Sidecar
        );
    }
}
