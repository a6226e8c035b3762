//! What a proxy is told once, at its start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use smilax_core::application_metrics::ApplicationMetrics;
use smilax_core::config::Protocol;
use smilax_core::convention;
use smilax_core::probe::ProbeTable;
use smilax_core::workload_connection::KeyId;
use smilax_core::{PodView, SourceRanges, TrustDomain};

use crate::original_destination::Resolver;
use crate::overload::Capacity;

/// Everything that is fixed while a proxy runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where its configuration lies.
    pub config: ConfigLocation,
    /// Where the last good configuration is kept; `None` keeps it in memory only.
    pub state_directory: Option<PathBuf>,
    /// Addresses that everything but administration listens on.
    pub listen: Vec<IpAddr>,
    /// Addresses that administration listens on.
    pub listen_admin: Vec<IpAddr>,
    /// Port numbers.
    pub ports: Ports,
    /// Number of worker threads, at least 1.
    pub workers: usize,
    /// Which pod this is.
    pub pod: Pod,
    /// What its configuration depends on, at the start.
    pub pod_view: PodView,
    /// File of the pod's labels, as kubelet keeps it; `None` leaves them as they are at the start.
    pub labels: Option<PathBuf>,
    /// Where its certificate comes from.
    pub identity: IdentitySource,
    /// Root certificates in PEM, for a proxy that no operator tells whom to trust.
    pub trust_roots: Option<PathBuf>,
    /// Keys of the roots that may vouch for a mounted configuration. Empty: it counts without a signature, as in pods that
    /// a version injected which did not sign.
    pub anchors: BTreeSet<KeyId>,
    /// Trust domain of whoever may sign it; `None`: of every one, until a configuration in force names one.
    pub trust_domain: Option<TrustDomain>,
    /// Zone of the pod's node, until the operator tells it; endpoints that are meant for it are preferred.
    pub zone: Option<Box<str>>,
    /// Suffix of the cluster's DNS names, for metrics.
    pub cluster_domain: String,
    /// What the application's ports speak, where it is known.
    pub inbound_protocols: BTreeMap<u16, Protocol>,
    /// Probes and hooks of the application.
    pub probes: ProbeTable,
    /// Where the application serves metrics of its own, if they are to be served with the proxy's.
    pub application_metrics: Option<ApplicationMetrics>,
    /// From where metrics may be read.
    pub metrics_sources: SourceRanges,
    /// How long stopping may take.
    pub drain: Duration,
    /// How outbound connections tell where they were going.
    pub outbound_destination: Resolver,
    /// How inbound connections tell where they were going.
    pub inbound_destination: Resolver,
    /// How long things may take.
    pub limits: Limits,
    /// How many connections there may be, and what may be held for them.
    pub capacity: Capacity,
    /// Whether a refusal says why.
    pub reasons: Reasons,
}

/// Whether a caller is told why it was refused. Whoever may not call should not learn what rules there are, either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Reasons {
    /// It is not.
    #[default]
    Kept,
    /// It is, by one word in a header.
    Told,
}

/// Where a configuration lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigLocation {
    /// A directory that holds it under [`convention::POLICY_KEY`], as a mounted ConfigMap does.
    Directory(PathBuf),
    /// A file of any name.
    File(PathBuf),
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// From the operator that the configuration names, if it names one.
    Operator {
        /// File of the token that the pod proves itself with.
        token: PathBuf,
    },
    /// From files, which are read again when they change.
    Files {
        /// Private key, PEM.
        key: PathBuf,
        /// The certificate, then the authorities between it and the root, PEM.
        chain: PathBuf,
    },
}

/// Port numbers; 0 lets the system choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// Redirect target of connections that leave the pod.
    pub outbound: u16,
    /// Redirect target of connections that enter the pod.
    pub inbound: u16,
    /// Metrics and readiness.
    pub metrics: u16,
    /// Probes and hooks of the application.
    pub probe: u16,
    /// Administration, on loopback.
    pub admin: u16,
}

/// The pod, as it is named in metrics and as it is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// Every address. Empty when unknown: then any address but loopback and link-local ones counts as the pod's.
    pub ips: Vec<IpAddr>,
    /// Name of its node, where it is known.
    pub node: Option<String>,
    /// Account it runs under.
    pub account: String,
    /// Workload it belongs to.
    pub workload: String,
    /// Value of its label `app`.
    pub app: String,
    /// Value of its label `version`.
    pub version: String,
}

/// How long things may take, and how much there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Establishing a connection upstream.
    pub connect: Duration,
    /// The same to one of several endpoints; after it, another one is tried.
    pub endpoint_connect: Duration,
    /// A TLS handshake upstream. A server without a proxy may take one for the beginning of a request and wait for the rest,
    /// for as long as its caller does.
    pub upstream_handshake: Duration,
    /// From the first byte of an HTTP/1 request to the end of its headers.
    pub header_read: Duration,
    /// Waiting for a client to say something before the server is given the word.
    pub detect: Duration,
    /// How long it is remembered that a server speaks first.
    pub server_first_memory: Duration,
    /// Keeping an unused HTTP/1 connection upstream. Below the 5 s after which common servers close theirs.
    pub pool_idle: Duration,
    /// Age at which a connection upstream takes no more requests; up to a quarter less, at random.
    pub pool_max_age: Duration,
    /// Silence after which a connection is closed.
    pub idle: Duration,
    /// The same of a connection of HTTP to the application, between two requests.
    pub keep_alive: Duration,
    /// How long an idle connection of HTTP/1 keeps the buffers of its server; a tenth of it while there are many connections.
    pub park: Duration,
    /// Silence in the middle of the body of a request of HTTP/1, while it is waited for.
    pub body: Duration,
    /// How long a client may take nothing of a response that is here for it.
    pub stalled: Duration,
    /// The same while the budget for clients is used up. With what the kernel keeps, a client that takes 5 kB a second is
    /// never closed.
    pub full: Duration,
    /// How long the application is held back at the start for want of a certificate.
    pub certificate: Duration,
    /// A TLS handshake of a client, from its first byte on; and waiting for that byte where nothing else is taken.
    pub handshake: Duration,
    /// Handshakes of clients under way in one worker at most.
    pub handshakes: usize,
    /// Those of one address at most, and of one /64 of IPv6.
    pub handshakes_of_one: usize,
    /// What is under way on a connection between proxies may take so much longer when the other side is no longer
    /// trusted.
    pub distrusted: Duration,
    /// How long a connection to an unknown address waits for the operator to say what is there.
    pub lookup: Duration,
    /// How long endpoints are used after the stream that told them was lost.
    pub endpoints: Duration,
    /// How long a page of metrics is shared by those who ask for it.
    pub scrape_shared: Duration,
    /// How long a client of metrics, probes or administration may take nothing of what it is answered.
    pub unread: Duration,
}

