//! What `smilax.dev/*` annotations ask for: the pod template before the Namespace before the installation.

use std::fmt;

use serde_json::Value;
use smilax_compiler::keys::{PortSet, Quantity, values};
use smilax_compiler::modes::InboundUdp;
use smilax_core::LogFilter;
use smilax_core::convention::key;

use super::modes::{self, OwnModes};
use super::pod::annotation;
use super::scrape::Merge;
use super::settings::{InjectSettings, Resources};
use crate::cluster_view::NamespaceView;

/// What a sidecar is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) resources: Resources,
    /// What the user asked for in so many words, which a Guaranteed pod gets as its request and its limit.
    pub(super) asked_cpu: Option<Quantity>,
    pub(super) log_level: LogFilter,
    pub(super) drain_seconds: u32,
    pub(super) skip_inbound: PortSet,
    pub(super) skip_outbound: PortSet,
    pub(super) opaque: PortSet,
    /// Whether the sidecar serves the application's metrics with its own.
    pub(super) merge_metrics: Merge,
    /// Whether callers are told why they are refused, where somebody said.
    pub(super) denial_reasons: Option<&'static str>,
    /// What the pod's template asks for about who may call it.
    pub(super) own: OwnModes,
    /// What becomes of UDP that comes in unasked.
    pub(super) inbound_udp: InboundUdp,
}

/// An annotation that is ignored since its value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadValue {
    pub(super) origin: Origin,
    pub(super) key: &'static str,
    pub(super) reason: String,
}

/// Who wrote an annotation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Pod,
    Namespace(String),
}

impl fmt::Display for BadValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::Pod => write!(f, "{}: {}", self.key, self.reason),
            Origin::Namespace(name) => write!(f, "{} of Namespace {name}: {}", self.key, self.reason),
        }
    }
}

/// Reads everything that a pod, its Namespace and the installation say.
pub(super) fn resolve(
    pod: &Value,
    namespace: &NamespaceView,
    settings: &InjectSettings,
) -> (Options, Vec<BadValue>) {
    let mut reader = Reader {
        pod,
        namespace,
        bad: Vec::new(),
    };
    let cpu_request = reader.value(key::CPU_REQUEST, values::cpu);
    let cpu_limit = reader.value(key::CPU_LIMIT, values::cpu);
    let memory_request = reader.value(key::MEMORY_REQUEST, values::memory);
    let memory_limit = reader.value(key::MEMORY_LIMIT, values::memory);
    let asked_cpu = cpu_limit.clone().or_else(|| cpu_request.clone());
    let defaults = &settings.resources;
    let (cpu_request, cpu_limit) = reader.pair(
        key::CPU_REQUEST,
        (cpu_request, cpu_limit),
        (&defaults.cpu_request, &defaults.cpu_limit),
    );
    let (memory_request, memory_limit) = reader.pair(
        key::MEMORY_REQUEST,
        (memory_request, memory_limit),
        (&defaults.memory_request, &defaults.memory_limit),
    );
    let log_level = reader.value(key::LOG_LEVEL, values::log_filter);
    let drain_seconds = reader.value(key::DRAIN_SECONDS, values::drain_seconds);
    let denial_reasons = reader.value(key::DENIAL_REASONS, values::denial_reasons);
    let merge_metrics = reader.merge_metrics(settings);
    let own = reader.own_modes();
    let mut ports =
        |key, read: fn(&str) -> Result<PortSet, String>| reader.value(key, read).unwrap_or_default();
    let options = Options {
        resources: Resources {
            cpu_request,
            cpu_limit,
            memory_request,
            memory_limit,
        },
        asked_cpu,
        log_level: log_level.unwrap_or_else(|| settings.log_level.clone()),
        drain_seconds: drain_seconds.unwrap_or(settings.drain_seconds),
        skip_inbound: ports(key::SKIP_INBOUND_PORTS, values::ports),
        skip_outbound: ports(key::SKIP_OUTBOUND_PORTS, values::ports),
        opaque: ports(key::OPAQUE_PORTS, values::opaque_ports),
        merge_metrics,
        denial_reasons,
        inbound_udp: namespace.modes.inbound_udp(own.access),
        own,
    };
    (options, reader.bad)
}

