//! Arguments of the binary, and the settings that they make.

mod parse;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use smilax_core::application_metrics::ApplicationMetrics;
use smilax_core::config::Protocol;
use smilax_core::convention::{self, variable};
use smilax_core::probe::ProbeTable;
use smilax_core::{LogFilter, PodView, SourceRanges, TrustDomain};

use crate::log::Format;
use crate::original_destination::Resolver;
use crate::overload::{Asked, Capacity, raise_limit};
use crate::redirect::{InboundUdp, Rules};
use crate::settings::{ConfigLocation, IdentitySource, Limits, Pod, Ports, Reasons, Settings, SettingsError};
use crate::worker;

/// Arguments of `smilax-proxy`.
#[derive(Debug, Parser)]
#[command(name = "smilax-proxy", version, about = "The data plane of Smilax")]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What `smilax-proxy` does.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carry the pod's connections.
    Run(Box<RunArguments>),
    /// Redirect the pod's connections to the proxy, check that it works, and end. Needs NET_ADMIN.
    Init(InitArguments),
    /// Ask the proxy of this pod to start draining, and return at once.
    Drain(DrainArguments),
    /// Print the version.
    Version,
}

/// Arguments of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Configuration in a file of any name
    #[arg(long, env = "SMILAX_CONFIG", conflicts_with = "config_dir")]
    config: Option<PathBuf>,
    /// Directory that holds the configuration as policy.json
    #[arg(long, env = "SMILAX_CONFIG_DIR", default_value = convention::CONFIG_DIRECTORY)]
    config_dir: PathBuf,
    /// Directory where the last good configuration is kept
    #[arg(long, env = "SMILAX_STATE_DIR", default_value = convention::STATE_DIRECTORY)]
    state_dir: PathBuf,
    /// Port of outbound connections; 0 lets the system choose
    #[arg(long, env = "SMILAX_OUTBOUND_PORT", default_value_t = convention::OUTBOUND_PORT)]
    outbound_port: u16,
    /// Port of inbound connections
    #[arg(long, env = "SMILAX_INBOUND_PORT", default_value_t = convention::INBOUND_PORT)]
    inbound_port: u16,
    /// Port of metrics and readiness
    #[arg(long, env = "SMILAX_METRICS_PORT", default_value_t = convention::METRICS_PORT)]
    metrics_port: u16,
    /// Port of the application's probes
    #[arg(long, env = "SMILAX_PROBE_PORT", default_value_t = convention::PROBE_PORT)]
    probe_port: u16,
    /// Port of administration, on loopback
    #[arg(long, env = "SMILAX_ADMIN_PORT", default_value_t = convention::ADMIN_PORT)]
    admin_port: u16,
    /// Addresses to listen on, separated by commas
    #[arg(
        long,
        env = "SMILAX_LISTEN",
        value_delimiter = ',',
        default_value = "0.0.0.0,::"
    )]
    listen: Vec<IpAddr>,
    /// Where outbound connections were going: `redirected`, or an address for use without a redirect
    #[arg(
        long,
        env = "SMILAX_OUTBOUND_ORIGINAL_DESTINATION",
        default_value = "redirected"
    )]
    outbound_original_destination: Resolver,
    /// Where inbound connections were going: `redirected`, or an address for use without a redirect
    #[arg(
        long,
        env = "SMILAX_INBOUND_ORIGINAL_DESTINATION",
        default_value = "redirected"
    )]
    inbound_original_destination: Resolver,
    /// Number of worker threads; 0 means by the CPU limit, two at most
    #[arg(long, env = variable::WORKERS, default_value_t = 0)]
    workers: usize,
    /// Name of the pod
    #[arg(long, env = variable::POD_NAME, default_value = "")]
    pod_name: String,
    /// Namespace of the pod
    #[arg(long, env = variable::POD_NAMESPACE, default_value = "")]
    pod_namespace: String,
    /// Every address of the pod, separated by commas
    #[arg(long, env = variable::POD_IPS, default_value = "")]
    pod_ips: String,
    /// Name of the pod's node: the operator knows its zone
    #[arg(long, env = variable::NODE_NAME)]
    node_name: Option<String>,
    /// Account of the pod
    #[arg(long, env = variable::ACCOUNT, default_value = "")]
    account: String,
    /// Workload that the pod belongs to
    #[arg(long, env = variable::WORKLOAD, default_value = "")]
    workload: String,
    /// Label `app` of the pod
    #[arg(long, env = variable::APP, default_value = "")]
    app: String,
    /// Label `version` of the pod
    #[arg(long, env = variable::APP_VERSION, default_value = "")]
    app_version: String,
    /// Zone of the pod's node, until the operator tells it: endpoints that are meant for it are preferred
    #[arg(long, env = "SMILAX_ZONE")]
    zone: Option<Box<str>>,
    /// Suffix of the cluster's DNS names
    #[arg(long, env = variable::CLUSTER_DOMAIN, default_value = "cluster.local")]
    cluster_domain: String,
    /// Probes and hooks of the application, as JSON
    #[arg(long, env = variable::PROBES, default_value = "[]")]
    probes: String,
    /// Where the application serves metrics of its own, as JSON; null serves those of the proxy alone
    #[arg(long, env = variable::APPLICATION_METRICS, default_value = "null")]
    application_metrics: String,
    /// Address ranges from which metrics may be read, in CIDR notation, separated by commas; empty lets everybody read them
    #[arg(long, env = variable::METRICS_SOURCE_RANGES, default_value = "")]
    metrics_source_ranges: SourceRanges,
    /// What the application's ports speak: a JSON object from port to http, tcp or detect
    #[arg(long, env = variable::INBOUND_PORTS, default_value = "{}")]
    inbound_ports: String,
    /// Names of the containers' ports: a JSON object from name to port
    #[arg(long, env = variable::PORT_NAMES, default_value = "{}")]
    port_names: String,
    /// What the pod asks for: deny, allow or audit; empty leaves it to the configuration
    #[arg(long, env = variable::ACCESS_MODE, default_value = "")]
    access_mode: String,
    /// What the pod asks for: strict or permissive; empty leaves it to the configuration
    #[arg(long, env = variable::TLS_MODE, default_value = "")]
    tls_mode: String,
    /// The same for single ports: 8080=strict,9090=permissive
    #[arg(long, env = variable::TLS_PORT_MODES, default_value = "")]
    tls_port_modes: String,
    /// File of the pod's labels, as the downward API writes it
    #[arg(long, env = "SMILAX_LABELS", default_value_os_t = labels_file())]
    labels: PathBuf,
    /// File of the token that the pod proves itself to the operator with
    #[arg(long, env = "SMILAX_TOKEN_FILE", default_value = convention::TOKEN_FILE)]
    token_file: PathBuf,
    /// Private key in PEM, for use without an operator
    #[arg(long, env = "SMILAX_IDENTITY_KEY", requires = "identity_chain")]
    identity_key: Option<PathBuf>,
    /// Certificate and those above it in PEM, for use without an operator
    #[arg(long, env = "SMILAX_IDENTITY_CHAIN", requires = "identity_key")]
    identity_chain: Option<PathBuf>,
    /// Root certificates in PEM, for use without an operator
    #[arg(long, env = "SMILAX_TRUST_ROOTS")]
    trust_roots: Option<PathBuf>,
    /// Hexadecimal SHA-256 of the keys of the roots that may sign the mounted configuration, separated by commas; without
    /// any, it counts unsigned
    #[arg(long, env = variable::TRUST_ANCHORS, default_value = "")]
    trust_anchors: String,
    /// Trust domain of whoever may sign the mounted configuration
    #[arg(long, env = variable::TRUST_DOMAIN)]
    trust_domain: Option<TrustDomain>,
    /// How long stopping may take, in seconds
    #[arg(long, env = variable::DRAIN_SECONDS, default_value_t = 30)]
    drain_seconds: u64,
    /// Whether a refusal says why, by one word in the header smilax-reason
    #[arg(long, env = variable::DENIAL_REASONS, value_enum, default_value_t = Reasons::Kept)]
    denial_reasons: Reasons,
    /// Connections to the application at most; four times as many from it. 0 means by the memory limit
    #[arg(long, env = variable::CONNECTIONS, default_value_t = 0)]
    connections: usize,
    /// Bytes held at most for clients, for the application, and for servers elsewhere, each. 0 means a sixteenth of the memory limit
    #[arg(long, env = variable::HELD_BYTES, default_value_t = 0)]
    held_bytes: usize,
    /// Bytes that requests to the application may cost while they are under way; others are answered with 503. 0 means an eighth of
    /// the memory limit
    #[arg(long, env = variable::REQUEST_BYTES, default_value_t = 0)]
    request_bytes: usize,
    /// How long a connection of HTTP to the application may be unused, in seconds
    #[arg(long, env = variable::KEEP_ALIVE_SECONDS, default_value_t = 900, value_parser = clap::value_parser!(u64).range(1..))]
    keep_alive_seconds: u64,
    /// How long a client may send nothing of a body that is waited for, or take nothing of a response, in seconds
    #[arg(long, env = variable::STALLED_SECONDS, default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    stalled_seconds: u64,
    /// Logging.
    #[command(flatten)]
    pub log: LogArguments,
}

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// Inbound ports to leave alone: ports and ranges, separated by commas
    #[arg(long, env = variable::SKIP_INBOUND_PORTS, default_value = "")]
    skip_inbound_ports: String,
    /// Outbound ports to leave alone: ports and ranges, separated by commas
    #[arg(long, env = variable::SKIP_OUTBOUND_PORTS, default_value = "")]
    skip_outbound_ports: String,
    /// What becomes of UDP that comes in unasked: open or drop
    #[arg(long, env = variable::INBOUND_UDP, default_value = "open")]
    inbound_udp: InboundUdp,
    /// Print the ruleset instead of programming it
    #[arg(long)]
    pub dry_run: bool,
    /// Logging.
    #[command(flatten)]
    pub log: LogArguments,
}

