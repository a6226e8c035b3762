//! What the application's own ports speak.

use std::collections::BTreeMap;

use serde_json::Value;
use smilax_compiler::keys::PortSet;
use smilax_compiler::port_names::{ContainerRole, DeclaredPort, port_names, tcp_ports};
use smilax_core::config::Protocol;

use super::pod::{list, text};

/// Ports that speak first, or never HTTP, when nobody says otherwise: SMTP, submission, MySQL, Galera, PostgreSQL,
/// Redis, Elasticsearch transport, Memcached. The compiler has the same for Services.
const TCP_BY_NUMBER: [u16; 10] = [25, 587, 3306, 4444, 4567, 4568, 5432, 6379, 9300, 11211];

/// What the application's ports speak, by their names, their numbers and the list of opaque ones. A port that is not
/// in the answer is detected.
pub(super) fn protocols(pod: &Value, opaque: &PortSet) -> BTreeMap<u16, Protocol> {
    let mut found: BTreeMap<u16, Protocol> = BTreeMap::new();
    for port in tcp_ports(declared(pod)) {
        let by_number = TCP_BY_NUMBER.contains(&port.number).then_some(Protocol::Tcp);
        if let Some(protocol) = by_name(port.name).or(by_number) {
            found.entry(port.number).or_insert(protocol);
        }
    }
    found.extend(opaque.iter().map(|port| (port, Protocol::Tcp)));
    found
}

/// Names of the pod's TCP ports.
pub(super) fn names(pod: &Value) -> BTreeMap<String, u16> {
    port_names(declared(pod))
}

/// Every port that a pod's containers declare.
fn declared(pod: &Value) -> impl Iterator<Item = DeclaredPort<'_>> {
    let applications = list(pod, "/spec/containers").map(|container| (ContainerRole::Application, container));
    let init = list(pod, "/spec/initContainers").map(|container| {
        let role = ContainerRole::of_init_container(text(container, "/restartPolicy"));
        (role, container)
    });
    applications.chain(init).flat_map(|(role, container)| {
        list(container, "/ports").filter_map(move |port| {
            Some(DeclaredPort {
                role,
                name: text(port, "/name").unwrap_or_default(),
                number: number(port)?,
                protocol: text(port, "/protocol"),
            })
        })
    })
}

/// Number of a container port.
pub(super) fn number(port: &Value) -> Option<u16> {
    port.get("containerPort")
        .and_then(Value::as_u64)
        .and_then(|number| u16::try_from(number).ok())
        .filter(|&number| number > 0)
}

/// Names are `protocol` or `protocol-suffix`, as for the ports of a Service.
fn by_name(name: &str) -> Option<Protocol> {
    by_word(name).or_else(|| name.split_once('-').and_then(|(protocol, _)| by_word(protocol)))
}

fn by_word(word: &str) -> Option<Protocol> {
    match word {
        "http" | "http2" | "h2c" | "grpc" | "ws" => Some(Protocol::Http),
        "tcp" | "tls" | "https" | "grpcs" | "wss" | "mysql" | "postgres" | "postgresql" | "redis"
        | "mongo" | "mongodb" | "amqp" | "kafka" | "smtp" | "memcached" | "mssql" | "cassandra" | "nats" => {
            Some(Protocol::Tcp)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ports_name_says_what_it_speaks_and_the_opaque_list_comes_first() {
        let pod = json!({"spec": {"containers": [{"ports": [
            {"containerPort": 80, "name": "http"},
            {"containerPort": 81, "name": "http-admin"},
            {"containerPort": 82, "name": "https"},
            {"containerPort": 83, "name": "grpc"},
            {"containerPort": 84, "name": "web"},
            {"containerPort": 85, "name": "mysql-x"},
            {"containerPort": 53, "name": "http-dns", "protocol": "UDP"},
            {"containerPort": 3306},
        ]}]}});
        let found = protocols(&pod, &"81,7000".parse().unwrap());
        let expected = [
            (80, Protocol::Http),
            (81, Protocol::Tcp),
            (82, Protocol::Tcp),
            (83, Protocol::Http),
            (85, Protocol::Tcp),
            (3306, Protocol::Tcp),
            (7000, Protocol::Tcp),
        ];
        assert_eq!(found, BTreeMap::from(expected));
    }

    #[test]
    fn a_port_that_two_containers_declare_speaks_what_the_first_says() {
        let pod = json!({"spec": {
            "initContainers": [{"restartPolicy": "Always", "ports": [{"containerPort": 8080, "name": "tcp"}]}],
            "containers": [
                {"ports": [{"containerPort": 8080, "name": "http"}]},
                {"ports": [{"containerPort": 8080, "name": "tcp-raw"}]},
            ],
        }});
        let found = protocols(&pod, &PortSet::default());
        assert_eq!(found, BTreeMap::from([(8080, Protocol::Http)]));
    }
}
