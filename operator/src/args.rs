//! Flags and environment.

use clap::{Parser, Subcommand, ValueEnum};
use smilax_core::config::{AccessMode, TlsMode};
use smilax_core::convention::WORKLOAD_PORT;
use smilax_core::{LogFilter, SourceRanges, TrustDomain};

/// The control plane of the Smilax service mesh.
#[derive(Debug, Parser)]
#[command(
    name = "smilax-operator",
    version,
    about,
    args_conflicts_with_subcommands = true
)]
pub struct Args {
    /// Something else than running.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to run.
    #[command(flatten)]
    pub run: RunArgs,
}

/// Something else than running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Prepares the cluster for life without the operator: objects are brought to the stored version, and old
    /// versions are no longer served. Run by the chart before it is removed.
    Uninstall,
    /// Waits until the installation serves, and says what is missing if it does not within a minute. Run by `helm test`.
    Check,
}

/// How to run.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// Namespace of the installation.
    #[arg(long, env = "POD_NAMESPACE", default_value = "smilax-system")]
    pub namespace: String,
    /// Name of this pod, unique among replicas.
    #[arg(long, env = "POD_NAME", default_value = "smilax-operator")]
    pub pod_name: String,
    /// Image of the proxy that is injected.
    #[arg(long, env = "SMILAX_PROXY_IMAGE", default_value = concat!("localhost/smilax-proxy:", env!("CARGO_PKG_VERSION")))]
    pub proxy_image: String,
    /// Repositories that sidecars of pods may come from beside that of the proxy's image, separated by commas: of earlier
    /// installations, and of mirrors that something else writes into pods.
    #[arg(long, env = "SMILAX_SIDECAR_REPOSITORIES", value_delimiter = ',')]
    pub sidecar_repositories: Vec<String>,
    /// When kubelet pulls it: Always, IfNotPresent or Never.
    #[arg(long, default_value = "IfNotPresent")]
    pub proxy_image_pull_policy: String,
    /// CPU request of the proxy.
    #[arg(long, default_value = "10m")]
    pub proxy_cpu_request: String,
    /// CPU limit of the proxy; it also sets the number of its workers.
    #[arg(long, default_value = "2")]
    pub proxy_cpu_limit: String,
    /// Memory request of the proxy.
    #[arg(long, default_value = "24Mi")]
    pub proxy_memory_request: String,
    /// Memory limit of the proxy.
    #[arg(long, default_value = "256Mi")]
    pub proxy_memory_limit: String,
    /// Log filter of the proxy.
    #[arg(long, default_value_t)]
    pub proxy_log_level: LogFilter,
    /// Address ranges from which metrics of proxies may be read, in CIDR notation, separated by commas. Empty: any.
    #[arg(long, default_value = "")]
    pub proxy_metrics_source_ranges: SourceRanges,
    /// How long a proxy may drain, in seconds.
    #[arg(long, default_value_t = 30)]
    pub proxy_drain_seconds: u32,
    /// Suffix of the cluster's DNS names. A MeshConfig comes before it.
    #[arg(long, default_value = "cluster.local")]
    pub cluster_domain: String,
    /// First part of every identity. A MeshConfig comes before it.
    #[arg(long, default_value = "cluster.local")]
    pub trust_domain: TrustDomain,
    /// What becomes of calls that no TrafficTarget allows: deny, allow or audit. A MeshConfig comes before it.
    #[arg(long, default_value_t)]
    pub access_mode: AccessMode,
    /// What becomes of calls from outside the mesh: strict or permissive. A MeshConfig comes before it.
    #[arg(long, default_value_t)]
    pub tls_mode: TlsMode,
    /// How long the certificate of a workload is valid, in seconds, a day at most. A proxy renews at two thirds of it.
    #[arg(long, default_value_t = 86_400, value_parser = clap::value_parser!(u32).range(60..=86_400))]
    pub certificate_lifetime: u32,
    /// Secret in the installation's namespace that holds the authority to sign with, in cert-manager's layout (tls.crt,
    /// tls.key, ca.crt). Without it the operator makes its own.
    #[arg(long)]
    pub authority_secret: Option<String>,
    /// Log filter: off, error, warn, info, debug, trace, or by module (info,smilax_operator=debug).
    #[arg(long, env = "SMILAX_LOG_LEVEL", default_value_t)]
    pub log_level: LogFilter,
    /// Form of log lines.
    #[arg(long, env = "SMILAX_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// Port of the webhooks.
    #[arg(long, default_value_t = 8443)]
    pub webhook_port: u16,
    /// Port that proxies get certificates from and stay connected to.
    #[arg(long, default_value_t = WORKLOAD_PORT)]
    pub workload_port: u16,
    /// Port of health and metrics.
    #[arg(long, default_value_t = 8080)]
    pub admin_port: u16,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
