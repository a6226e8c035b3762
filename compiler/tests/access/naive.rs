//! SMI TrafficTarget v1alpha4, sentence by sentence, on the objects as they are written. It shares nothing with the
//! compiler, and is slow.

use serde_json::Value;

use crate::world::{Call, Pod, SERVICE_PORTS, TCP_ROUTES, World, bindings, groups};

/// "All traffic is denied by default", and in mode `allow` only to whom some target names; "access is additive".
pub(crate) fn allows(world: &World, mode: &str, call: &Call) -> bool {
    let naming: Vec<&Value> = world
        .targets
        .iter()
        .filter(|target| names_destination(target, call.callee))
        .collect();
    if mode == "allow" && naming.is_empty() {
        return true;
    }
    naming.into_iter().any(|target| allows_by(target, call))
}

/// "The receiving pod runs under the destination", which must be of the target's own namespace.
fn names_destination(target: &Value, pod: &Pod) -> bool {
    let own = &target["metadata"]["namespace"];
    let destination = &target["spec"]["destination"];
    if *own != pod.namespace || !(destination["namespace"].is_null() || destination["namespace"] == *own) {
        return false;
    }
    if destination["kind"] == "ServiceAccount" {
        return destination["name"] == pod.account;
    }
    if destination["kind"] != "IdentityBinding" {
        return false;
    }
    // A binding that contradicts itself is still taken to name whomever it may mean.
    find(own, &destination["name"]).is_some_and(|binding| {
        let schemes = &binding["spec"]["schemes"];
        schemes["serviceAccount"] == pod.account || has_labels(schemes, pod) || has_id(&binding, pod)
    })
}

fn find(namespace: &Value, name: &Value) -> Option<Value> {
    bindings()
        .into_iter()
        .find(|one| one["metadata"]["namespace"] == *namespace && one["metadata"]["name"] == *name)
}

fn has_labels(schemes: &Value, pod: &Pod) -> bool {
    schemes["podLabelSelector"]["matchLabels"]
        .as_object()
        .is_some_and(|labels| {
            !labels.is_empty()
                && labels
                    .iter()
                    .all(|(key, value)| pod.labels.iter().any(|(own, is)| own == key && value == is))
        })
}

/// "A binding speaks only for workloads of its own namespace."
fn has_id(binding: &Value, pod: &Pod) -> bool {
    let id = format!("cluster.local/ns/{}/sa/{}", pod.namespace, pod.account);
    binding["metadata"]["namespace"] == pod.namespace
        && binding["spec"]["schemes"]["spiffeIdentities"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|one| one.as_str().unwrap().trim_start_matches("spiffe://") == id)
}

fn allows_by(target: &Value, call: &Call) -> bool {
    let Some(caller) = call.caller else {
        return false;
    };
    let named = target["spec"]["sources"]
        .as_array()
        .unwrap()
        .iter()
        .any(|source| is_source(target, source, caller));
    named && on_port(target, call) && by_rules(target, call)
}

fn is_source(target: &Value, source: &Value, caller: &Pod) -> bool {
    let namespace = if source["namespace"].is_null() {
        &target["metadata"]["namespace"]
    } else {
        &source["namespace"]
    };
    if source["kind"] == "ServiceAccount" {
        return *namespace == caller.namespace && source["name"] == caller.account;
    }
    if source["kind"] != "IdentityBinding" {
        return false;
    }
    let Some(binding) = find(namespace, &source["name"]) else {
        return false;
    };
    let schemes = &binding["spec"]["schemes"];
    // "podLabelSelector and serviceAccount are mutually exclusive", and a selector needs a label.
    let labels = &schemes["podLabelSelector"]["matchLabels"];
    let contradicts = labels.is_object() && schemes["serviceAccount"].is_string();
    let empty = labels.as_object().is_some_and(serde_json::Map::is_empty);
    if contradicts || empty || *namespace != caller.namespace {
        return false;
    }
    schemes["serviceAccount"] == caller.account || has_labels(schemes, caller) || has_id(&binding, caller)
}

/// The deprecated `destination.port`, which restricts the rules.
fn on_port(target: &Value, call: &Call) -> bool {
    match &target["spec"]["destination"]["port"] {
        Value::Null => true,
        Value::String(text) => means(text.parse().unwrap(), call),
        number => means(number.as_i64().unwrap(), call),
    }
}

/// Whether a number means the called port: the port of the pod itself, or a Service's that leads there.
fn means(number: i64, call: &Call) -> bool {
    if number == 0 || number > 65535 {
        return false;
    }
    let behind_service = call.callee.labels.contains(&("app", "web"));
    let led = SERVICE_PORTS.iter().any(|(port, target)| {
        let leads_to = if *target == "http" {
            8080
        } else {
            target.parse().unwrap()
        };
        i64::from(*port) == number && leads_to == call.port
    });
    number == i64::from(call.port) || (behind_service && led)
}

/// "Ports intersect with requests; several routes of one kind are united."
fn by_rules(target: &Value, call: &Call) -> bool {
    let rules = match &target["spec"]["rules"] {
        Value::Array(rules) if !rules.is_empty() => rules,
        _ => return target["metadata"]["annotations"]["conversion.smilax.dev/empty-rules"] == "allow",
    };
    let of = |kind: &str| {
        rules
            .iter()
            .filter(|rule| rule["kind"] == kind)
            .collect::<Vec<_>>()
    };
    let (tcp, http, udp) = (of("TCPRoute"), of("HTTPRouteGroup"), of("UDPRoute"));
    let all_known = tcp.len() + http.len() + udp.len() == rules.len();
    let something = !tcp.is_empty() || !http.is_empty();
    all_known
        && something
        && (tcp.is_empty() || tcp.iter().any(|rule| by_ports(rule, call)))
        && (http.is_empty() || http.iter().any(|rule| by_group(rule, call)))
}

fn by_ports(rule: &Value, call: &Call) -> bool {
    TCP_ROUTES
        .iter()
        .filter(|(name, _)| rule["name"] == *name)
        .any(|(_, ports)| ports.is_empty() || ports.iter().any(|&port| means(port, call)))
}

fn by_group(rule: &Value, call: &Call) -> bool {
    let Some(request) = call.request else {
        return false;
    };
    let Some(group) = groups().into_iter().find(|group| group["name"] == rule["name"]) else {
        return false;
    };
    let wanted = |name: &Value| match &rule["matches"] {
        Value::Null => true,
        Value::Array(names) => names.is_empty() || names.contains(name),
        _ => false,
    };
    let matches = group["matches"].as_array().unwrap();
    matches
        .iter()
        .any(|one| wanted(&one["name"]) && selects(one, request))
}

/// Patterns of this world are plain beginnings of paths, and `1|2`.
fn selects(one: &Value, (method, path, header): (&str, &str, Option<&str>)) -> bool {
    let path = path.replace("%61", "a");
    let by_path = match one["pathRegex"].as_str() {
        None => true,
        Some("(") => return false,
        Some(beginning) => path.starts_with(beginning),
    };
    let by_method = match one["methods"].as_array() {
        None => true,
        Some(methods) => methods.iter().any(|one| one == "*" || *one == method),
    };
    let wanted = match &one["headers"] {
        Value::Null => None,
        Value::Array(list) => list[0]["X"].as_str(),
        map => map["x"].as_str(),
    };
    let by_header =
        wanted.is_none_or(|wanted| header.is_some_and(|is| wanted.split('|').any(|one| one == is)));
    by_path && by_method && by_header
}
