//! A pod: a network namespace, a real proxy in it with the environment of its injection, and calls.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use smilax_chaos::api::{Api, Place};
use smilax_chaos::process::Process;
use smilax_core::convention::{
    METRICS_PORT, POLICY_KEY, PROXY_UID, TOKEN_AUDIENCE, TRUST_BUNDLE_KEY, config_map_name,
};

use crate::measure::{self, Memory};
use crate::mesh::{ACCOUNT, OWN};

const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(100);
/// How long memory settles before it is read.
const SETTLE: Duration = Duration::from_secs(3);

/// Where programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// The proxy, readable for its user.
    pub proxy: PathBuf,
    /// This program.
    pub own: PathBuf,
}

/// A pod that calls.
#[derive(Debug)]
pub struct Pod {
    name: String,
    address: Ipv4Addr,
    folder: PathBuf,
    programs: Programs,
    environment: Vec<(String, String)>,
}

/// A proxy of a pod.
#[derive(Debug)]
pub struct Proxy<'a> {
    pod: &'a Pod,
    process: Process,
}

impl Pod {
    /// Makes the nth pod: its object, by way of the injector, and its network with the redirect.
    ///
    /// # Errors
    /// When the API server, the injector or the system refuses.
    pub async fn make(api: &Api, number: u8, folder: &Path, programs: &Programs) -> anyhow::Result<Self> {
        let name = format!("pod-{number}");
        let address = Ipv4Addr::new(10, 250, number, 2);
        let object = api.apply(pod(&name)).await?;
        let status = json!({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": "True"}]}});
        let path = Place::of(&object).path();
        api.merge(&format!("{path}/status"), &status).await?;
        let pod = Self {
            environment: environment(&object, address)?,
            folder: folder.join(&name),
            programs: programs.clone(),
            name,
            address,
        };
        pod.prepare(api, &object).await?;
        pod.network(Ipv4Addr::new(10, 250, number, 1))?;
        Ok(pod)
    }

    /// What kubelet would mount.
    async fn prepare(&self, api: &Api, object: &Value) -> anyhow::Result<()> {
        for name in ["config", "state", "pod"] {
            std::fs::create_dir_all(self.folder.join(name))?;
        }
        std::os::unix::fs::chown(self.folder.join("state"), Some(PROXY_UID), Some(PROXY_UID))?;
        std::fs::write(self.folder.join("pod/labels"), "app=\"caller\"\n")?;
        let path = format!("/api/v1/namespaces/{OWN}/configmaps/{}", config_map_name(ACCOUNT));
        let start = Instant::now();
        let data = loop {
            let map = api.get(&path).await?.unwrap_or_default();
            if map["data"][TRUST_BUNDLE_KEY].is_string() {
                break map["data"].clone();
            }
            ensure!(start.elapsed() < PATIENCE, "there is no configuration");
            tokio::time::sleep(PAUSE).await;
        };
        for key in [POLICY_KEY, TRUST_BUNDLE_KEY] {
            let content = data[key].as_str().with_context(|| format!("no {key}"))?;
            std::fs::write(self.folder.join("config").join(key), content)?;
        }
        let bound = json!({
            "kind": "Pod", "apiVersion": "v1", "name": self.name, "uid": object["metadata"]["uid"],
        });
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": [TOKEN_AUDIENCE], "boundObjectRef": bound, "expirationSeconds": 7200},
        });
        let path = format!("/api/v1/namespaces/{OWN}/serviceaccounts/{ACCOUNT}/token");
        let made = api.send("POST", &path, "application/json", &request).await?;
        let token = made["status"]["token"].as_str().context("no token")?;
        std::fs::write(self.folder.join("token"), token)?;
        Ok(())
    }

