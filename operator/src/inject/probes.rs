//! Probes and lifecycle hooks: kubelet asks the proxy, and the proxy asks the application by a table.
//!
//! kubelet is not a member of the mesh, so it could not ask the application where only members may. A probe that goes
//! to another `host`, runs a command, or names a port that does not exist stays as it was.

use serde_json::{Value, json};
use smilax_core::convention::PROBE_PORT;
use smilax_core::probe::{Check, PathKey, Probe, ProbeTable, Purpose, Scheme};

use super::pod::{is_sidecar, list, name, text};

/// Fields of a container that hold a probe.
const PROBES: [(&str, Purpose); 3] = [
    ("livenessProbe", Purpose::Liveness),
    ("readinessProbe", Purpose::Readiness),
    ("startupProbe", Purpose::Startup),
];
/// Fields of a container's `lifecycle` that hold a hook.
const HOOKS: [(&str, Purpose); 2] = [("postStart", Purpose::PostStart), ("preStop", Purpose::PreStop)];
/// Field of a probe and of a hook that says how to ask.
const HANDLERS: [&str; 3] = ["httpGet", "tcpSocket", "grpc"];

/// kubelet does not limit the time of a hook after the start; an hour is as good as no limit, and not for ever.
const AFTER_START_SECONDS: u32 = 3600;
/// `terminationGracePeriodSeconds` when the pod does not say.
const GRACE_SECONDS: u32 = 30;

/// Sends every probe and hook of a pod to the proxy, under paths with this key. The second value warns of those that cannot be.
pub(super) fn rewrite(pod: &mut Value, key: &PathKey) -> (ProbeTable, Vec<String>) {
    let grace = seconds(pod.pointer("/spec/terminationGracePeriodSeconds")).unwrap_or(GRACE_SECONDS);
    let mut table = ProbeTable::default();
    let mut warnings = Vec::new();
    for (field, only_sidecars) in [("initContainers", true), ("containers", false)] {
        let containers = pod.pointer_mut("/spec").and_then(|spec| spec.get_mut(field));
        for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
            if only_sidecars && !is_sidecar(container) {
                continue;
            }
            rewrite_container(container, key, grace, &mut table, &mut warnings);
        }
    }
    (table, warnings)
}

/// Numbers of the ports that a container's probes and hooks ask on the pod itself.
pub(super) fn ports(container: &Value) -> impl Iterator<Item = u16> {
    let probes = PROBES.iter().filter_map(|(field, _)| container.get(field));
    let hooks = HOOKS
        .iter()
        .filter_map(|(hook, _)| container.get("lifecycle")?.get(hook));
    probes.chain(hooks).flat_map(move |asker| {
        HANDLERS.iter().filter_map(move |handler| {
            let handler = asker.get(handler).filter(|handler| !goes_elsewhere(handler))?;
            resolve_port(container, handler.get("port")?)
        })
    })
}

/// Puts the probes and hooks of a container back that [`rewrite`] sent to the proxy. Each entry of the table is used once.
/// One that the table does not know cannot be asked by anybody any more and is removed.
pub(super) fn restore(container: &mut Value, table: &mut ProbeTable, warnings: &mut Vec<String>) {
    let container_name = name(container).to_owned();
    for (field, purpose) in PROBES {
        restore_one(container, field, (purpose, &container_name), table, warnings);
    }
    let Some(lifecycle) = container.get_mut("lifecycle") else {
        return;
    };
    for (hook, purpose) in HOOKS {
        restore_one(lifecycle, hook, (purpose, &container_name), table, warnings);
    }
}

fn restore_one(
    parent: &mut Value,
    field: &str,
    (purpose, container): (Purpose, &str),
    table: &mut ProbeTable,
    warnings: &mut Vec<String>,
) {
    let Some(parent) = parent.as_object_mut() else {
        return;
    };
    let asks_proxy = |get: &&Value| {
        let port = get.get("port").and_then(Value::as_u64);
        port == Some(PROBE_PORT.into()) && !goes_elsewhere(get)
    };
    let Some(path) = parent
        .get(field)
        .and_then(|asker| asker.get("httpGet"))
        .filter(asks_proxy)
        .and_then(|get| text(get, "/path"))
        .filter(|path| purpose.is_at(path, container))
    else {
        return;
    };
    let Some(index) = table.0.iter().position(|probe| probe.path == path) else {
        parent.remove(field);
        warnings.push(format!(
            "probe {} asked a sidecar that the pod does not have any more, and was removed: write it again as it was \
             before injection if the pod needs it",
            purpose.label(container)
        ));
        return;
    };
    let (handler, asks) = handler(table.0.remove(index));
    if let Some(asker) = parent.get_mut(field).and_then(Value::as_object_mut) {
        asker.remove("httpGet");
        asker.insert(handler.to_owned(), asks);
    }
}

