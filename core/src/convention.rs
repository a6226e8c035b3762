//! Numbers and names that several parts must agree on. ARCHITECTURE.md explains them.

/// Administration, on loopback only.
pub const ADMIN_PORT: u16 = 15000;
/// Redirect target of connections that leave the pod.
pub const OUTBOUND_PORT: u16 = 15001;
/// Redirect target of connections that enter the pod.
pub const INBOUND_PORT: u16 = 15006;
/// Metrics and readiness of the proxy.
pub const METRICS_PORT: u16 = 15020;
/// Probes and hooks of the application.
pub const PROBE_PORT: u16 = 15021;
/// Every port of the proxy: never redirected, and never an original destination.
pub const PROXY_PORTS: [u16; 5] = [ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT, METRICS_PORT, PROBE_PORT];
/// User and group of the proxy; what it sends is not redirected.
pub const PROXY_UID: u32 = 2102;

/// Port of the operator that proxies get certificates from and stay connected to.
pub const WORKLOAD_PORT: u16 = 8444;
/// Service of that port, in the namespace of the installation.
pub const WORKLOAD_SERVICE: &str = "smilax-workload";
/// Account of the operator, in the namespace of the installation.
pub const OPERATOR_ACCOUNT: &str = "smilax-operator";
/// Audience of the tokens that proxies prove themselves to the operator with.
pub const TOKEN_AUDIENCE: &str = "smilax.dev";
/// Where that token is mounted.
pub const TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Key of the policy in its ConfigMap, and so its file name in the mount.
pub const POLICY_KEY: &str = "policy.json";
/// Key of the [`crate::workload_connection::TrustBundle`] beside it.
pub const TRUST_BUNDLE_KEY: &str = "trust-bundle.json";
/// Key of the [`crate::signature::Signatures`] of both.
pub const SIGNATURE_KEY: &str = "signature.json";
/// Key of a policy that is too long to be kept as text ([`crate::packed`]); it stands instead of the other.
pub const PACKED_POLICY_KEY: &str = "policy.json.gz";
/// Where the ConfigMap is mounted.
pub const CONFIG_DIRECTORY: &str = "/etc/smilax/config";
/// Memory-backed directory of the proxy: last good configuration, later key and certificate.
pub const STATE_DIRECTORY: &str = "/var/run/smilax";
/// Where the pod's labels and annotations are mounted.
pub const POD_DIRECTORY: &str = "/etc/smilax/pod";

