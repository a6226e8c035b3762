//! Ports that annotations list, and what the application's own ports speak.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use smilax_compiler::port_names::{ContainerRole, DeclaredPort, port_names, tcp_ports};
use smilax_core::config::Protocol;

use super::pod::{list, text};

/// Ports that speak first, or never HTTP, when nobody says otherwise: SMTP, submission, MySQL, Galera, PostgreSQL,
/// Redis, Elasticsearch transport, Memcached. The compiler has the same for Services.
const TCP_BY_NUMBER: [u16; 10] = [25, 587, 3306, 4444, 4567, 4568, 5432, 6379, 9300, 11211];

/// How many single ports a list of opaque ports may name: each of them stands in the proxy's environment.
const MOST_OPAQUE: u32 = 1024;

/// A set of ports, in order and without overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PortSet(Vec<(u16, u16)>);

/// A list of ports that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PortsError {
    /// An entry is neither a port nor a range.
    #[error("{0:?} is neither a port from 1 to 65535 nor a range such as 9000-9010")]
    Entry(String),
    /// Too much for the environment.
    #[error("it names {0} ports, and at most {MOST_OPAQUE} can be opaque: skip them instead")]
    TooMany(u32),
}

impl PortSet {
    fn len(&self) -> u32 {
        self.0
            .iter()
            .map(|&(from, to)| u32::from(to) - u32::from(from) + 1)
            .sum()
    }

    fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.iter().flat_map(|&(from, to)| from..=to)
    }

    /// Reads a list whose ports are opaque.
    ///
    /// # Errors
    /// As [`FromStr`], and [`PortsError::TooMany`].
    pub(super) fn opaque(text: &str) -> Result<Self, PortsError> {
        let set: Self = text.parse()?;
        match set.len() {
            count if count > MOST_OPAQUE => Err(PortsError::TooMany(count)),
            _ => Ok(set),
        }
    }
}

impl FromStr for PortSet {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, PortsError> {
        let mut ranges = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .map(|entry| range(entry).ok_or_else(|| PortsError::Entry(entry.to_owned())))
            .collect::<Result<Vec<_>, _>>()?;
        ranges.sort_unstable();
        let mut merged: Vec<(u16, u16)> = Vec::with_capacity(ranges.len());
        for (from, to) in ranges {
            match merged.last_mut() {
                Some(last) if u32::from(from) <= u32::from(last.1) + 1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        Ok(Self(merged))
    }
}

fn range(entry: &str) -> Option<(u16, u16)> {
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|&port| port > 0);
    match entry.split_once('-') {
        Some((from, to)) => Some((port(from)?, port(to)?)).filter(|(from, to)| from <= to),
        None => port(entry).map(|port| (port, port)),
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (from, to)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if from == to {
                write!(f, "{comma}{from}")?;
            } else {
                write!(f, "{comma}{from}-{to}")?;
            }
        }
        Ok(())
    }
}

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
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_of_ports_and_ranges_are_put_in_order() {
        let set: PortSet = " 9000-9010, 22,9005-9020 , 9021".parse().unwrap();
        assert_eq!(set.to_string(), "22,9000-9021");
        assert_eq!(set.iter().count(), 23);
        assert_eq!("".parse(), Ok(PortSet::default()));
    }

    #[test]
    fn an_entry_that_is_no_port_is_named() {
        for entry in ["0", "65536", "web", "10-5", "1-2-3", "-1"] {
            let error = format!("80,{entry}").parse::<PortSet>().unwrap_err();
            assert_eq!(error, PortsError::Entry(entry.to_owned()));
        }
    }

    #[test]
    fn too_many_opaque_ports_are_refused() {
        assert_eq!(PortSet::opaque("1-65535"), Err(PortsError::TooMany(65535)));
        assert!(PortSet::opaque("1-1024").is_ok());
    }

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

    proptest! {
        #[test]
        fn a_set_comes_back_from_its_text(ranges in proptest::collection::vec((1_u16.., 0_u16..20), 0..4)) {
            let text = ranges
                .iter()
                .map(|(from, more)| format!("{from}-{}", from.saturating_add(*more)))
                .collect::<Vec<_>>()
                .join(",");
            let set: PortSet = text.parse().unwrap();
            prop_assert_eq!(&set.to_string().parse::<PortSet>().unwrap(), &set);
            for (from, more) in ranges {
                let to = from.saturating_add(more);
                prop_assert!((from..=to).all(|port| set.iter().any(|listed| listed == port)));
            }
        }
    }
}
