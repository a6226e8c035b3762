//! Proxies that are whole: processes as in a pod, but for the redirect.
//!
//! Each has a token that is bound to its pod, asks the operator for its certificate, and begins with the ConfigMap that
//! kubelet would have mounted. When it acts on a configuration it says so in its log, with the time; nobody asks it
//! meanwhile, so that nobody takes time from what is measured.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::jiff::Timestamp;
use rustix::process::Pid;
use serde_json::{Value, json};
use smilax_chaos::api::Api;
use smilax_chaos::process::Process;
use smilax_chaos::world::tail;
use smilax_core::convention::{POLICY_KEY, TOKEN_AUDIENCE, TRUST_BUNDLE_KEY, config_map_name};

use crate::mesh::{self, ACCOUNT, Shape};

/// How long they may take until they are connected.
const CONNECTED_WITHIN: Duration = Duration::from_mins(2);
const PAUSE: Duration = Duration::from_millis(100);
const CONNECTED: &str = "connected to the operator";
const IN_FORCE: &str = "a configuration is in force";

/// One process.
#[derive(Debug)]
struct Proxy {
    namespace: usize,
    process: Process,
}

/// All of them.
#[derive(Debug, Default)]
pub struct WholeProxies(Vec<Proxy>);

impl WholeProxies {
    /// Starts one for each pod that is to have one, and waits until all are connected.
    ///
    /// # Errors
    /// When one cannot be started, or does not connect.
    pub async fn start(api: &Api, program: &Path, folder: &Path, shape: Shape) -> anyhow::Result<Self> {
        let mut all = Self::default();
        for namespace in 0..shape.namespaces {
            for pod in 0..shape.whole_of(namespace) {
                let folder = folder.join(format!("proxy-{namespace}-{pod}"));
                let process = start(api, program, &folder, shape, (namespace, pod)).await?;
                all.0.push(Proxy { namespace, process });
            }
        }
        all.until_connected().await?;
        Ok(all)
    }

    async fn until_connected(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        for proxy in &mut self.0 {
            while !proxy.process.log().contains(CONNECTED) {
                ensure!(
                    proxy.process.lives() && start.elapsed() < CONNECTED_WITHIN,
                    "a proxy does not connect: {}",
                    tail(&proxy.process.log())
                );
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Their numbers.
    pub fn pids(&self) -> Vec<Pid> {
        self.0.iter().filter_map(|proxy| proxy.process.pid()).collect()
    }

    /// How long after `start` each of them acted on a configuration for the first time, in ms: all, or those of one
    /// namespace.
    ///
    /// # Errors
    /// When one did not.
    pub fn acted(&self, of: Of, start: Timestamp) -> anyhow::Result<Vec<f64>> {
        let concerned = self.0.iter().filter(|proxy| match of {
            Of::All => true,
            Of::Namespace(namespace) => proxy.namespace == namespace,
        });
        concerned
            .map(|proxy| {
                let log = proxy.process.log();
                first_after(&log, start).with_context(|| format!("a proxy did not act: {}", tail(&log)))
            })
            .collect()
    }
}

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Every one.
    All,
    /// Those of a namespace.
    Namespace(usize),
}

/// When the first line after `start` says that a configuration is in force, in ms after it.
fn first_after(log: &str, start: Timestamp) -> Option<f64> {
    let lines = log.lines().filter(|line| line.contains(IN_FORCE));
    let mut times = lines.filter_map(|line| line.split_whitespace().next()?.parse::<Timestamp>().ok());
    let at = times.find(|at| *at >= start)?;
    let after = at.duration_since(start);
    Some(after.as_secs_f64() * 1000.0)
}

async fn start(
    api: &Api,
    program: &Path,
    folder: &Path,
    shape: Shape,
    (namespace, pod): (usize, usize),
) -> anyhow::Result<Process> {
    let name = mesh::namespace_name(namespace);
    let place = |file: &str| -> anyhow::Result<PathBuf> {
        let path = folder.join(file);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    };
    let (config, state) = (place("config")?, place("state")?);
    let path = format!(
        "/api/v1/namespaces/{name}/configmaps/{}",
        config_map_name(ACCOUNT)
    );
    let map = api.get(&path).await?.context("there is no configuration")?;
    for key in [POLICY_KEY, TRUST_BUNDLE_KEY] {
        let text = map["data"][key].as_str().context("a key is missing")?;
        std::fs::write(config.join(key), text)?;
    }
    let token = folder.join("token");
    std::fs::write(&token, self::token(api, &name, pod).await?)?;
    let labels = folder.join("labels");
    std::fs::write(&labels, format!("app=\"{ACCOUNT}\"\n"))?;
    let ports = ["outbound", "inbound", "metrics", "probe", "admin"];
    Process::start(
        Command::new(program)
            .arg("run")
            .args(ports.map(|port| format!("--{port}-port=0")))
            .args(["--listen=127.0.0.1", "--workers=1"])
            // Nothing is sent through them.
            .args([
                "--outbound-original-destination=127.0.0.1:9",
                "--inbound-original-destination=127.0.0.1:9",
            ])
            .arg("--config-dir")
            .arg(config)
            .arg("--state-dir")
            .arg(state)
            .arg("--token-file")
            .arg(token)
            .arg("--labels")
            .arg(labels)
            .arg(format!("--pod-name={}", mesh::pod_name(pod)))
            .arg(format!("--pod-namespace={name}"))
            .arg(format!("--pod-ips={}", shape.address(namespace, pod)))
            .arg(format!("--account={ACCOUNT}")),
        &folder.join("log"),
    )
}

/// A token of the pod's account that is bound to the pod, as kubelet asks for it.
async fn token(api: &Api, namespace: &str, pod: usize) -> anyhow::Result<String> {
    let name = mesh::pod_name(pod);
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let uid = api.get(&path).await?.context("there is no such pod")?["metadata"]["uid"].take();
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {
            "audiences": [TOKEN_AUDIENCE], "expirationSeconds": 86_400,
            "boundObjectRef": {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid},
        },
    });
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{ACCOUNT}/token");
    let answer: Value = api.send("POST", &path, "application/json", &request).await?;
    let token = answer["status"]["token"].as_str();
    Ok(token.context("the API server gives no token")?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_configuration_after_the_write_is_the_one_that_counts() {
        let log = "2026-11-26T07:00:00.100000Z  INFO smilax_proxy: a configuration is in force revision=1.1\n\
            2026-11-26T07:00:01.050000Z  INFO smilax_proxy: something else\n\
            2026-11-26T07:00:01.250000Z  INFO smilax_proxy: a configuration is in force revision=1.2\n\
            2026-11-26T07:00:02.000000Z  INFO smilax_proxy: a configuration is in force revision=1.3\n";
        let start: Timestamp = "2026-11-26T07:00:01Z".parse().unwrap();
        assert_eq!(
            first_after(log, start).map(|after| format!("{after:.0}")),
            Some("250".to_owned())
        );
        assert_eq!(first_after(log, "2026-11-26T07:00:03Z".parse().unwrap()), None);
    }
}
