//! A pod in a network namespace of its own, and its node on the other end of a cable. The node is every other pod, too.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nlink::netlink::namespace::{self, SpawnUser};
use nlink::netlink::nftables::{BaseChain, Chain, Family as Table, NatHook, NatStatement, Priority, Rule};
use nlink::netlink::{Connection, Nftables};
use smilax_core::config::{Destination, DestinationPort, Protocol};
use smilax_core::{ProxyConfig, Revision, Workload};
use tempfile::TempDir;

use crate::support::split;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_smilax-proxy");

/// A family of addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(crate) fn pod(self) -> IpAddr {
        self.pick("10.77.0.2", "fd77::2")
    }

    pub(crate) fn peer(self) -> IpAddr {
        self.pick("10.77.0.1", "fd77::1")
    }

    pub(crate) fn service(self) -> SocketAddr {
        SocketAddr::new(self.pick("10.96.0.1", "fd96::1"), 8080)
    }

    /// A Service of which the pod is the only member, on every port, once the node forwards.
    pub(crate) fn own_service(self) -> IpAddr {
        self.pick("10.96.0.9", "fd96::9")
    }

    pub(crate) fn loopback(self) -> IpAddr {
        self.pick("127.0.0.1", "::1")
    }

    fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    pub(crate) fn pick(self, v4: &str, v6: &str) -> IpAddr {
        match self {
            Self::V4 => v4.parse().unwrap(),
            Self::V6 => v6.parse().unwrap(),
        }
    }
}

/// Two namespaces with a cable between them; removed when dropped.
pub(crate) struct Cable {
    pub(crate) pod: String,
    peer: String,
    files: TempDir,
}

impl Cable {
    pub(crate) fn new(name: &str) -> Option<Self> {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        if !status.lines().any(|line| line.starts_with("Uid:\t0\t")) {
            eprintln!("SKIPPED: network namespaces need root");
            return None;
        }
        if Command::new("ip").arg("-V").output().is_err() {
            eprintln!("SKIPPED: ip (Debian package iproute2) is not installed");
            return None;
        }
        let id = std::process::id();
        let cable = Self {
            pod: format!("smx-{id}-{name}-pod"),
            peer: format!("smx-{id}-{name}-peer"),
            files: tempfile::tempdir().unwrap(),
        };
        for namespace in [&cable.pod, &cable.peer] {
            ip(&format!("netns add {namespace}"));
            ip(&format!("-n {namespace} link set lo up"));
        }
        let (pod, peer) = (&cable.pod, &cable.peer);
        ip(&format!(
            "-n {pod} link add eth0 type veth peer name eth0 netns {peer}"
        ));
        for (namespace, last) in [(pod, 2), (peer, 1)] {
            ip(&format!("-n {namespace} addr add 10.77.0.{last}/24 dev eth0"));
            ip(&format!("-n {namespace} addr add fd77::{last}/64 dev eth0 nodad"));
            ip(&format!("-n {namespace} link set eth0 up"));
        }
        ip(&format!("-n {pod} route add default via 10.77.0.1"));
        ip(&format!("-n {pod} route add default via fd77::1"));
        Some(cable)
    }

    pub(crate) fn init(&self) -> Result<String, String> {
        self.init_with(&[], None)
    }

    pub(crate) fn init_with(&self, arguments: &[&str], user: Option<SpawnUser>) -> Result<String, String> {
        let mut command = Command::new(self.program());
        command
            .arg("init")
            .args(arguments)
            .stderr(std::process::Stdio::piped());
        let child = match user {
            Some(user) => namespace::spawn_as(&self.pod, command, &user),
            None => namespace::spawn(&self.pod, command),
        };
        let output = child.unwrap().wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() {
            Ok(told)
        } else {
            Err(told)
        }
    }

    /// The proxy, where every user may run it: the folder that it was built in may be closed to others, as that of root is.
    fn program(&self) -> PathBuf {
        let program = self.files.path().join("smilax-proxy");
        if !program.exists() {
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(self.files.path(), open).unwrap();
            // A copy of some hundred megabytes only where the folders are on different disks.
            std::fs::hard_link(BINARY, &program)
                .or_else(|_| std::fs::copy(BINARY, &program).map(drop))
                .unwrap();
        }
        program
    }

    /// Runs the proxy as the user that is not redirected; `shop/web` sends everything to the peer.
    pub(crate) fn run_proxy(&self) -> Running {
        self.run_proxy_with(&[])
    }