struct Reader<'a> {
    pod: &'a Value,
    namespace: &'a NamespaceView,
    bad: Vec<BadValue>,
}

impl Reader<'_> {
    /// The first value that can be read, of the pod and then of the Namespace.
    fn value<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let pod = match annotation(self.pod, key) {
            Some(_) if modes::is_reserved(self.namespace, key) => {
                self.bad.push(BadValue {
                    origin: Origin::Pod,
                    key,
                    reason: modes::reserved(self.namespace),
                });
                None
            }
            other => other,
        };
        let namespace = self.namespace.annotations.get(key).map(String::as_str);
        let origins = [
            (pod, Origin::Pod),
            (namespace, Origin::Namespace(self.namespace.name.clone())),
        ];
        for (text, origin) in origins {
            match text.map(&read) {
                Some(Ok(value)) => return Some(value),
                Some(Err(reason)) => self.bad.push(BadValue { origin, key, reason }),
                None => {}
            }
        }
        None
    }

    /// What the pod says about who may call it. What would open more than its Namespace does is left out.
    fn own_modes(&mut self) -> OwnModes {
        let modes = &self.namespace.modes;
        OwnModes {
            access: self.own(key::ACCESS_MODE, |text| modes::access(text, modes)),
            tls: self.own(key::TLS_MODE, |text| modes::tls(text, modes)),
            tls_ports: self
                .own(key::TLS_PORT_MODES, |text| modes::tls_ports(text, modes))
                .unwrap_or_default(),
        }
    }

    /// A value that counts on the pod only: the Namespace's own goes another way.
    fn own<T>(&mut self, key: &'static str, read: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        read(annotation(self.pod, key)?.trim())
            .map_err(|reason| {
                self.bad.push(BadValue {
                    origin: Origin::Pod,
                    key,
                    reason,
                });
            })
            .ok()
    }

    /// A pod may not let everybody read what a closed Namespace refuses; its Namespace may.
    fn merge_metrics(&mut self, settings: &InjectSettings) -> Merge {
        let reserved = modes::is_binding(self.namespace) && settings.metrics_sources.is_empty();
        let wants = |text: &str| values::boolean(text) == Ok(true);
        let by_pod = annotation(self.pod, key::MERGE_METRICS).is_some_and(wants);
        let by_namespace = self.namespace.annotations.get(key::MERGE_METRICS);
        if reserved && by_pod && !by_namespace.is_some_and(|text| wants(text)) {
            self.bad.push(BadValue {
                origin: Origin::Pod,
                key: key::MERGE_METRICS,
                reason: modes::reserved(self.namespace),
            });
            return Merge::WouldOpen;
        }
        match self.value(key::MERGE_METRICS, merge_metrics) {
            Some(asked) => asked,
            None if self.namespace.modes.is_enforced() && settings.metrics_sources.is_empty() => {
                Merge::WouldOpen
            }
            None => Merge::Wanted,
        }
    }

    /// A request and a limit that Kubernetes accepts: what was asked for stays, and the default beside it gives way.
    fn pair(
        &mut self,
        key: &'static str,
        asked: (Option<Quantity>, Option<Quantity>),
        default: (&Quantity, &Quantity),
    ) -> (Quantity, Quantity) {
        match asked {
            (Some(request), Some(limit)) if request > limit => {
                self.bad.push(BadValue {
                    origin: Origin::Pod,
                    key,
                    reason: format!("{request} is above the limit of {limit}, which is taken instead"),
                });
                (limit.clone(), limit)
            }
            (Some(request), Some(limit)) => (request, limit),
            (Some(request), None) => (request.clone(), request.max(default.1.clone())),
            (None, Some(limit)) => (default.0.clone().min(limit.clone()), limit),
            (None, None) => (default.0.clone().min(default.1.clone()), default.1.clone()),
        }
    }
}

fn merge_metrics(text: &str) -> Result<Merge, String> {
    values::boolean(text).map(|wanted| if wanted { Merge::Wanted } else { Merge::NotWanted })
}

#[cfg(test)]
mod tests;
