//! Objects of access control, from raw JSON of the stored version. What is not of the expected shape never reads as
//! something that allows more: a name that cannot be read names nothing, a list that cannot be read lists nothing.

use serde_json::Value;
use smilax_core::SpiffeId;

use super::smi::{list, metadata, text};
use crate::model::{Binding, DestinationPort, PortRoute, RoutePorts, Rule, Rules, Subject, Target};

/// Annotation that says what a TrafficTarget without rules means; conversion from v1alpha1 and v1alpha2 writes it.
const EMPTY_RULES: &str = "conversion.smilax.dev/empty-rules";
/// Stands for what is no text where a name should be. No object is called so.
const UNREADABLE: &str = "?";
/// Stands for what is no number where a port should be.
const NO_PORT: i64 = -1;

/// A TrafficTarget.
pub fn traffic_target(object: &Value) -> Target {
    let spec = &object["spec"];
    let empty = object["metadata"]["annotations"][EMPTY_RULES].as_str();
    let rules = match &spec["rules"] {
        Value::Array(rules) if !rules.is_empty() => Rules::Listed(rules.iter().map(rule).collect()),
        Value::Array(_) | Value::Null if empty == Some("allow") && spec.is_object() => Rules::Everything,
        _ => Rules::Nothing,
    };
    Target {
        meta: metadata(object),
        destination: subject(&spec["destination"]),
        destination_port: destination_port(&spec["destination"]["port"]),
        sources: list(&spec["sources"]).map(subject).collect(),
        rules,
    }
}

/// An IdentityBinding.
pub fn identity_binding(object: &Value) -> Binding {
    let schemes = &object["spec"]["schemes"];
    let mut binding = Binding {
        meta: metadata(object),
        ..Binding::default()
    };
    match &schemes["podLabelSelector"] {
        Value::Null => {}
        selector => {
            let labels = selector["matchLabels"].as_object();
            let labels = labels.and_then(|labels| {
                labels
                    .iter()
                    .map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                    .collect::<Option<_>>()
            });
            if labels.is_none() {
                unreadable_scheme(
                    &mut binding,
                    "podLabelSelector",
                    "an object with matchLabels, a map of texts",
                );
            }
            binding.labels = labels;
        }
    }
    match &schemes["serviceAccount"] {
        Value::Null => {}
        Value::String(name) => binding.account = Some(name.clone()),
        _ => unreadable_scheme(&mut binding, "serviceAccount", "a text"),
    }
    match &schemes["spiffeIdentities"] {
        Value::Null => {}
        Value::Array(ids) => binding.ids = ids.iter().map(spiffe_id).collect(),
        _ => unreadable_scheme(&mut binding, "spiffeIdentities", "a list"),
    }
    binding
}

/// A TCPRoute or UDPRoute.
pub fn port_route(object: &Value) -> PortRoute {
    let ports = match (&object["spec"], &object["spec"]["matches"]) {
        (Value::Null, _) | (Value::Object(_), Value::Null) => RoutePorts::All,
        (Value::Object(_), Value::Object(matches)) => match matches.get("ports") {
            None | Some(Value::Null) => RoutePorts::All,
            Some(Value::Array(ports)) if ports.is_empty() => RoutePorts::All,
            Some(Value::Array(ports)) => RoutePorts::Listed(
                ports
                    .iter()
                    .map(|port| port.as_i64().unwrap_or(NO_PORT))
                    .collect(),
            ),
            Some(_) => RoutePorts::Listed(vec![NO_PORT]),
        },
        _ => RoutePorts::Listed(vec![NO_PORT]),
    };
    PortRoute {
        meta: metadata(object),
        ports,
    }
}

fn unreadable_scheme(binding: &mut Binding, field: &str, what: &str) {
    binding.unreadable = Some(format!(
        "spec.schemes.{field}: it is not {what}; the binding means nobody"
    ));
}

/// The scheme may be left out, as the samples of SMI do.
fn spiffe_id(value: &Value) -> Result<SpiffeId, String> {
    let written = value.as_str().unwrap_or(UNREADABLE);
    let whole = if written.starts_with("spiffe://") {
        written.to_owned()
    } else {
        format!("spiffe://{written}")
    };
    whole
        .parse()
        .map_err(|error| format!("{written:?} is not a SPIFFE id: {error}"))
}

