//! Whether the opaque ports of a Service are ports of it.

use serde_json::Value;
use smilax_core::convention::key;

use super::judge::Fault;
use super::{Place, values};

/// The ports of a Service; none of any other object.
pub(super) struct ServicePorts<'a>(&'a [Value]);

impl<'a> ServicePorts<'a> {
    pub(super) fn of(place: Option<Place>, object: &'a Value) -> Self {
        let ports = match place {
            Some(Place::Service) => object.pointer("/spec/ports").and_then(Value::as_array),
            _ => None,
        };
        Self(ports.map(Vec::as_slice).unwrap_or_default())
    }

    /// What is wrong with an annotation that can be read.
    pub(super) fn fault(&self, name: &str, value: &str) -> Option<Fault> {
        if name != key::OPAQUE_PORTS || self.0.is_empty() {
            return None;
        }
        let listed = values::opaque_ports(value).ok()?;
        let numbers: Vec<u16> = self.0.iter().filter_map(|port| number(port, "port")).collect();
        let missing = listed
            .ranges()
            .find(|range| !numbers.iter().any(|port| range.contains(port)))?;
        let first = *missing.start();
        let leads_there = self
            .0
            .iter()
            .find(|port| number(port, "targetPort") == Some(first));
        let all: Vec<String> = numbers.iter().map(u16::to_string).collect();
        let no_port = format!(
            "{first} is not a port of this Service, which has {}",
            all.join(", ")
        );
        let target = |port: u16| {
            format!(
                "{first} is the target port of port {port}; write {port}, since callers use the ports of the Service"
            )
        };
        let reason = leads_there
            .and_then(|port| number(port, "port"))
            .map_or(no_port, target);
        Some(Fault::NotAPort(reason))
    }
}

fn number(port: &Value, field: &str) -> Option<u16> {
    port[field].as_u64().and_then(|number| u16::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::keys::{Membership, judge};

    fn told(opaque: &str) -> Vec<String> {
        let service = json!({
            "metadata": {"annotations": {"smilax.dev/opaque-ports": opaque}},
            "spec": {"ports": [{"port": 80, "targetPort": 8080}, {"port": 3306, "targetPort": "mysql"}]},
        });
        let findings = judge("Service", &service, Membership::Apart);
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_target_port_is_answered_with_the_port_that_leads_there() {
        assert_eq!(
            told("8080"),
            [
                "metadata.annotations[smilax.dev/opaque-ports]: 8080 is the target port of port 80; write 80, since callers use \
                 the ports of the Service"
            ]
        );
    }

    #[test]
    fn a_port_that_the_service_does_not_have_is_answered_with_those_that_it_has() {
        assert_eq!(
            told("80,9000"),
            [
                "metadata.annotations[smilax.dev/opaque-ports]: 9000 is not a port of this Service, which has 80, 3306"
            ]
        );
    }

    #[test]
    fn ports_of_the_service_and_ranges_with_one_of_them_are_right() {
        for right in ["80", "80,3306", "3300-3400", ""] {
            assert_eq!(told(right), [""; 0], "{right}");
        }
    }
}