    /// The same with further arguments.
    pub(crate) fn run_proxy_with(&self, arguments: &[&str]) -> Running {
        let destination = |name: &str, addresses: [IpAddr; 2], routes| Destination {
            name: name.parse().unwrap(),
            addresses: addresses.into(),
            accounts: vec![],
            ports: vec![DestinationPort {
                routes,
                ..DestinationPort::plaintext(8080, Protocol::Http)
            }],
        };
        let config = ProxyConfig {
            revision: Revision { term: 1, counter: 1 },
            destinations: vec![
                destination(
                    "shop/web",
                    Family::BOTH.map(|family| family.service().ip()),
                    vec![split(&[("shop/v1", 1)])],
                ),
                destination("shop/v1", Family::BOTH.map(Family::peer), vec![]),
                destination("shop/client", Family::BOTH.map(Family::own_service), vec![]),
            ],
            ..ProxyConfig::empty(Workload::new("shop", "client"))
        };
        let file = self.files.path().join("policy.json");
        std::fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
        let mut command = Command::new(self.program());
        command
            .arg("run")
            .args(["--workers", "1", "--pod-ips", "10.77.0.2,fd77::2", "--config-dir"]);
        command
            .arg(self.files.path())
            .args(["--state-dir", "/nonexistent"])
            .args(arguments);
        command.stderr(std::process::Stdio::null());
        let user = SpawnUser::new(2102, 2102);
        let running = Running(namespace::spawn_as(&self.pod, command, &user).unwrap());
        let ready = SocketAddr::new(Family::V4.pod(), 15020);
        let deadline = Instant::now() + Duration::from_mins(1);
        while !self.in_pod(|| TcpStream::connect(ready).is_ok()) {
            assert!(Instant::now() < deadline, "the proxy does not listen");
            std::thread::yield_now();
        }
        running
    }

    /// Serves port 8080 of every address of the pod.
    pub(crate) fn serve_pod(&self, name: &'static str) -> Served {
        self.in_pod(|| serve(&ALL_ADDRESSES, name))
    }

    /// Serves port 8080 of every address of the peer.
    pub(crate) fn serve_peer(&self, name: &'static str) -> Served {
        self.in_peer(|| serve(&ALL_ADDRESSES, name))
    }

    /// Lets the peer be the pod's node: it forwards, and leads [`Family::own_service`] to the pod as kube-proxy would.
    pub(crate) fn be_node(&self) {
        // A route is looked for before the address is replaced.
        for family in Family::BOTH {
            self.lead_to_pod(&format!("{}/{}", family.own_service(), family.bits()), family);
        }
        self.in_peer(|| {
            for (setting, value) in [
                ("ipv4/ip_forward", "1"),
                ("ipv4/conf/all/send_redirects", "0"),
                ("ipv4/conf/eth0/send_redirects", "0"),
                ("ipv6/conf/all/forwarding", "1"),
            ] {
                std::fs::write(format!("/proc/sys/net/{setting}"), value).unwrap();
            }
            runtime().block_on(async {
                let connection = Connection::<Nftables>::new().unwrap();
                let mut transaction = connection.transaction().add_table("node", Table::Inet);
                for (name, hook, priority) in [
                    ("pre", NatHook::Prerouting, Priority::DstNat),
                    ("out", NatHook::Output, Priority::DstNat),
                    ("post", NatHook::Postrouting, Priority::SrcNat),
                ] {
                    let chain = Chain::new("node", name).unwrap().family(Table::Inet);
                    transaction = transaction.add_chain(chain.base(BaseChain::nat(hook, priority)));
                }
                for family in Family::BOTH {
                    for chain in ["pre", "out"] {
                        let rule = Rule::new("node", chain).family(Table::Inet);
                        let rule = rule.match_daddr(family.own_service(), family.bits());
                        transaction = transaction.add_rule(rule.nat(NatStatement::dnat(family.pod())));
                    }
                    let hairpin = Rule::new("node", "post").family(Table::Inet);
                    let hairpin = hairpin.match_saddr(family.pod(), family.bits());
                    let hairpin = hairpin.match_daddr(family.pod(), family.bits());
                    transaction = transaction.add_rule(hairpin.masquerade());
                }
                transaction.commit(&connection).await.unwrap();
            });
        });
    }

