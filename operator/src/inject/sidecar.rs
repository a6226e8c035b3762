//! The two containers and their volumes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use smilax_compiler::keys::Quantity;
use smilax_core::config::Protocol;
use smilax_core::convention::container::PROXY_ARGUMENTS;
use smilax_core::convention::{
    CONFIG_DIRECTORY, METRICS_PORT, POD_DIRECTORY, PROXY_UID, STATE_DIRECTORY, TOKEN_AUDIENCE,
    config_map_name, variable,
};
use smilax_core::probe::ProbeTable;

use super::annotation::Options;
use super::modes;
use super::pod::{all_containers, label, text};
use super::scrape::Scraping;
use super::settings::{InjectSettings, Resources};
use crate::cluster_view::TrustAnchors;

pub use smilax_core::convention::container::{INIT, PROXY};

/// Both containers, in their order.
pub(super) const CONTAINERS: [&str; 2] = [INIT, PROXY];
/// Every volume.
pub(super) const VOLUMES: [&str; 5] = [CONFIG, STATE, TOKEN, NO_TOKEN, POD];

pub(super) const CONFIG: &str = "smilax-config";
pub(super) const STATE: &str = "smilax-state";
pub(super) const TOKEN: &str = "smilax-token";
pub(super) const NO_TOKEN: &str = "smilax-no-token";
pub(super) const POD: &str = "smilax-pod";

/// Where admission would mount the ServiceAccount's token for the API, unless something is mounted there already.
const TOKEN_DIRECTORY: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
const TOKEN_SECONDS: u32 = 3600;
/// Room for the last good configuration, unpacked, and for key and certificate.
const STATE_SIZE: &str = "32Mi";
/// CPU of a proxy in a Guaranteed pod whose author named none. There, what is not exceeded must be reserved: the usual limit
/// would reserve whole cores, and the usual request would hold every burst back.
const GUARANTEED_CPU: &str = "250m";
/// kubelet asks every second; a busy node needs a while to pull policy and open listeners.
const STARTUP_ATTEMPTS: u32 = 120;

/// What a pod's sidecar is made from.
pub(super) struct Sidecar<'a> {
    pub(super) settings: &'a InjectSettings,
    pub(super) options: &'a Options,
    pub(super) probes: &'a ProbeTable,
    pub(super) scraping: &'a Scraping,
    pub(super) protocols: &'a BTreeMap<u16, Protocol>,
    pub(super) port_names: &'a BTreeMap<String, u16>,
    pub(super) workload: &'a str,
    /// Keys of the roots that may sign the configuration; empty for none.
    pub(super) trust_anchors: Option<&'a TrustAnchors>,
}