/// Variables of the proxy's environment, written at injection.
pub mod variable {
    /// Name of the pod.
    pub const POD_NAME: &str = "SMILAX_POD_NAME";
    /// Namespace of the pod.
    pub const POD_NAMESPACE: &str = "SMILAX_POD_NAMESPACE";
    /// UID of the pod.
    pub const POD_UID: &str = "SMILAX_POD_UID";
    /// Every address of the pod, separated by commas.
    pub const POD_IPS: &str = "SMILAX_POD_IPS";
    /// Node of the pod.
    pub const NODE_NAME: &str = "SMILAX_NODE_NAME";
    /// Account of the pod.
    pub const ACCOUNT: &str = "SMILAX_ACCOUNT";
    /// Name of the workload that the pod belongs to: its Deployment, StatefulSet and so on.
    pub const WORKLOAD: &str = "SMILAX_WORKLOAD";
    /// Value of the pod's `app` label, for metrics.
    pub const APP: &str = "SMILAX_APP";
    /// Value of the pod's `version` label, for metrics.
    pub const APP_VERSION: &str = "SMILAX_APP_VERSION";
    /// Keys of the roots that may vouch for a mounted configuration, as [`crate::workload_connection::KeyId`]s separated
    /// by commas. Without it, unsigned configurations are accepted.
    pub const TRUST_ANCHORS: &str = "SMILAX_TRUST_ANCHORS";
    /// Trust domain of whoever may sign a mounted configuration: other meshes may have the same root. Without it, every one
    /// counts.
    pub const TRUST_DOMAIN: &str = "SMILAX_TRUST_DOMAIN";
    /// Suffix of the cluster's DNS names.
    pub const CLUSTER_DOMAIN: &str = "SMILAX_CLUSTER_DOMAIN";
    /// [`crate::probe::ProbeTable`] as JSON.
    pub const PROBES: &str = "SMILAX_PROBES";
    /// What the application's ports speak: a JSON object from port to [`crate::config::Protocol`].
    pub const INBOUND_PORTS: &str = "SMILAX_INBOUND_PORTS";
    /// Names of the containers' ports: a JSON object from name to port.
    pub const PORT_NAMES: &str = "SMILAX_PORT_NAMES";
    /// What the pod's template asks for: `deny`, `allow` or `audit`.
    pub const ACCESS_MODE: &str = "SMILAX_ACCESS_MODE";
    /// What the pod's template asks for: `strict` or `permissive`.
    pub const TLS_MODE: &str = "SMILAX_TLS_MODE";
    /// The same for single ports: `8080=strict,9090=permissive`.
    pub const TLS_PORT_MODES: &str = "SMILAX_TLS_PORT_MODES";
    /// Whether a refused caller is told why: `kept` or `told`.
    pub const DENIAL_REASONS: &str = "SMILAX_DENIAL_REASONS";
    /// [`crate::application_metrics::ApplicationMetrics`] as JSON. Without it, the sidecar serves its own metrics alone.
    pub const APPLICATION_METRICS: &str = "SMILAX_APPLICATION_METRICS";
    /// Address ranges from which metrics may be read, in CIDR notation, separated by commas. Empty: any.
    pub const METRICS_SOURCE_RANGES: &str = "SMILAX_METRICS_SOURCE_RANGES";
    /// Whether init lets new inbound UDP in: `open` or `drop`.
    pub const INBOUND_UDP: &str = "SMILAX_INBOUND_UDP";
    /// Log filter.
    pub const LOG_LEVEL: &str = "SMILAX_LOG_LEVEL";
    /// `text` or `json`.
    pub const LOG_FORMAT: &str = "SMILAX_LOG_FORMAT";
    /// How long draining may take, in seconds.
    pub const DRAIN_SECONDS: &str = "SMILAX_DRAIN_SECONDS";
    /// Number of worker threads; 0 means by the CPU limit.
    pub const WORKERS: &str = "SMILAX_WORKERS";
    /// Connections to the application at most; 0 means by the memory limit.
    pub const CONNECTIONS: &str = "SMILAX_CONNECTIONS";
    /// Bytes held at most for clients, for the application, and for servers elsewhere, each; 0 means by the memory limit.
    pub const HELD_BYTES: &str = "SMILAX_HELD_BYTES";
    /// Bytes that requests to the application may cost while they are under way; 0 means by the memory limit.
    pub const REQUEST_BYTES: &str = "SMILAX_REQUEST_BYTES";
    /// How long a connection of HTTP to the application may be unused, in seconds.
    pub const KEEP_ALIVE_SECONDS: &str = "SMILAX_KEEP_ALIVE_SECONDS";
    /// How long a client may neither send nor take what is waited for, in seconds.
    pub const STALLED_SECONDS: &str = "SMILAX_STALLED_SECONDS";
    /// Inbound ports that init does not redirect: ports and ranges, separated by commas.
    pub const SKIP_INBOUND_PORTS: &str = "SMILAX_SKIP_INBOUND_PORTS";
    /// Outbound ports that init does not redirect.
    pub const SKIP_OUTBOUND_PORTS: &str = "SMILAX_SKIP_OUTBOUND_PORTS";
}

/// Containers that injection adds. The API server lets nobody rename them, or change their arguments and environment.
pub mod container {
    /// Init container that programs the redirect.
    pub const INIT: &str = "smilax-init";
    /// Native sidecar that runs the proxy.
    pub const PROXY: &str = "smilax-proxy";
    /// Arguments of the proxy, in every version.
    pub const PROXY_ARGUMENTS: [&str; 1] = ["run"];
}

/// Labels and annotations.
pub mod key {
    /// Label or annotation: join the mesh or not.
    pub const INJECT: &str = "smilax.dev/inject";
    /// Annotation, written: what injection did.
    pub const INJECT_STATUS: &str = "smilax.dev/inject-status";
    /// Label, written: version of the pod's proxy.
    pub const PROXY_VERSION: &str = "smilax.dev/proxy-version";
    /// Annotation of a ServiceAccount or Namespace: destinations in other namespaces.
    pub const DESTINATIONS: &str = "smilax.dev/destinations";
    /// Annotation: ports carried as bytes.
    pub const OPAQUE_PORTS: &str = "smilax.dev/opaque-ports";
    /// Annotation: inbound ports that are not captured.
    pub const SKIP_INBOUND_PORTS: &str = "smilax.dev/skip-inbound-ports";
    /// Annotation: outbound ports that are not captured.
    pub const SKIP_OUTBOUND_PORTS: &str = "smilax.dev/skip-outbound-ports";
    /// Annotation of a Namespace or pod: what becomes of calls that no TrafficTarget allows.
    pub const ACCESS_MODE: &str = "smilax.dev/access-mode";
    /// Annotation of a Namespace or pod: what becomes of calls from outside the mesh.
    pub const TLS_MODE: &str = "smilax.dev/tls-mode";
    /// The same for single ports of a pod: `8080=strict,9090=permissive`.
    pub const TLS_PORT_MODES: &str = "smilax.dev/tls-port-modes";
    /// Annotation of a Namespace: a JSON list of [`crate::config::UnauthenticatedSource`].
    pub const UNAUTHENTICATED_SOURCES: &str = "smilax.dev/unauthenticated-sources";
    /// Annotation of a pod, written: whether new inbound UDP is let in, `open` or `drop`.
    pub const INBOUND_UDP: &str = "smilax.dev/inbound-udp";
    /// Annotation of a Namespace or pod: whether callers are told why they are refused, `kept` or `told`.
    pub const DENIAL_REASONS: &str = "smilax.dev/denial-reasons";
    /// Annotation of a Namespace or pod: whether the sidecar serves the application's metrics with its own, `true` or `false`.
    pub const MERGE_METRICS: &str = "smilax.dev/merge-metrics";
    /// Annotation: log filter of the proxy.
    pub const LOG_LEVEL: &str = "smilax.dev/log-level";
    /// Annotation: how long draining may take, in seconds.
    pub const DRAIN_SECONDS: &str = "smilax.dev/drain-seconds";
    /// Annotation: CPU request of the proxy.
    pub const CPU_REQUEST: &str = "smilax.dev/proxy-cpu-request";
    /// Annotation: CPU limit of the proxy.
    pub const CPU_LIMIT: &str = "smilax.dev/proxy-cpu-limit";
    /// Annotation: memory request of the proxy.
    pub const MEMORY_REQUEST: &str = "smilax.dev/proxy-memory-request";
    /// Annotation: memory limit of the proxy.
    pub const MEMORY_LIMIT: &str = "smilax.dev/proxy-memory-limit";
    /// Annotation of the MeshConfig: asks for a new root or issuer, `root/<id>` or `issuer/<id>`; `/force` behind it
    /// goes on without waiting for pods. Another id is another request.
    pub const ROTATE: &str = "smilax.dev/rotate";
    /// Annotation of a Namespace: pods may set what the Namespace would otherwise decide.
    pub const ALLOW_RELAX: &str = "smilax.dev/allow-relax";
}

