//! The redirect, in network namespaces that the test makes: a pod, and a peer on the other end of its cable.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant};

use nlink::netlink::namespace::{self, SpawnUser};
use smilax_core::config::{Destination, DestinationPort, Protocol};
use smilax_core::{ProxyConfig, Revision, Workload};
use tempfile::TempDir;

use crate::support::split;

const BINARY: &str = env!("CARGO_BIN_EXE_smilax-proxy");

#[test]
fn a_pods_connections_go_through_the_proxy_both_ways_over_both_families() {
    let Some(cable) = Cable::new("both") else { return };
    cable.init().unwrap();
    let again = cable.init().unwrap();
    assert_eq!(again.matches("the redirect works").count(), 2, "{again}");
    let _peer = cable.serve_peer("peer");
    let _app = cable.serve_pod("app");
    let _proxy = cable.run_proxy();
    for family in Family::BOTH {
        let service = family.service();
        assert!(cable.in_pod(|| get(service, "/")).ends_with("peer"), "{service}");
        let pod = SocketAddr::new(family.pod(), 8080);
        assert!(cable.in_peer(|| get(pod, "/")).ends_with("app"), "{pod}");
    }
    let metrics = SocketAddr::new(Family::V4.pod(), 15020);
    let metrics = cable.in_peer(|| get(metrics, "/metrics"));
    let count = |reporter: &str| {
        let line = metrics
            .lines()
            .find(|line| line.starts_with("istio_requests_total") && line.contains(reporter));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
    };
    assert_eq!(count("reporter=\"source\""), Some(2), "{metrics}");
    assert_eq!(count("reporter=\"destination\""), Some(2), "{metrics}");
}

#[test]
fn the_proxys_own_ports_cannot_be_used_to_get_around_it() {
    let Some(cable) = Cable::new("ports") else { return };
    cable.init().unwrap();
    let app = cable.serve_pod("app");
    let _proxy = cable.run_proxy();
    for family in Family::BOTH {
        for port in [15001, 15006] {
            let address = SocketAddr::new(family.pod(), port);
            assert_eq!(cable.in_peer(|| get(address, "/")), "", "{address}");
        }
        let admin = SocketAddr::new(family.pod(), 15000);
        let refused = cable.in_peer(|| TcpStream::connect_timeout(&admin, Duration::from_secs(5)).is_err());
        assert!(refused, "{admin} answers from outside");
    }
    drop(app);
}

#[test]
fn the_kernel_holds_what_the_dry_run_shows() {
    let Some(cable) = Cable::new("list") else { return };
    let skips = [
        "--skip-inbound-ports",
        "9100",
        "--skip-outbound-ports",
        "25,3306-3310",
    ];
    cable.init_with(&skips, None).unwrap();
    let mut list = Command::new("nft");
    list.args(["list", "table", "inet", "smilax"]);
    let Ok(listed) = namespace::spawn_output(&cable.pod, list) else {
        eprintln!("SKIPPED: nft is not installed");
        return;
    };
    let shown = Command::new(BINARY)
        .args(["init", "--dry-run"])
        .args(skips)
        .output()
        .unwrap();
    let normal = |output: &Output| {
        let text = String::from_utf8_lossy(&output.stdout).replace("priority -100", "priority dstnat");
        let lines: Vec<String> = text.lines().map(|line| line.trim().to_owned()).collect();
        lines
            .into_iter()
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
    };
    assert_eq!(normal(&listed), normal(&shown));
}

#[test]
fn without_the_capability_it_says_so() {
    let Some(cable) = Cable::new("cap") else { return };
    let error = cable
        .init_with(&[], Some(SpawnUser::new(1000, 1000)))
        .unwrap_err();
    assert!(error.contains("NET_ADMIN"), "{error}");
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    const BOTH: [Self; 2] = [Self::V4, Self::V6];

    fn pod(self) -> std::net::IpAddr {
        self.pick("10.77.0.2", "fd77::2")
    }

    fn peer(self) -> std::net::IpAddr {
        self.pick("10.77.0.1", "fd77::1")
    }

    fn service(self) -> SocketAddr {
        SocketAddr::new(self.pick("10.96.0.1", "fd96::1"), 8080)
    }

    fn pick(self, v4: &str, v6: &str) -> std::net::IpAddr {
        match self {
            Self::V4 => v4.parse().unwrap(),
            Self::V6 => v6.parse().unwrap(),
        }
    }
}

/// Two namespaces with a cable between them; removed when dropped.
struct Cable {
    pod: String,
    peer: String,
    files: TempDir,
}

impl Cable {
    fn new(name: &str) -> Option<Self> {
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

    fn init(&self) -> Result<String, String> {
        self.init_with(&[], None)
    }

    fn init_with(&self, arguments: &[&str], user: Option<SpawnUser>) -> Result<String, String> {
        let mut command = Command::new(BINARY);
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

    /// Runs the proxy as the user that is not redirected; `shop/web` sends everything to the peer.
    fn run_proxy(&self) -> Running {
        let destination = |name: &str, addresses: [std::net::IpAddr; 2], routes| Destination {
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
            ],
            ..ProxyConfig::empty(Workload::new("shop", "client"))
        };
        let file = self.files.path().join("policy.json");
        std::fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
        // Readable for the proxy's user.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(self.files.path(), open).unwrap();
        let mut command = Command::new(BINARY);
        command
            .arg("run")
            .args(["--workers", "1", "--pod-ips", "10.77.0.2,fd77::2", "--config-dir"]);
        command
            .arg(self.files.path())
            .args(["--state-dir", "/nonexistent"]);
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

    fn serve_pod(&self, name: &'static str) -> Vec<TcpListener> {
        self.in_pod(|| serve(name))
    }

    fn serve_peer(&self, name: &'static str) -> Vec<TcpListener> {
        self.in_peer(|| serve(name))
    }

    fn in_pod<T>(&self, work: impl FnOnce() -> T) -> T {
        namespace::execute_in(&self.pod, work).unwrap()
    }

    fn in_peer<T>(&self, work: impl FnOnce() -> T) -> T {
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

struct Running(Child);

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

/// Answers every request with a name, on both families.
fn serve(name: &'static str) -> Vec<TcpListener> {
    let listeners = ["[::]:8080", "0.0.0.0:8080"].into_iter().filter_map(|address| {
        // Where the first takes both families, the second is not needed.
        let listener = TcpListener::bind(address).ok()?;
        let accepting = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = accepting.accept() {
                let _ = stream.read(&mut [0; 1024]);
                let length = name.len();
                let answer =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{name}");
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Some(listener)
    });
    listeners.collect()
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = match TcpStream::connect_timeout(&address, Duration::from_secs(10)) {
        Ok(stream) => stream,
        // Whoever resets the connection may do so at any time.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return String::new(),
        Err(error) => panic!("{address}: {error}"),
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n\r\n");
    let _ = stream.write_all(request.as_bytes());
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}