/// The field of a probe, and its value, that [`check`] was made from.
fn handler(probe: Probe) -> (&'static str, Value) {
    let mut asks = json!({"port": probe.port});
    let field = match probe.check {
        Check::Tcp => "tcpSocket",
        Check::Grpc { service } => {
            if !service.is_empty() {
                asks["service"] = service.into();
            }
            "grpc"
        }
        Check::Http {
            path,
            scheme,
            headers,
        } => {
            if !path.is_empty() {
                asks["path"] = path.into();
            }
            asks["scheme"] = json!(scheme);
            let headers: Vec<Value> = headers
                .into_iter()
                .map(|(name, value)| json!({"name": name, "value": value}))
                .collect();
            if !headers.is_empty() {
                asks["httpHeaders"] = headers.into();
            }
            "httpGet"
        }
    };
    (field, asks)
}

fn rewrite_container(
    container: &mut Value,
    key: &PathKey,
    grace: u32,
    table: &mut ProbeTable,
    warnings: &mut Vec<String>,
) {
    let original = container.clone();
    let container_name = name(&original);
    let mut put = |purpose: Purpose, asker: Option<&mut Value>, timeout_seconds: u32| {
        let Some(asker) = asker.and_then(Value::as_object_mut) else {
            return;
        };
        let Some((field, handler)) = HANDLERS
            .iter()
            .find_map(|field| Some((*field, asker.get(*field)?)))
        else {
            return;
        };
        if goes_elsewhere(handler) {
            return;
        }
        let port = handler.get("port").and_then(|port| resolve_port(&original, port));
        let Some((port, check)) = port.zip(check(field, handler)) else {
            warnings.push(format!(
                "probe {} of the pod asks a port that its container does not name, and stays as it is",
                purpose.label(container_name)
            ));
            return;
        };
        let path = key.path(purpose, container_name);
        asker.remove(field);
        asker.insert(
            "httpGet".to_owned(),
            json!({"path": path, "port": PROBE_PORT, "scheme": "HTTP"}),
        );
        table.0.push(Probe {
            path,
            port,
            timeout_seconds,
            check,
        });
    };
    for (field, purpose) in PROBES {
        let timeout = seconds(original.get(field).and_then(|probe| probe.get("timeoutSeconds"))).unwrap_or(1);
        put(purpose, container.get_mut(field), timeout);
    }
    for (hook, purpose) in HOOKS {
        // A hook's tcpSocket is accepted by the API and carried out by nobody.
        let gets = original
            .get("lifecycle")
            .and_then(|lifecycle| lifecycle.get(hook)?.get("httpGet"));
        if gets.is_some() {
            let timeout = match purpose {
                Purpose::PreStop => grace,
                _ => AFTER_START_SECONDS,
            };
            let asker = container
                .get_mut("lifecycle")
                .and_then(|lifecycle| lifecycle.get_mut(hook));
            put(purpose, asker, timeout);
        }
    }
}

/// Whether the handler asks another host than the pod.
fn goes_elsewhere(handler: &Value) -> bool {
    text(handler, "/host").is_some_and(|host| !host.is_empty())
}

fn check(field: &str, handler: &Value) -> Option<Check> {
    match field {
        "httpGet" => Some(Check::Http {
            path: text(handler, "/path").unwrap_or_default().to_owned(),
            scheme: match text(handler, "/scheme") {
                Some("HTTPS") => Scheme::Https,
                _ => Scheme::Http,
            },
            headers: list(handler, "/httpHeaders")
                .filter_map(|header| {
                    Some((
                        text(header, "/name")?.to_owned(),
                        text(header, "/value")?.to_owned(),
                    ))
                })
                .collect(),
        }),
        "tcpSocket" => Some(Check::Tcp),
        "grpc" => Some(Check::Grpc {
            service: text(handler, "/service").unwrap_or_default().to_owned(),
        }),
        _ => None,
    }
}

/// A number, a number written as text, or the name of a port of the same container.
fn resolve_port(container: &Value, port: &Value) -> Option<u16> {
    let number = |number: u64| u16::try_from(number).ok().filter(|&port| port > 0);
    match port {
        Value::Number(value) => number(value.as_u64()?),
        Value::String(value) => list(container, "/ports")
            .find(|port| name(port) == value)
            .and_then(super::ports::number)
            .or_else(|| number(value.parse().ok()?)),
        _ => None,
    }
}

fn seconds(value: Option<&Value>) -> Option<u32> {
    value
        .and_then(Value::as_u64)
        .map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX))
        .filter(|&seconds| seconds > 0)
}

#[cfg(test)]
mod tests;
