//! A proxy between servers and clients of our own, on loopback addresses that no other test uses.

pub(crate) mod authority;
pub(crate) mod cable;
pub(crate) mod client;
pub(crate) mod mesh;
pub(crate) mod operator;
pub(crate) mod server;

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use cable::Family;
use parking_lot::Mutex;
use smilax_core::config::{Destination, DestinationPort, HttpMatch, Protocol, RouteConfig, WeightedBackend};
use smilax_core::{ObjectRef, ProxyConfig, Revision, Workload};
use smilax_proxy::log::Level;
use smilax_proxy::original_destination::Resolver;
use smilax_proxy::run::Proxy;
use smilax_proxy::settings::{ConfigLocation, Limits, Pod, Ports, Settings};
use tempfile::TempDir;

/// Port of every server.
pub(crate) const PORT: u16 = 8080;

/// Loopback addresses of one test.
#[derive(Clone, Copy)]
pub(crate) enum Net {
    /// 127.x.y.0/24, port [`PORT`] of each address.
    V4([u8; 2]),
    /// Ports of `::1` from this one on, as IPv6 has only one loopback address.
    V6(u16),
}

/// Ports of `::1` that one test may use.
const BLOCK: u16 = 32;
/// The first of them all. The last are below those that the system hands out.
const FIRST_BLOCK: u16 = 16 * 1024;
const BLOCKS: u16 = 512;

impl Net {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [turn, third] = number.to_be_bytes();
        // There are more tests than numbers in one byte. Proxies share ports, so a test that took the addresses of another
        // would get half of its connections instead of an error.
        let second = (std::process::id() + u32::from(turn) * 67) % 200;
        Self::V4([16 + second as u8, third])
    }

    pub(crate) fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self::new(),
            Family::V6 => Self::V6(block_of_ports()),
        }
    }

    /// The address with this last number. Over IPv6 there are those from 1 to 15 and from 100 to 115.
    pub(crate) fn at(self, last: u8) -> SocketAddr {
        match (self, last) {
            (Self::V4([second, third]), _) => SocketAddr::from(([127, second, third, last], PORT)),
            (Self::V6(first), 1..16) => SocketAddr::from((Ipv6Addr::LOCALHOST, first + u16::from(last))),
            (Self::V6(first), 100..116) => {
                SocketAddr::from((Ipv6Addr::LOCALHOST, first + u16::from(last - 84)))
            }
            (Self::V6(_), _) => panic!("there is no address {last} over IPv6"),
        }
    }

    /// A configuration in which `shop/web` is at 1, and `shop/v1`, `shop/v2`, `shop/v3` are at 2, 3, 4.
    pub(crate) fn config(self, counter: u64, protocol: Protocol, routes: Vec<RouteConfig>) -> ProxyConfig {
        let destination = |name: &str, last, protocol, routes| Destination {
            name: name.parse().unwrap(),
            addresses: vec![self.at(last).ip()],
            accounts: vec![],
            ports: vec![DestinationPort {
                routes,
                ..DestinationPort::plaintext(self.at(last).port(), protocol)
            }],
        };
        ProxyConfig {
            revision: Revision { term: 1, counter },
            destinations: vec![
                destination("shop/web", 1, protocol, routes),
                destination("shop/v1", 2, protocol, vec![]),
                destination("shop/v2", 3, protocol, vec![]),
                destination("shop/v3", 4, protocol, vec![]),
            ],
            ..ProxyConfig::empty(Workload::new("shop", "client"))
        }
    }
}

#[test]
fn no_two_tests_of_a_process_have_the_same_addresses() {
    let addresses: HashSet<SocketAddr> = (0..1000).map(|_| Net::new().at(1)).collect();
    assert_eq!(addresses.len(), 1000);
}

/// The first of a block of ports that no other test has, of whichever process. The socket that holds the block is kept
/// until the process ends.
fn block_of_ports() -> u16 {
    static HELD: Mutex<Vec<std::net::TcpListener>> = Mutex::new(Vec::new());
    let of_process = u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap();
    for block in 0..BLOCKS {
        let first = FIRST_BLOCK + (block + of_process) % BLOCKS * BLOCK;
        if let Ok(socket) = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, first)) {
            HELD.lock().push(socket);
            return first;
        }
    }
    panic!("no block of ports is free");
}