/// Settings that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value that is not of the expected form.
    #[error("{name} is {value:?}: {reason}")]
    Invalid {
        /// Variable or argument.
        name: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it, and what is expected.
        reason: String,
    },
}

impl Default for Ports {
    fn default() -> Self {
        Self {
            outbound: convention::OUTBOUND_PORT,
            inbound: convention::INBOUND_PORT,
            metrics: convention::METRICS_PORT,
            probe: convention::PROBE_PORT,
            admin: convention::ADMIN_PORT,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            endpoint_connect: Duration::from_secs(1),
            // Below the 2 s within which a caller hears of a server that does not answer.
            upstream_handshake: Duration::from_millis(1_800),
            header_read: Duration::from_secs(10),
            detect: Duration::from_secs(1),
            server_first_memory: Duration::from_mins(5),
            pool_idle: Duration::from_secs(4),
            pool_max_age: Duration::from_secs(30),
            idle: Duration::from_hours(1),
            keep_alive: Duration::from_mins(15),
            park: Duration::from_secs(1),
            body: Duration::from_mins(5),
            stalled: Duration::from_mins(5),
            full: Duration::from_secs(30),
            certificate: Duration::from_secs(30),
            handshake: Duration::from_secs(10),
            handshakes: 1024,
            handshakes_of_one: 256,
            distrusted: Duration::from_secs(30),
            lookup: Duration::from_millis(100),
            endpoints: Duration::from_secs(10),
            scrape_shared: Duration::from_secs(1),
            unread: Duration::from_secs(10),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            config: ConfigLocation::Directory(PathBuf::from(convention::CONFIG_DIRECTORY)),
            state_directory: None,
            listen: vec![
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ],
            listen_admin: vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)],
            ports: Ports::default(),
            workers: 1,
            pod: Pod::default(),
            pod_view: PodView::default(),
            labels: None,
            identity: IdentitySource::Operator {
                token: PathBuf::from(convention::TOKEN_FILE),
            },
            trust_roots: None,
            anchors: BTreeSet::new(),
            trust_domain: None,
            zone: None,
            cluster_domain: "cluster.local".to_owned(),
            inbound_protocols: BTreeMap::new(),
            probes: ProbeTable::default(),
            application_metrics: None,
            metrics_sources: SourceRanges::default(),
            drain: Duration::from_secs(30),
            outbound_destination: Resolver::Redirected,
            inbound_destination: Resolver::Redirected,
            limits: Limits::default(),
            capacity: Capacity::of(None),
            reasons: Reasons::default(),
        }
    }
}

impl Ports {
    /// Whether this is a port of the proxy, to which nothing may be carried.
    pub fn contains(&self, port: u16) -> bool {
        [self.outbound, self.inbound, self.metrics, self.probe, self.admin].contains(&port)
    }
}

impl Pod {
    /// Whether the application may be reached at this address by somebody else: an address of the pod, and never
    /// loopback or link-local unless the pod was said to have it.
    pub fn is_reached_at(&self, address: IpAddr) -> bool {
        if self.ips.is_empty() {
            !is_private_to_the_machine(address)
        } else {
            self.ips.contains(&address)
        }
    }
}

fn is_private_to_the_machine(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            v4.is_loopback()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_private_to_the_machine(IpAddr::V4(v4)),
            None => {
                v6.is_loopback() || v6.is_unicast_link_local() || v6.is_unspecified() || v6.is_multicast()
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(ips: &[&str], address: &str) -> bool {
        let pod = Pod {
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            ..Pod::default()
        };
        pod.is_reached_at(address.parse().unwrap())
    }

    #[test]
    fn e2_only_the_pods_own_addresses_are_carried_inwards() {
        let ips = ["10.1.0.7", "fd00::7"];
        assert!(reached(&ips, "10.1.0.7") && reached(&ips, "fd00::7"));
        for foreign in ["10.1.0.8", "127.0.0.1", "::1", "169.254.169.254", "0.0.0.0"] {
            assert!(!reached(&ips, foreign), "{foreign}");
        }
    }

    #[test]
    fn e2_without_known_addresses_loopback_and_link_local_stay_closed() {
        assert!(reached(&[], "10.1.0.7"));
        for local in [
            "127.0.0.1",
            "::1",
            "fe80::1",
            "169.254.169.254",
            "::ffff:127.0.0.1",
            "224.0.0.1",
        ] {
            assert!(!reached(&[], local), "{local}");
        }
    }
}
