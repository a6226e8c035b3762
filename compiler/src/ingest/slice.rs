use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::discovery::v1 as discovery;
use smilax_core::endpoints::EndpointState;

use crate::model::{Slice, SliceEndpoint, SlicePort};

/// Label of an EndpointSlice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An EndpointSlice; `None` for one that belongs to no Service.
pub fn slice(object: &discovery::EndpointSlice) -> Option<Slice> {
    let service = object.metadata.labels.as_ref()?.get(SERVICE_NAME)?;
    let mut names = Names::default();
    let endpoints = object.endpoints.iter();
    Some(Slice {
        service: service.as_str().into(),
        ports: object.ports.iter().flatten().filter_map(port).collect(),
        endpoints: endpoints.filter_map(|one| endpoint(one, &mut names)).collect(),
    })
}

fn port(port: &discovery::EndpointPort) -> Option<SlicePort> {
    // Without a number, what is meant is left to who reads it; kube-proxy reads nothing into it either.
    let number = u16::try_from(port.port?).ok().filter(|&number| number > 0)?;
    let tcp = port.protocol.as_deref().unwrap_or("TCP") == "TCP";
    tcp.then(|| SlicePort {
        name: port.name.as_deref().unwrap_or_default().into(),
        number,
    })
}

fn endpoint(endpoint: &discovery::Endpoint, names: &mut Names) -> Option<SliceEndpoint> {
    // "No semantics are defined for additional addresses beyond the first" (discovery.k8s.io/v1 Endpoint).
    let address = endpoint.addresses.first()?.parse().ok()?;
    let hints = endpoint
        .hints
        .iter()
        .flat_map(|hints| hints.for_zones.iter().flatten());
    let pod = endpoint
        .target_ref
        .as_ref()
        .filter(|target| target.kind.as_deref() == Some("Pod"));
    Some(SliceEndpoint {
        address,
        state: state(endpoint.conditions.as_ref()),
        zone: endpoint.zone.as_deref().map(|zone| names.shared(zone)),
        for_zones: hints.map(|zone| names.shared(&zone.name)).collect(),
        node: endpoint.node_name.as_deref().map(|node| names.shared(node)),
        pod: pod.and_then(|pod| pod.name.as_deref()).map(Arc::from),
    })
}

/// What is not said: ready and serving are then true, terminating is false (discovery.k8s.io/v1 EndpointConditions).
fn state(conditions: Option<&discovery::EndpointConditions>) -> Option<EndpointState> {
    let says = |read: fn(&discovery::EndpointConditions) -> Option<bool>| conditions.and_then(read);
    let serves = says(|one| one.serving) != Some(false);
    let ends = says(|one| one.terminating) == Some(true);
    match says(|one| one.ready) {
        None | Some(true) => Some(EndpointState::Ready),
        Some(false) if serves && ends => Some(EndpointState::Draining),
        Some(false) => None,
    }
}

/// Names of nodes and zones, each kept once for a slice.
#[derive(Default)]
struct Names(BTreeSet<Arc<str>>);

impl Names {
    fn shared(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.0.insert(Arc::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(endpoints: &Value, ports: &Value) -> Slice {
        let object = json!({
            "metadata": {"name": "web-abc", "labels": {SERVICE_NAME: "web"}}, "addressType": "IPv4",
            "endpoints": endpoints, "ports": ports,
        });
        slice(&serde_json::from_value(object).unwrap()).unwrap()
    }

    fn state_of(conditions: &Value) -> Option<EndpointState> {
        let found = read(
            &json!([{"addresses": ["10.1.0.1"], "conditions": conditions}]),
            &json!([]),
        );
        found.endpoints[0].state
    }

    #[test]
    fn an_endpoint_of_unknown_readiness_counts_as_ready() {
        assert_eq!(state_of(&json!({})), Some(EndpointState::Ready));
        assert_eq!(state_of(&json!({"ready": true})), Some(EndpointState::Ready));
        assert_eq!(state_of(&json!({"ready": false})), None);
    }

    #[test]
    fn who_ends_and_still_serves_is_draining_and_who_serves_no_longer_is_nothing() {
        let ending = |serving: bool| json!({"ready": false, "serving": serving, "terminating": true});
        assert_eq!(state_of(&ending(true)), Some(EndpointState::Draining));
        assert_eq!(state_of(&ending(false)), None);
    }

    #[test]
    fn only_tcp_ports_with_a_number_and_endpoints_with_an_ip_address_are_kept() {
        let found = read(
            &json!([{"addresses": ["web.example.com"]}, {"addresses": ["fd00::1", "fd00::2"]}]),
            &json!([{"name": "http", "port": 8080}, {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "any"}]),
        );
        let addresses: Vec<_> = found
            .endpoints
            .iter()
            .map(|one| one.address.to_string())
            .collect();
        assert_eq!(addresses, ["fd00::1"]);
        let ports: Vec<_> = found
            .ports
            .iter()
            .map(|port| (&*port.name, port.number))
            .collect();
        assert_eq!(ports, [("http", 8080)]);
    }

    #[test]
    fn where_an_endpoint_runs_is_kept() {
        let found = read(
            &json!([{
                "addresses": ["10.1.0.1"], "zone": "a", "nodeName": "n1", "hints": {"forZones": [{"name": "b"}]},
                "targetRef": {"kind": "Pod", "name": "web-1"},
            }]),
            &json!([]),
        );
        let one = &found.endpoints[0];
        assert_eq!(
            (one.zone.as_deref(), one.node.as_deref()),
            (Some("a"), Some("n1"))
        );
        assert_eq!((&*one.for_zones[0], one.pod.as_deref()), ("b", Some("web-1")));
    }

    #[test]
    fn a_slice_without_a_service_is_nothing() {
        let object = json!({"metadata": {"name": "a"}, "addressType": "IPv4", "endpoints": []});
        assert_eq!(slice(&serde_json::from_value(object).unwrap()), None);
    }
}
