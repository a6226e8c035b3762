//! Writes to the API server whose moment is known to the millisecond, which `kubectl` as a program of its own takes
//! too long for. `kubectl proxy` does the authentication.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::kubectl::Kubectl;
use crate::objects::Object;

/// A way to the API server, for as long as it lives.
#[derive(Debug)]
pub struct Api {
    address: SocketAddr,
    proxy: Child,
}

impl Api {
    /// Opens it.
    ///
    /// # Panics
    /// When `kubectl proxy` does not come up.
    pub fn open(kubectl: &Kubectl) -> Self {
        let started = Command::new(kubectl.program())
            .env("KUBECONFIG", kubectl.kubeconfig())
            .args(["proxy", "--port=0"])
            .stdout(Stdio::piped())
            .spawn();
        let mut proxy = match started {
            Ok(proxy) => proxy,
            Err(error) => panic!("kubectl proxy cannot be started: {error}"),
        };
        // "Starting to serve on 127.0.0.1:PORT"
        let mut line = String::new();
        if let Some(output) = proxy.stdout.take() {
            let _ = BufReader::new(output).read_line(&mut line);
        }
        match line.split_whitespace().last().and_then(|word| word.parse().ok()) {
            Some(address) => Self { address, proxy },
            None => panic!("kubectl proxy says {line:?} instead of where it serves"),
        }
    }

    /// Merges this into a TrafficSplit, and tells when that was begun, in milliseconds since the epoch: what follows from
    /// it may be there before the answer is.
    ///
    /// # Panics
    /// When it does not take it.
    pub fn patch_split(&self, namespace: &str, split: &Object, patch: &Value) -> u64 {
        let url = format!(
            "/apis/split.smi-spec.io/v1alpha4/namespaces/{namespace}/trafficsplits/{}",
            split.name()
        );
        let body = patch.to_string();
        let request = format!(
            "PATCH {url} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/merge-patch+json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut answer = [0; 16];
        let begun = now_ms();
        let asked = TcpStream::connect(self.address).and_then(|mut stream| {
            stream.write_all(request.as_bytes())?;
            stream.read_exact(&mut answer)
        });
        let status = String::from_utf8_lossy(&answer).into_owned();
        assert!(
            asked.is_ok() && status.contains(" 200"),
            "PATCH {url}: {asked:?} {status}"
        );
        begun
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        // It ends with us in any case.
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

/// Milliseconds since the epoch.
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
