//! What becomes of a proxy that is asked for more than it has.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use smilax_core::config::Protocol;

use crate::support::cable::BINARY;
use crate::support::client::{Http1, get};
use crate::support::server::{Server, empty};
use crate::support::{Net, TestProxy};

/// File descriptors that the proxy may have; it takes some forty for itself.
const DESCRIPTORS: u32 = 64;
/// More connections than that: each needs two.
const CONNECTIONS: usize = 100;
/// How long the proxy is watched while it has none left.
const WATCHED: Duration = Duration::from_secs(2);

#[test]
fn e12_without_file_descriptors_accepting_waits_without_spinning_and_goes_on() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let original = server.local_addr().unwrap();
    let accepting = server.try_clone().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = accepting.accept() {
            std::thread::spawn(move || {
                let mut bytes = [0; 16];
                while let Ok(read @ 1..) = stream.read(&mut bytes) {
                    let _ = stream.write_all(&bytes[..read]);
                }
            });
        }
    });
    let mut proxy = Starved::start(original);
    let crowd: Vec<TcpStream> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(proxy.outbound).unwrap())
        .collect();
    proxy.wait_for("cannot accept connections");
    let before = proxy.cpu();
    std::thread::sleep(WATCHED);
    let used = proxy.cpu().saturating_sub(before);
    assert!(used < WATCHED / 20, "{used:?} of CPU in {WATCHED:?}");
    drop(crowd);
    let deadline = Instant::now() + Duration::from_mins(1);
    while echoes(proxy.outbound).is_none() {
        assert!(Instant::now() < deadline, "does not accept again");
    }
    assert!(proxy.child.try_wait().unwrap().is_none());
}

#[tokio::test]
async fn f10_hosts_paths_agents_and_methods_without_end_add_no_series() {
    let net = Net::new();
    let _server = Server::named(net.at(1), "web").await;
    let outbound = TestProxy::outbound(net.at(1), &net.config(1, Protocol::Http, vec![]));
    let inbound = TestProxy::inbound(net.at(1));
    for (proxy, address) in [
        (&outbound, outbound.outbound_address()),
        (&inbound, inbound.inbound_address()),
    ] {
        let mut client = Http1::connect(address).await;
        let series = async || {
            let text = get(proxy.metrics_address(), "/metrics").await.text;
            text.lines().filter(|line| !line.starts_with('#')).count()
        };
        client.get("/").await;
        let before = series().await;
        for number in 0..200 {
            let request = http::Request::builder()
                .method(format!("M{number}").as_str())
                .uri(format!("/{number}?q={number}"))
                .header("host", format!("host-{number}.example"))
                .header("user-agent", format!("agent/{number}"))
                .header("x-forwarded-client-cert", format!("URI=spiffe://x/{number}"))
                .body(empty())
                .unwrap();
            client.send(request).await;
        }
        assert_eq!(series().await, before);
    }
}

/// Whether a connection is carried to the server and back.
fn echoes(address: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    stream.write_all(b"\0hello").ok()?;
    let mut back = [0; 6];
    stream.read_exact(&mut back).ok()?;
    (&back == b"\0hello").then_some(())
}

/// A proxy with few file descriptors.
struct Starved {
    child: Child,
    outbound: SocketAddr,
    log: BufReader<std::process::ChildStderr>,
    _files: tempfile::TempDir,
}

impl Starved {
    fn start(original: SocketAddr) -> Self {
        let files = tempfile::tempdir().unwrap();
        let ports = ["outbound", "inbound", "metrics", "probe", "admin"];
        let mut child = Command::new(BINARY)
            .args(["run", "--listen", "127.0.0.1", "--workers", "1"])
            .args(ports.map(|port| format!("--{port}-port=0")))
            .arg(format!("--outbound-original-destination={original}"))
            .arg("--config-dir")
            .arg(files.path())
            .arg("--state-dir")
            .arg(files.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let mut proxy = Self {
            child,
            outbound: original,
            log,
            _files: files,
        };
        let started = proxy.wait_for("started");
        let port = started
            .split("outbound=")
            .nth(1)
            .and_then(|rest| rest.split(' ').next());
        proxy.outbound = SocketAddr::from(([127, 0, 0, 1], port.unwrap().parse().unwrap()));
        // Only now: a proxy that starts with few takes no more connections than it has files for.
        let limited = Command::new("prlimit")
            .arg(format!("--pid={}", proxy.child.id()))
            .arg(format!("--nofile={DESCRIPTORS}"))
            .status();
        assert!(limited.unwrap().success());
        proxy
    }

    fn wait_for(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(
                self.log.read_line(&mut line).unwrap(),
                0,
                "ended without {text:?}"
            );
        }
        line
    }

    /// Time on a CPU, of all its threads: fields 14 and 15 of `/proc/PID/stat`, in hundredths of a second.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: u64 = fields[11..13]
            .iter()
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Starved {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