/// What proxies say to each other beside what applications say.
pub mod wire {
    /// ALPN of HTTP/2 that carries requests of many connections.
    pub const ALPN_HTTP2: &[u8] = b"smilax-h2";
    /// ALPN of HTTP/1.1, for requests that want to become something else.
    pub const ALPN_HTTP1: &[u8] = b"smilax-h1";
    /// ALPN of bytes that are not looked into.
    pub const ALPN_TCP: &[u8] = b"smilax-tcp";
    /// Header of a request between proxies: the version and form that the application sent it in.
    pub const FORM_HEADER: &str = "smilax-form";
    /// Header of a response that the called proxy made itself, with what that means for the calling one. Believed only
    /// over mutual TLS between proxies, taken away from what applications send, and never passed on to any.
    pub const LOCAL_REPLY_HEADER: &str = "smilax-local-reply";
    /// Header of a request between proxies whose form says so: its target, byte for byte.
    pub const TARGET_HEADER: &str = "smilax-target";
    /// Header that tells the application who calls: the SPIFFE ID. Whatever else says it is taken away.
    pub const CLIENT_IDENTITY_HEADER: &str = "smilax-client-identity";
    /// The same in the form that Envoy gave it.
    pub const CLIENT_CERTIFICATE_HEADER: &str = "x-forwarded-client-cert";
    /// Header of a refusal that says why, where that is asked for.
    pub const REASON_HEADER: &str = "smilax-reason";
    /// Object identifier of the certificate extension that holds the pod's UID, a UTF8String. Below 2.25, the arc of
    /// identifiers that nobody need register (ITU-T X.667).
    pub const POD_UID_OID: [u64; 3] = [2, 25, 6_172_839_450_172_839_451];
    /// Extended key usage of the certificate that signs configurations, and of no other.
    pub const POLICY_SIGNING_OID: [u64; 3] = [2, 25, 6_633_914_208_175_540_294];
    /// Path of that certificate's SPIFFE ID. No workload has an ID of this form.
    pub const POLICY_SIGNER_PATH: &str = "/policy-signer";
}

/// Longest name of a Kubernetes object, in bytes (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;

/// With which the name of every ConfigMap of the operator begins.
pub const CONFIG_MAP_PREFIX: &str = "smilax-";

/// Name of the ConfigMap that holds the configuration of an account. A name that would be too long is cut and told
/// apart by a hash of the whole.
pub fn config_map_name(account: &str) -> String {
    let name = format!("{CONFIG_MAP_PREFIX}{account}");
    if name.len() <= LONGEST_NAME {
        return name;
    }
    // FNV-1a: this tells the accounts of one namespace apart, it protects nothing.
    let hash = account.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let kept = name.get(..LONGEST_NAME - 17).unwrap_or("smilax");
    format!("{}-{hash:016x}", kept.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_named_after_its_account() {
        assert_eq!(config_map_name("web"), "smilax-web");
    }

    #[test]
    fn names_that_would_be_too_long_stay_apart() {
        let long = |last: char| format!("{}{last}", "a".repeat(252));
        assert_eq!(config_map_name(&long('x')).len(), LONGEST_NAME);
        assert_ne!(config_map_name(&long('x')), config_map_name(&long('y')));
    }
}