/// Tries something over IPv4, and then over IPv6.
pub(crate) async fn over_both(tries: impl AsyncFn(Family)) {
    for family in Family::BOTH {
        eprintln!("over {family:?}");
        tries(family).await;
    }
}

/// A route for every request.
pub(crate) fn split(backends: &[(&str, u32)]) -> RouteConfig {
    RouteConfig {
        source: ObjectRef {
            kind: "TrafficSplit".into(),
            namespace: "shop".into(),
            name: "web".into(),
            generation: 1,
        },
        matches: vec![],
        groups: vec![],
        backends: backends
            .iter()
            .map(|&(name, weight)| WeightedBackend {
                destination: name.parse().unwrap(),
                weight,
            })
            .collect(),
    }
}

/// A route for requests that meet `condition`.
pub(crate) fn matched(condition: HttpMatch, backend: &str) -> RouteConfig {
    RouteConfig {
        matches: vec![condition],
        ..split(&[(backend, 1)])
    }
}

/// A proxy, with its files.
pub(crate) struct TestProxy {
    pub(crate) ports: Ports,
    ip: IpAddr,
    proxy: Option<Proxy>,
    directory: TempDir,
}

/// How a proxy is to be.
pub(crate) struct ProxyBuilder {
    settings: Settings,
    directory: TempDir,
}

impl TestProxy {
    /// A proxy whose outbound connections were all going to `original`.
    pub(crate) fn outbound(original: SocketAddr, config: &ProxyConfig) -> Self {
        Self::builder().outbound(original).config(config).start()
    }

    /// A proxy whose inbound connections were all going to `original`.
    pub(crate) fn inbound(original: SocketAddr) -> Self {
        Self::builder().inbound(original).start()
    }