/// Arguments of `drain`.
#[derive(Debug, Args)]
pub struct DrainArguments {
    /// Port of administration
    #[arg(long, env = "SMILAX_ADMIN_PORT", default_value_t = convention::ADMIN_PORT)]
    pub admin_port: u16,
}

/// How to log.
#[derive(Debug, Args)]
pub struct LogArguments {
    /// Log filter: off, error, warn, info, debug, trace, or by module (info,smilax_proxy=debug)
    #[arg(long, env = variable::LOG_LEVEL, default_value_t)]
    pub log_level: LogFilter,
    /// Form of a log line
    #[arg(long, env = variable::LOG_FORMAT, value_enum, default_value_t = Format::Text)]
    pub log_format: Format,
}

impl RunArguments {
    /// The settings that these arguments make.
    ///
    /// # Errors
    /// [`SettingsError`] naming the argument that is not of its form.
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        Ok(Settings {
            config: match &self.config {
                Some(file) => ConfigLocation::File(file.clone()),
                None => ConfigLocation::Directory(self.config_dir.clone()),
            },
            state_directory: Some(self.state_dir.clone()),
            listen: self.listen.clone(),
            ports: Ports {
                outbound: self.outbound_port,
                inbound: self.inbound_port,
                metrics: self.metrics_port,
                probe: self.probe_port,
                admin: self.admin_port,
            },
            workers: match self.workers {
                0 => worker::count_by_cpu_limit(),
                some => some,
            },
            pod: Pod {
                name: self.pod_name.clone(),
                namespace: self.pod_namespace.clone(),
                ips: parse::addresses(&self.pod_ips)?,
                node: self.node_name.clone(),
                account: self.account.clone(),
                workload: self.workload.clone(),
                app: self.app.clone(),
                version: self.app_version.clone(),
            },
            pod_view: PodView {
                labels: BTreeMap::new(),
                port_names: parse::json(variable::PORT_NAMES, &self.port_names)?,
                access: parse::mode(variable::ACCESS_MODE, &self.access_mode)?,
                tls: parse::mode(variable::TLS_MODE, &self.tls_mode)?,
                tls_ports: parse::port_modes(&self.tls_port_modes)?,
            },
            labels: Some(self.labels.clone()),
            identity: match (&self.identity_key, &self.identity_chain) {
                (Some(key), Some(chain)) => IdentitySource::Files {
                    key: key.clone(),
                    chain: chain.clone(),
                },
                _ => IdentitySource::Operator {
                    token: self.token_file.clone(),
                },
            },
            trust_roots: self.trust_roots.clone(),
            anchors: parse::anchors(&self.trust_anchors)?,
            trust_domain: self.trust_domain.clone(),
            zone: self.zone.clone(),
            cluster_domain: self.cluster_domain.clone(),
            inbound_protocols: parse::json::<BTreeMap<u16, Protocol>>(
                variable::INBOUND_PORTS,
                &self.inbound_ports,
            )?,
            probes: parse::json::<ProbeTable>(variable::PROBES, &self.probes)?,
            application_metrics: parse::json::<Option<ApplicationMetrics>>(
                variable::APPLICATION_METRICS,
                &self.application_metrics,
            )?,
            metrics_sources: self.metrics_source_ranges.clone(),
            drain: Duration::from_secs(self.drain_seconds),
            outbound_destination: self.outbound_original_destination,
            inbound_destination: self.inbound_original_destination,
            limits: Limits {
                keep_alive: Duration::from_secs(self.keep_alive_seconds),
                body: Duration::from_secs(self.stalled_seconds),
                stalled: Duration::from_secs(self.stalled_seconds),
                ..Limits::default()
            },
            capacity: Capacity::by_memory_limit()
                .with(Asked {
                    connections: self.connections,
                    held_bytes: self.held_bytes,
                    request_bytes: self.request_bytes,
                })
                .within(raise_limit()),
            reasons: self.denial_reasons,
            ..Settings::default()
        })
    }
}

impl InitArguments {
    /// The rules that these arguments make.
    ///
    /// # Errors
    /// [`SettingsError`] naming the argument that is not of its form.
    pub fn rules(&self) -> Result<Rules, SettingsError> {
        Ok(Rules {
            skip_inbound: parse::ports(variable::SKIP_INBOUND_PORTS, &self.skip_inbound_ports)?,
            skip_outbound: parse::ports(variable::SKIP_OUTBOUND_PORTS, &self.skip_outbound_ports)?,
            inbound_udp: self.inbound_udp,
        })
    }
}

fn labels_file() -> PathBuf {
    PathBuf::from(convention::POD_DIRECTORY).join("labels")
}

#[cfg(test)]
mod tests;
