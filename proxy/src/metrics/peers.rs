//! Who talks to whom, as labels. They are Istio's, so that what reads Istio's metrics reads ours.

use smilax_core::{DestinationName, SpiffeId};

use crate::settings::Pod;

/// Stands for labels of series that there are too many of.
pub(crate) const OVERFLOW: &str = "overflow";
const UNKNOWN: &str = "unknown";

/// Labels of request metrics.
pub(crate) const HTTP_LABELS: [&str; 21] = [
    "reporter",
    "source_workload",
    "source_workload_namespace",
    "source_principal",
    "source_app",
    "source_version",
    "source_canonical_service",
    "destination_workload",
    "destination_workload_namespace",
    "destination_principal",
    "destination_app",
    "destination_version",
    "destination_canonical_service",
    "destination_service",
    "destination_service_name",
    "destination_service_namespace",
    "connection_security_policy",
    "request_protocol",
    "response_flags",
    "response_code",
    "grpc_response_status",
];
/// Those of them that a TCP connection has too.
pub(crate) const TCP_LABELS: usize = 19;
const PEER_LABELS: usize = 17;

/// Who talks to whom, as the first labels of every series.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peers([String; PEER_LABELS]);

impl Peers {
    /// This pod calls `destination`; `None` where it is not known.
    pub(crate) fn outbound(pod: &Pod, destination: Option<&DestinationName>, cluster_domain: &str) -> Self {
        let (service, name, namespace) = match destination {
            Some(it) => (
                format!("{}.{}.svc.{cluster_domain}", it.name, it.namespace),
                it.name.to_string(),
                it.namespace.to_string(),
            ),
            None => (UNKNOWN.to_owned(), UNKNOWN.to_owned(), UNKNOWN.to_owned()),
        };
        let [workload, workload_namespace, principal, app, version, canonical] = workload_labels(pod);
        Self([
            "source".to_owned(),
            workload,
            workload_namespace,
            principal,
            app,
            version,
            canonical,
            UNKNOWN.to_owned(),
            UNKNOWN.to_owned(),
            UNKNOWN.to_owned(),
            UNKNOWN.to_owned(),
            UNKNOWN.to_owned(),
            UNKNOWN.to_owned(),
            service,
            name,
            namespace,
            UNKNOWN.to_owned(),
        ])
    }

    /// Namespace and name of the destination.
    pub(crate) fn destination(&self) -> (&str, &str) {
        let Self([.., name, namespace, _]) = self;
        (namespace, name)
    }

    /// Somebody calls this pod; `proven` is who it is, and who this pod is, where both have proven it.
    pub(crate) fn inbound(pod: &Pod, proven: Option<(&SpiffeId, &SpiffeId)>) -> Self {
        let [workload, namespace, mut principal, app, version, canonical] = workload_labels(pod);
        let unknown = || UNKNOWN.to_owned();
        let (mut caller, mut caller_namespace, mut policy) = (unknown(), unknown(), "none");
        if let Some((source, own)) = proven {
            source.as_str().clone_into(&mut caller);
            own.as_str().clone_into(&mut principal);
            policy = "mutual_tls";
            if let Some(workload) = source.workload() {
                caller_namespace = workload.namespace.to_string();
            }
        }
        Self([
            "destination".to_owned(),
            unknown(),
            caller_namespace,
            caller,
            unknown(),
            unknown(),
            unknown(),
            workload,
            namespace.clone(),
            principal,
            app,
            version,
            canonical,
            unknown(),
            unknown(),
            namespace,
            policy.to_owned(),
        ])
    }

    /// The same reporter, and all that there is no room for.
    pub(crate) fn overflow(&self) -> Self {
        let mut labels = self.0.clone().map(|_| OVERFLOW.to_owned());
        labels[0].clone_from(&self.0[0]);
        Self(labels)
    }
}

fn workload_labels(pod: &Pod) -> [String; 6] {
    let known = |text: &str| {
        if text.is_empty() {
            UNKNOWN.to_owned()
        } else {
            text.to_owned()
        }
    };
    let canonical = if pod.app.is_empty() {
        &pod.workload
    } else {
        &pod.app
    };
    [
        known(&pod.workload),
        known(&pod.namespace),
        // Which certificate is shown, each connection says for itself.
        UNKNOWN.to_owned(),
        known(&pod.app),
        known(&pod.version),
        known(canonical),
    ]
}

impl Peers {
    /// Values of the first labels, in their order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}