impl Sidecar<'_> {
    /// The container that programs the redirect. It ends before the proxy starts, so with the same resources it adds nothing to
    /// what the pod reserves.
    pub(super) fn init(&self, pod: &Value) -> Value {
        json!({
            "name": INIT,
            "image": self.settings.proxy_image,
            "imagePullPolicy": self.settings.pull_policy.as_str(),
            "args": ["init"],
            "env": [
                plain(variable::SKIP_INBOUND_PORTS, &self.options.skip_inbound.to_string()),
                plain(variable::SKIP_OUTBOUND_PORTS, &self.options.skip_outbound.to_string()),
                plain(variable::INBOUND_UDP, self.options.inbound_udp.as_str()),
                plain(variable::LOG_LEVEL, self.options.log_level.as_str()),
                plain(variable::LOG_FORMAT, self.settings.log_format.as_str()),
            ],
            "resources": resources(pod, self.options),
            "securityContext": {
                "runAsUser": 0,
                "runAsGroup": 0,
                "runAsNonRoot": false,
                "privileged": false,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [{"name": NO_TOKEN, "mountPath": TOKEN_DIRECTORY, "readOnly": true}],
        })
    }

    /// The proxy: a native sidecar, so it starts before the application and ends after it.
    pub(super) fn proxy(&self, pod: &Value) -> Value {
        let get = |path: &str| json!({"path": path, "port": METRICS_PORT, "scheme": "HTTP"});
        json!({
            "name": PROXY,
            "image": self.settings.proxy_image,
            "imagePullPolicy": self.settings.pull_policy.as_str(),
            "restartPolicy": "Always",
            "args": PROXY_ARGUMENTS,
            "env": self.environment(pod),
            "ports": [{"name": "smilax-metrics", "containerPort": METRICS_PORT, "protocol": "TCP"}],
            "startupProbe": {
                "httpGet": get("/startup"),
                "periodSeconds": 1,
                "timeoutSeconds": 1,
                "failureThreshold": STARTUP_ATTEMPTS,
            },
            "readinessProbe": {
                "httpGet": get("/ready"),
                "periodSeconds": 2,
                "timeoutSeconds": 1,
                "failureThreshold": 3,
            },
            "lifecycle": {"preStop": {"exec": {"command": ["/smilax-proxy", "drain"]}}},
            "resources": resources(pod, self.options),
            "securityContext": {
                "runAsUser": PROXY_UID,
                "runAsGroup": PROXY_UID,
                "runAsNonRoot": true,
                "privileged": false,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [
                {"name": CONFIG, "mountPath": CONFIG_DIRECTORY, "readOnly": true},
                {"name": POD, "mountPath": POD_DIRECTORY, "readOnly": true},
                {"name": STATE, "mountPath": STATE_DIRECTORY},
                {"name": TOKEN, "mountPath": TOKEN_DIRECTORY, "readOnly": true},
            ],
        })
    }

    fn environment(&self, pod: &Value) -> Vec<Value> {
        let json = |value: serde_json::Result<String>| value.unwrap_or_default();
        let mut environment = vec![
            field(variable::POD_NAME, "metadata.name"),
            field(variable::POD_NAMESPACE, "metadata.namespace"),
            field(variable::POD_UID, "metadata.uid"),
            field(variable::POD_IPS, "status.podIPs"),
            field(variable::NODE_NAME, "spec.nodeName"),
            plain(variable::ACCOUNT, account(pod)),
            plain(variable::WORKLOAD, self.workload),
        ];
        let labels = [
            (variable::APP, ["app", "app.kubernetes.io/name"]),
            (variable::APP_VERSION, ["version", "app.kubernetes.io/version"]),
        ];
        for (variable, keys) in labels {
            if let Some(value) = keys.iter().find_map(|key| label(pod, key)) {
                environment.push(plain(variable, value));
            }
        }
        environment.extend([
            plain(variable::CLUSTER_DOMAIN, &self.settings.cluster_domain),
            plain(variable::PROBES, &json(serde_json::to_string(self.probes))),
            plain(
                variable::INBOUND_PORTS,
                &json(serde_json::to_string(self.protocols)),
            ),
            plain(
                variable::PORT_NAMES,
                &json(serde_json::to_string(self.port_names)),
            ),
            plain(variable::LOG_LEVEL, self.options.log_level.as_str()),
            plain(variable::LOG_FORMAT, self.settings.log_format.as_str()),
            plain(variable::DRAIN_SECONDS, &self.options.drain_seconds.to_string()),
        ]);
        // The ConfigMap that is mounted holds the trust bundle too, and others may write there: what it is measured by must
        // lie elsewhere.
        if let Some(anchors) = self.trust_anchors {
            environment.push(plain(variable::TRUST_ANCHORS, &anchors.roots));
            environment.push(plain(variable::TRUST_DOMAIN, anchors.trust_domain.as_str()));
        }
        if let Scraping::Merged(application) = self.scraping {
            let application = json(serde_json::to_string(application));
            environment.push(plain(variable::APPLICATION_METRICS, &application));
        }
        let sources = &self.settings.metrics_sources;
        if !sources.is_empty() {
            environment.push(plain(variable::METRICS_SOURCE_RANGES, &sources.to_string()));
        }
        let reasons = self.options.denial_reasons;
        environment.extend(reasons.map(|word| plain(variable::DENIAL_REASONS, word)));
        let own = &self.options.own;
        environment.extend(own.access.map(|mode| plain(variable::ACCESS_MODE, mode.as_str())));
        environment.extend(own.tls.map(|mode| plain(variable::TLS_MODE, mode.as_str())));
        if !own.tls_ports.is_empty() {
            environment.push(plain(variable::TLS_PORT_MODES, &modes::list(&own.tls_ports)));
        }
        environment
    }
}

/// Requests and limits of both containers.
pub(super) fn resources(pod: &Value, options: &Options) -> Value {
    let Resources {
        cpu_request,
        cpu_limit,
        memory_request,
        memory_limit,
    } = &options.resources;
    // With resources for the pod as a whole, the sidecar lives within them: more of its own would make the pod invalid.
    if pod.pointer("/spec/resources").is_some_and(Value::is_object) {
        return json!({});
    }
    if !is_guaranteed(pod) {
        return json!({
            "requests": {"cpu": cpu_request.as_str(), "memory": memory_request.as_str()},
            "limits": {"cpu": cpu_limit.as_str(), "memory": memory_limit.as_str()},
        });
    }
    let usual = GUARANTEED_CPU.parse::<Quantity>().ok();
    let cpu = options
        .asked_cpu
        .clone()
        .or(usual)
        .map_or(cpu_limit.clone(), |cpu| cpu.min(cpu_limit.clone()));
    let both = json!({"cpu": cpu.as_str(), "memory": memory_limit.as_str()});
    json!({"requests": both, "limits": both})
}

/// The volumes, in the order of [`VOLUMES`].
pub(super) fn volumes(pod: &Value) -> [Value; 5] {
    let pod_field =
        |path: &str, field: &str| json!({"path": path, "fieldRef": {"apiVersion": "v1", "fieldPath": field}});
    [
        json!({"name": CONFIG, "configMap": {"name": config_map_name(account(pod)), "optional": false}}),
        json!({"name": STATE, "emptyDir": {"medium": "Memory", "sizeLimit": STATE_SIZE}}),
        // Our containers run as different users, so kubelet leaves the mode as it is here; with an fsGroup the token is the group's,
        // which the proxy belongs to. Only the proxy mounts it.
        json!({"name": TOKEN, "projected": {
            "defaultMode": 0o444,
            "sources": [{"serviceAccountToken": {
                "audience": TOKEN_AUDIENCE,
                "expirationSeconds": TOKEN_SECONDS,
                "path": "token",
            }}],
        }}),
        json!({"name": NO_TOKEN, "emptyDir": {"sizeLimit": "1Mi"}}),
        json!({"name": POD, "downwardAPI": {
            "defaultMode": 0o444,
            "items": [
                pod_field("labels", "metadata.labels"),
                pod_field("annotations", "metadata.annotations"),
            ],
        }}),
    ]
}

/// Volumes that are lost with the pod and may be: the cluster autoscaler must not keep a node for their sake.
pub(super) fn evictable() -> [&'static str; 2] {
    [STATE, NO_TOKEN]
}

/// ServiceAccount of a pod.
pub(super) fn account(pod: &Value) -> &str {
    text(pod, "/spec/serviceAccountName")
        .filter(|name| !name.is_empty())
        .unwrap_or("default")
}

/// Whether every container reserves what it may use (Kubernetes' QoS class Guaranteed).
fn is_guaranteed(pod: &Value) -> bool {
    let fixed = |container: &Value, resource: &str| {
        let quantity = |kind: &str| {
            let value = container.pointer(&format!("/resources/{kind}/{resource}"))?;
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), ToOwned::to_owned);
            Some(text.parse::<Quantity>())
        };
        match (quantity("requests"), quantity("limits")) {
            // A request that is not written is the limit.
            (None, Some(Ok(_))) => true,
            (Some(Ok(request)), Some(Ok(limit))) => request == limit,
            _ => false,
        }
    };
    let mut containers = all_containers(pod).peekable();
    containers.peek().is_some()
        && containers.all(|container| fixed(container, "cpu") && fixed(container, "memory"))
}

fn plain(name: &str, value: &str) -> Value {
    // kubelet would put the values of other variables in the place of `$(NAME)`; `$$` is how it reads a dollar.
    json!({"name": name, "value": value.replace('$', "$$")})
}

/// What [`plain`] was given.
pub(super) fn unescaped(value: &str) -> String {
    value.replace("$$", "$")
}

fn field(name: &str, path: &str) -> Value {
    json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
}
