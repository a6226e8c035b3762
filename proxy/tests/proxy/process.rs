//! The program itself: its arguments, its signals, how it ends.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_smilax-proxy");

/// A proxy that passes everything on to `original`.
struct Program {
    child: Child,
    log: BufReader<ChildStderr>,
    outbound: SocketAddr,
    inbound: SocketAddr,
    _files: TempDir,
}

impl Program {
    fn start(original: SocketAddr) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), original)
    }

    fn start_in(files: TempDir, original: SocketAddr) -> Self {
        let mut child = Command::new(BINARY)
            .arg("run")
            .args([
                "--listen",
                "127.0.0.1",
                "--workers",
                "1",
                "--drain-seconds",
                "3600",
            ])
            .args([
                "--outbound-port",
                "0",
                "--inbound-port",
                "0",
                "--metrics-port",
                "0",
            ])
            .args(["--probe-port", "0", "--admin-port", "0"])
            .arg(format!("--outbound-original-destination={original}"))
            .arg(format!("--inbound-original-destination={original}"))
            .args(["--pod-ips", "127.0.0.1", "--request-bytes", "1000000000"])
            .arg("--config-dir")
            .arg(files.path())
            .arg("--state-dir")
            .arg(files.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let started = wait_for(&mut log, "started");
        let address = |name| {
            let port = started.split(name).nth(1).unwrap().split(' ').next().unwrap();
            SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
        };
        Self {
            child,
            outbound: address("outbound="),
            inbound: address("inbound="),
            log,
            _files: files,
        }
    }

    /// Bytes of memory that it has.
    fn resident(&self) -> usize {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// Waits until so much memory is enough or not too much, as `is` says.
    fn settles(&self, what: &str, is: impl Fn(usize) -> bool) -> usize {
        for _ in 0..300 {
            let resident = self.resident();
            if is(resident) {
                return resident;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{what}: {} bytes", self.resident());
    }

    fn terminate(&self) {
        let kill = format!("kill -TERM {}", self.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn c13_the_process_leaves_no_core_dump() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let program = Program::start(nobody.local_addr().unwrap());
    let process = format!("/proc/{}", program.child.id());
    let limits = std::fs::read_to_string(format!("{process}/limits")).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    let numbers: Vec<&str> = core.split_whitespace().skip(4).take(2).collect();
    assert_eq!(numbers, ["0", "0"]);
}

#[test]
fn s24_memory_that_clients_made_it_take_is_given_back() {
    const CROWD: usize = 400;
    const HEAD: usize = 60_000;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let files = tempfile::tempdir().unwrap();
    let policy = r#"{"workload": {"namespace": "shop", "account": "web"}}"#;
    std::fs::write(files.path().join("policy.json"), policy).unwrap();
    let program = Program::start_in(files, nobody.local_addr().unwrap());
    let before = program.resident();
    let head = [&b"GET / HTTP/1.1\r\nhost: a\r\nx: "[..], &vec![b'x'; HEAD]].concat();
    let crowd: Vec<TcpStream> = (0..CROWD)
        .map(|_| {
            let mut stream = TcpStream::connect(program.inbound).unwrap();
            stream.write_all(&head).unwrap();
            stream
        })
        .collect();
    let most = program.settles("it takes memory", |now| now > before + CROWD * HEAD * 3 / 4);
    drop(crowd);
    program.settles("it gives memory back", |now| now < before + (most - before) / 3);
}

fn wait_for(log: &mut BufReader<ChildStderr>, text: &str) -> String {
    let mut line = String::new();
    while !line.contains(text) {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "ended without {text:?}");
    }
    line
}

#[test]
fn told_to_stop_it_finishes_its_connections_and_ends_well() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = Program::start(server.local_addr().unwrap());
    let mut client = TcpStream::connect(program.outbound).unwrap();
    let (mut other_end, _) = server.accept().unwrap();
    program.terminate();
    wait_for(&mut program.log, "stopping");
    client.write_all(b"still carried").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut carried = String::new();
    other_end.read_to_string(&mut carried).unwrap();
    assert_eq!(carried, "still carried");
    drop(other_end);
    assert!(program.child.wait().unwrap().success());
}

#[test]
fn told_to_stop_twice_it_ends_at_once() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut program = Program::start(server.local_addr().unwrap());
    let _client = TcpStream::connect(program.outbound).unwrap();
    let _other_end = server.accept().unwrap();
    program.terminate();
    wait_for(&mut program.log, "stopping");
    program.terminate();
    assert!(program.child.wait().unwrap().success());
}

#[test]
fn a_port_that_is_taken_is_named() {
    // Bound without sharing the port.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = Command::new(BINARY)
        .args([
            "run",
            "--listen",
            "127.0.0.1",
            "--outbound-port",
            &port,
            "--workers",
            "1",
        ])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        told.contains(&format!("cannot listen on 127.0.0.1:{port}")),
        "{told}"
    );
}

#[test]
fn a_bad_argument_is_named_with_its_variable() {
    let output = Command::new(BINARY)
        .arg("run")
        .env("SMILAX_POD_IPS", "10.0.0.1,nonsense")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        told.contains("SMILAX_POD_IPS") && told.contains("nonsense"),
        "{told}"
    );
}

#[test]
fn it_says_its_version() {
    let output = Command::new(BINARY).arg("version").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(told, concat!("smilax-proxy ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn f11_what_others_named_is_one_line_of_the_log_in_either_format() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("policy\r\n2026-01-01 INFO fake \u{1b}[2J.json");
    std::fs::write(&file, "nonsense").unwrap();
    let ports = ["outbound", "inbound", "metrics", "probe", "admin"];
    for format in ["text", "json"] {
        let mut child = Command::new(BINARY)
            .args([
                "run",
                "--listen",
                "127.0.0.1",
                "--workers",
                "1",
                "--log-format",
                format,
            ])
            .args(ports.map(|port| format!("--{port}-port=0")))
            .args(["--state-dir", "/nonexistent", "--config"])
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut lines = Vec::new();
        while !lines.last().is_some_and(|line: &String| line.contains("started")) {
            let mut line = String::new();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "ended: {lines:?}");
            lines.push(line);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(lines.iter().any(|line| line.contains("was refused")), "{lines:?}");
        for line in &lines {
            let line = line.trim_end_matches('\n');
            assert!(!line.contains(char::is_control), "{line:?}");
            match format {
                "json" => assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}"),
                // Every line of ours begins with the time and a level.
                _ => assert!(line.contains("Z  INFO ") || line.contains("Z  WARN "), "{line}"),
            }
            assert!(!line.starts_with("2026-01-01"), "{line}");
        }
    }
}