    /// Somebody else's rule in the pod: connections to this address go to a port where nobody listens. It comes before
    /// the mesh's rules.
    pub(crate) fn divert(&self, address: IpAddr) {
        self.in_pod(|| {
            runtime().block_on(async {
                let connection = Connection::<Nftables>::new().unwrap();
                let chain = Chain::new("other", "output").unwrap().family(Table::Inet);
                let chain = chain.base(BaseChain::nat(NatHook::Output, Priority::Custom(-150)));
                let rule = Rule::new("other", "output").family(Table::Inet);
                let bits = if address.is_ipv4() { 32 } else { 128 };
                let rule = rule.match_daddr(address, bits).match_l4proto(6);
                let transaction = connection.transaction().add_table("other", Table::Inet);
                let transaction = transaction.add_chain(chain).add_rule(rule.redirect(Some(9)));
                transaction.commit(&connection).await.unwrap();
            });
        });
    }

    /// Takes every rule of the mesh away, as somebody who flushes tables does.
    pub(crate) fn flush(&self) {
        self.in_pod(|| {
            runtime().block_on(async {
                let connection = Connection::<Nftables>::new().unwrap();
                let transaction = connection.transaction().del_table("smilax", Table::Inet);
                transaction.commit(&connection).await.unwrap();
            });
        });
    }

    /// Leads addresses that are not the pod's to the pod, as a neighbour on its network can.
    pub(crate) fn lead_to_pod(&self, range: &str, family: Family) {
        ip(&format!(
            "-n {} route add {range} via {}",
            self.peer,
            family.pod()
        ));
    }

    pub(crate) fn in_pod<T>(&self, work: impl FnOnce() -> T) -> T {
        namespace::execute_in(&self.pod, work).unwrap()
    }

    pub(crate) fn in_peer<T>(&self, work: impl FnOnce() -> T) -> T {
        namespace::execute_in(&self.peer, work).unwrap()
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for namespace in [&self.pod, &self.peer] {
            let _ = Command::new("ip").args(["netns", "del", namespace]).output();
        }
    }
}

/// A proxy; killed when dropped.
pub(crate) struct Running(Child);

impl Running {
    /// As the kernel kills it: without a word to anybody.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

const ALL_ADDRESSES: [&str; 2] = ["[::]:8080", "0.0.0.0:8080"];

/// A server, and how many connections it took.
pub(crate) struct Served {
    accepted: Arc<AtomicUsize>,
    _listeners: Vec<TcpListener>,
}

impl Served {
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Answers every request with a name, in the namespace that this is called in.
pub(crate) fn serve(addresses: &[&str], name: &'static str) -> Served {
    let accepted = Arc::new(AtomicUsize::new(0));
    let listeners = addresses.iter().filter_map(|address| {
        // Where the first takes both families, the second is not needed.
        let listener = TcpListener::bind(address).ok()?;
        let (accepting, counter) = (listener.try_clone().unwrap(), Arc::clone(&accepted));
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = accepting.accept() {
                counter.fetch_add(1, Ordering::SeqCst);
                let _ = stream.read(&mut [0; 1024]);
                let length = name.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{name}");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Some(listener)
    });
    Served {
        _listeners: listeners.collect(),
        accepted,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Asks once; empty when the connection ends without an answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    match ask(address, "GET", path) {
        Answer::Refused => panic!("{address} refuses connections"),
        Answer::Closed => String::new(),
        Answer::Text(text) => text,
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Nobody listens.
    Refused,
    /// The connection ended without an answer.
    Closed,
    /// This.
    Text(String),
}

impl Answer {
    /// In one word: `refused`, `closed`, or the status.
    pub(crate) fn word(&self) -> &str {
        match self {
            Self::Refused => "refused",
            Self::Closed => "closed",
            Self::Text(text) => text.split(' ').nth(1).unwrap_or("text"),
        }
    }
}

/// Asks once, with a body that names a log level.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    let mut stream = match TcpStream::connect_timeout(&address, Duration::from_secs(10)) {
        Ok(stream) => stream,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Answer::Refused,
        // Whoever resets the connection may do so at any time.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Answer::Closed,
        Err(error) => panic!("{address}: {error}"),
    };
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\ncontent-length: 4\r\n\r\ninfo"
    );
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    if answer.is_empty() {
        Answer::Closed
    } else {
        Answer::Text(answer)
    }
}