    pub(crate) fn builder() -> ProxyBuilder {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("config")).unwrap();
        std::fs::create_dir(directory.path().join("state")).unwrap();
        let settings = Settings {
            config: ConfigLocation::Directory(directory.path().join("config")),
            state_directory: Some(directory.path().join("state")),
            listen: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            listen_admin: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            ports: Ports {
                outbound: 0,
                inbound: 0,
                metrics: 0,
                probe: 0,
                admin: 0,
            },
            pod: Pod {
                name: "client-1".to_owned(),
                namespace: "shop".to_owned(),
                account: "client".to_owned(),
                workload: "client".to_owned(),
                app: "client".to_owned(),
                version: "v7".to_owned(),
                ips: vec![],
                node: None,
            },
            // A slow machine must not let connections grow old.
            limits: Limits {
                pool_idle: Duration::from_hours(1),
                pool_max_age: Duration::from_hours(1),
                // Short enough for connections to be parked in every test that pauses.
                park: Duration::from_millis(5),
                // What has happened is seen at once.
                scrape_shared: Duration::ZERO,
                ..Limits::default()
            },
            ..Settings::default()
        };
        ProxyBuilder { settings, directory }
    }

    /// Where a client of the application's side connects to.
    pub(crate) fn outbound_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.ports.outbound)
    }

    /// Where a client from outside connects to.
    pub(crate) fn inbound_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.ports.inbound)
    }

    pub(crate) fn metrics_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.ports.metrics)
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.ports.admin))
    }

    pub(crate) fn probe_address(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.ports.probe)
    }

    pub(crate) fn proxy(&self) -> &Proxy {
        self.proxy.as_ref().unwrap()
    }

    /// Replaces the configuration as a file.
    pub(crate) fn write(&self, content: &[u8]) {
        write(&self.directory, content);
    }

    /// Replaces one of its files.
    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        put(&self.directory, name, content);
    }

    /// Replaces the configuration, and waits until it is in force.
    pub(crate) async fn apply(&self, config: &ProxyConfig) {
        self.write(&serde_json::to_vec(config).unwrap());
        eventually("the configuration is in force", || {
            self.proxy().shared().table.load().revision == config.revision
        })
        .await;
    }

    /// Value of the first metric whose line begins so.
    pub(crate) async fn metric(&self, begins: &str) -> u64 {
        let text = client::get(self.metrics_address(), "/metrics").await.text;
        let line = text.lines().find(|line| line.starts_with(begins));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    /// Sum of the metric over all lines that contain these.
    pub(crate) async fn metric_sum(&self, name: &str, labels: &[&str]) -> u64 {
        let text = client::get(self.metrics_address(), "/metrics").await.text;
        text.lines()
            .filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
            .sum()
    }

    /// Holds that the sum of the metric comes to this. What a connection's end is counted as, is counted when the proxy
    /// is done with it, which its client may have heard before.
    #[track_caller]
    pub(crate) fn counts<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [&str],
        expected: u64,
    ) -> impl Future<Output = ()> + 'a {
        let asked_at = std::panic::Location::caller();
        async move {
            let deadline = std::time::Instant::now() + Duration::from_secs(10);
            loop {
                let found = self.metric_sum(name, labels).await;
                if found == expected {
                    return;
                }
                assert!(
                    found < expected && std::time::Instant::now() < deadline,
                    "{asked_at}: {name} with {labels:?} is {found}, not {expected}"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Waits until it has finished.
    pub(crate) async fn join(mut self) {
        let proxy = self.proxy.take().unwrap();
        tokio::task::spawn_blocking(move || proxy.join().unwrap())
            .await
            .unwrap();
    }

    /// Ends it, and starts another one over the same files.
    pub(crate) fn restart(mut self) -> Self {
        let settings = self.proxy().shared().settings.clone();
        self.proxy().abandon();
        self.proxy = None;
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        let ports = Ports {
            outbound: 0,
            inbound: 0,
            metrics: 0,
            probe: 0,
            admin: 0,
        };
        ProxyBuilder {
            settings: Settings { ports, ..settings },
            directory,
        }
        .start()
    }
}

impl Drop for TestProxy {
    fn drop(&mut self) {
        if let Some(proxy) = &self.proxy {
            proxy.abandon();
        }
    }
}

impl ProxyBuilder {
    pub(crate) fn outbound(mut self, original: SocketAddr) -> Self {
        self.settings.outbound_destination = Resolver::Fixed(original);
        self.listen_in_the_family_of(original)
    }

    fn listen_in_the_family_of(mut self, original: SocketAddr) -> Self {
        if original.is_ipv6() {
            self.settings.listen = vec![IpAddr::V6(Ipv6Addr::LOCALHOST)];
        }
        self
    }

    /// The original's address counts as one of the pod.
    pub(crate) fn inbound(mut self, original: SocketAddr) -> Self {
        self.settings.inbound_destination = Resolver::Fixed(original);
        self.settings.pod.ips = vec![original.ip()];
        // Before there is a configuration, nobody may call.
        self.listen_in_the_family_of(original)
            .config(&ProxyConfig::empty(Workload::new("shop", "web")))
    }

    pub(crate) fn config(self, config: &ProxyConfig) -> Self {
        write(&self.directory, &serde_json::to_vec(config).unwrap());
        self
    }

    /// Where one of its files is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes one of its files.
    pub(crate) fn put(&mut self, name: &str, content: &[u8]) {
        put(&self.directory, name, content);
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    pub(crate) fn start(self) -> TestProxy {
        let ip = self.settings.listen[0];
        let proxy = Proxy::start(self.settings, Level::fixed()).unwrap();
        TestProxy {
            ports: proxy.ports,
            ip,
            proxy: Some(proxy),
            directory: self.directory,
        }
    }
}

/// As kubelet does it: the new content is complete when it becomes visible.
fn write(directory: &TempDir, content: &[u8]) {
    put(directory, "config/policy.json", content);
}

fn put(directory: &TempDir, name: &str, content: &[u8]) {
    let file = directory.path().join(name);
    let beside = file.with_extension("new");
    std::fs::write(&beside, content).unwrap();
    std::fs::rename(beside, file).unwrap();
}

/// Waits until something holds that another thread brings about. Fails after a time that no slow machine needs.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    while !holds() {
        assert!(
            std::time::Instant::now() < deadline,
            "not within a minute: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Fails instead of waiting for ever.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(Duration::from_mins(1), future)
        .await
        .unwrap_or_else(|_| panic!("not within a minute: {what}"))
}
