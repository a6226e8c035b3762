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

/// Key of the policy in its ConfigMap, and so its file name in the mount.
pub const POLICY_KEY: &str = "policy.json";
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
    /// Suffix of the cluster's DNS names.
    pub const CLUSTER_DOMAIN: &str = "SMILAX_CLUSTER_DOMAIN";
    /// [`crate::probe::ProbeTable`] as JSON.
    pub const PROBES: &str = "SMILAX_PROBES";
    /// What the application's ports speak: a JSON object from port to [`crate::config::Protocol`].
    pub const INBOUND_PORTS: &str = "SMILAX_INBOUND_PORTS";
    /// Log filter.
    pub const LOG_LEVEL: &str = "SMILAX_LOG_LEVEL";
    /// `text` or `json`.
    pub const LOG_FORMAT: &str = "SMILAX_LOG_FORMAT";
    /// How long draining may take, in seconds.
    pub const DRAIN_SECONDS: &str = "SMILAX_DRAIN_SECONDS";
    /// Number of worker threads; 0 means by the CPU limit.
    pub const WORKERS: &str = "SMILAX_WORKERS";
    /// Inbound ports that init does not redirect: ports and ranges, separated by commas.
    pub const SKIP_INBOUND_PORTS: &str = "SMILAX_SKIP_INBOUND_PORTS";
    /// Outbound ports that init does not redirect.
    pub const SKIP_OUTBOUND_PORTS: &str = "SMILAX_SKIP_OUTBOUND_PORTS";
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
    /// Annotation of a Namespace: pods may set what the Namespace would otherwise decide.
    pub const ALLOW_RELAX: &str = "smilax.dev/allow-relax";
}

/// Longest name of a Kubernetes object, in bytes (RFC 1123 subdomain).
const LONGEST_NAME: usize = 253;

/// Name of the ConfigMap that holds the configuration of an account. A name that would be too long is cut and told
/// apart by a hash of the whole.
pub fn config_map_name(account: &str) -> String {
    let name = format!("smilax-{account}");
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