fn subject(value: &Value) -> Subject {
    Subject {
        kind: text(&value["kind"]),
        namespace: match &value["namespace"] {
            Value::Null => None,
            Value::String(name) if name.is_empty() => None,
            Value::String(name) => Some(name.clone()),
            _ => Some(UNREADABLE.to_owned()),
        },
        name: text(&value["name"]),
    }
}

fn rule(value: &Value) -> Rule {
    Rule {
        kind: text(&value["kind"]),
        name: text(&value["name"]),
        matches: match &value["matches"] {
            Value::Null => Vec::new(),
            Value::Array(names) => names
                .iter()
                .map(|name| name.as_str().unwrap_or(UNREADABLE).to_owned())
                .collect(),
            _ => vec![UNREADABLE.to_owned()],
        },
    }
}

fn destination_port(value: &Value) -> DestinationPort {
    let number = match value {
        Value::Null => return DestinationPort::Any,
        Value::Number(number) => number.as_u64().and_then(|number| u16::try_from(number).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    match number {
        Some(port) if port > 0 => DestinationPort::Only(port),
        _ => DestinationPort::Unreadable(value.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_rules_mean_everything_only_where_conversion_says_so() {
        let target = |annotations: Value, rules: Value| {
            traffic_target(&json!({"metadata": {"annotations": annotations}, "spec": {"rules": rules}})).rules
        };
        assert_eq!(
            target(json!({EMPTY_RULES: "allow"}), json!([])),
            Rules::Everything
        );
        assert_eq!(target(json!({EMPTY_RULES: "deny"}), json!([])), Rules::Nothing);
        assert_eq!(target(json!({}), json!(null)), Rules::Nothing);
        assert_eq!(
            target(json!({EMPTY_RULES: "allow"}), json!("all")),
            Rules::Nothing
        );
    }

    #[test]
    fn what_is_no_text_names_nothing_rather_than_the_default() {
        let found = traffic_target(&json!({"spec": {
            "sources": [{"kind": "ServiceAccount", "name": "a", "namespace": 7}],
            "rules": [{"kind": "HTTPRouteGroup", "name": "g", "matches": "all"}],
            "destination": {"port": "x"},
        }}));
        assert_eq!(found.sources[0].namespace.as_deref(), Some(UNREADABLE));
        assert_eq!(
            found.rules,
            Rules::Listed(vec![Rule {
                kind: "HTTPRouteGroup".to_owned(),
                name: "g".to_owned(),
                matches: vec![UNREADABLE.to_owned()],
            }])
        );
        assert_eq!(
            found.destination_port,
            DestinationPort::Unreadable("\"x\"".to_owned())
        );
    }

    #[test]
    fn a_route_without_ports_means_all_and_one_with_unreadable_ports_means_none() {
        let ports = |spec: Value| port_route(&json!({"spec": spec})).ports;
        for all in [
            json!(null),
            json!({}),
            json!({"matches": {}}),
            json!({"matches": {"ports": []}}),
        ] {
            assert_eq!(ports(all.clone()), RoutePorts::All, "{all}");
        }
        for none in [
            json!("x"),
            json!({"matches": []}),
            json!({"matches": {"ports": 80}}),
            json!({"matches": {"ports": ["80"]}}),
        ] {
            assert_eq!(ports(none.clone()), RoutePorts::Listed(vec![NO_PORT]), "{none}");
        }
    }

    #[test]
    fn a_binding_of_the_wrong_shape_means_nobody() {
        for schemes in [
            json!({}),
            json!({"podLabelSelector": {}}),
            json!({"podLabelSelector": {"matchLabels": {}}}),
            json!({"podLabelSelector": {"matchLabels": {"app": 7}}}),
            json!({"podLabelSelector": {"matchLabels": {"app": "x"}}, "serviceAccount": "a"}),
            json!({"serviceAccount": 7}),
            json!({"spiffeIdentities": "x"}),
        ] {
            let found = identity_binding(&json!({"spec": {"schemes": schemes}}));
            assert!(found.fault().is_some(), "{schemes}");
        }
        let found = identity_binding(
            &json!({"spec": {"schemes": {"spiffeIdentities": ["cluster.local/ns/a/sa/b", "B!"]}}}),
        );
        assert_eq!(found.fault(), None);
        assert_eq!(
            found.ids[0].as_ref().unwrap().as_str(),
            "spiffe://cluster.local/ns/a/sa/b"
        );
        assert!(found.ids[1].is_err());
    }
}