    fn network(&self, router: Ipv4Addr) -> anyhow::Result<()> {
        let (name, link) = (self.name.as_str(), format!("to-{}", self.name));
        ip(&["netns", "add", name])?;
        ip(&[
            "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", name,
        ])?;
        ip(&["address", "add", &format!("{router}/24"), "dev", &link])?;
        ip(&["link", "set", &link, "up"])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&[
            "-n",
            name,
            "address",
            "add",
            &format!("{}/24", self.address),
            "dev",
            "eth0",
        ])?;
        ip(&["-n", name, "link", "set", "eth0", "up"])?;
        ip(&["-n", name, "route", "add", "default", "via", &router.to_string()])?;
        run(self.inside().arg(&self.programs.proxy).arg("init"))
    }

    /// A command in this pod's network.
    fn inside(&self) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]);
        command
    }

    /// Starts a proxy, and waits until it is connected to the operator.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn start(&self, log: &str) -> anyhow::Result<Proxy<'_>> {
        let (state, user) = (self.folder.join("state"), PROXY_UID.to_string());
        // As after a pod's start, not after a container's restart.
        for file in std::fs::read_dir(&state)? {
            std::fs::remove_file(file?.path())?;
        }
        let mut command = self.inside();
        command
            .args([
                "setpriv",
                "--reuid",
                &user,
                "--regid",
                &user,
                "--clear-groups",
                "--no-new-privs",
            ])
            .arg(&self.programs.proxy)
            .arg("run")
            .arg("--config-dir")
            .arg(self.folder.join("config"))
            .arg("--state-dir")
            .arg(state)
            .arg("--labels")
            .arg(self.folder.join("pod/labels"))
            .arg("--token-file")
            .arg(self.folder.join("token"))
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .envs(self.environment.iter().cloned());
        let mut proxy = Proxy {
            pod: self,
            process: Process::start(&mut command, &self.folder.join(log))?,
        };
        let start = Instant::now();
        while proxy.metric("smilax_proxy_operator_connected").await.unwrap_or(0) == 0 {
            ensure!(
                proxy.process.lives() && start.elapsed() < PATIENCE,
                "the proxy is not connected: {}",
                proxy.process.log()
            );
            tokio::time::sleep(PAUSE).await;
        }
        Ok(proxy)
    }
}

impl Proxy<'_> {
    /// Calls each of these Services so many times, as the application of the pod.
    ///
    /// # Errors
    /// When a call fails.
    pub fn call(&self, services: &[Ipv4Addr], times: u32) -> anyhow::Result<()> {
        let mut command = self.pod.inside();
        command
            .arg(&self.pod.programs.own)
            .arg("call")
            .arg(format!("--times={times}"));
        run(command.args(services.iter().map(ToString::to_string)))
    }

    /// Its memory, when nothing happens.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn memory(&self) -> anyhow::Result<Memory> {
        tokio::time::sleep(SETTLE).await;
        measure::memory(self.process.pid().context("no process")?)
    }

    /// A metric of its.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn metric(&self, name: &str) -> anyhow::Result<u64> {
        let server = SocketAddr::from((self.pod.address, METRICS_PORT));
        Ok(measure::sum(&measure::get(server, "/metrics").await?, name))
    }
}

/// The environment of the injected proxy, with the fields that kubelet would fill in.
fn environment(object: &Value, address: Ipv4Addr) -> anyhow::Result<Vec<(String, String)>> {
    let containers = object["spec"]["initContainers"].as_array().cloned();
    let mut containers = containers.unwrap_or_default().into_iter();
    let proxy = containers.find(|one| one["name"] == "smilax-proxy");
    let variables = proxy.context("the pod is not injected")?["env"].take();
    let mut environment = Vec::new();
    for variable in variables.as_array().into_iter().flatten() {
        let field = variable
            .pointer("/valueFrom/fieldRef/fieldPath")
            .and_then(Value::as_str);
        let value = match field {
            None => variable["value"].as_str().unwrap_or_default().to_owned(),
            Some("status.podIPs") => address.to_string(),
            Some("spec.nodeName") => "node-1".to_owned(),
            Some(path) => {
                let pointer = format!("/{}", path.replace('.', "/"));
                let found = object.pointer(&pointer).and_then(Value::as_str);
                found
                    .with_context(|| format!("the pod has no {path}"))?
                    .to_owned()
            }
        };
        let name = variable["name"].as_str().context("a variable without a name")?;
        environment.push((name.to_owned(), value));
    }
    Ok(environment)
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": OWN, "labels": {"app": "caller"}},
        "spec": {
            "serviceAccountName": ACCOUNT,
            "containers": [{"name": "application", "image": "localhost/application:1"}],
        },
    })
}

/// Gives this network namespace one more address.
///
/// # Errors
/// When the system refuses.
pub fn own_address(address: Ipv4Addr) -> anyhow::Result<()> {
    ip(&["address", "add", &format!("{address}/32"), "dev", "lo"])
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(arguments))
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .context("a program cannot be started")?;
    if output.status.success() {
        return Ok(());
    }
    bail!(
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    )
}
