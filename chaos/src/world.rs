//! A real API server with its storage, and nothing else: no nodes, no controllers. The experiment plays those.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustix::process::Pid;
use serde_json::{Value, json};

use crate::api::Api;
use crate::apifault::ApiFault;
use crate::process::Process;

/// Address of this network namespace that is not loopback: an EndpointSlice may not hold loopback.
pub const ADDRESS: &str = "10.199.0.1";
/// Namespace of the installation.
pub const SYSTEM: &str = "smilax-system";
const ETCD: &str = "http://127.0.0.1:2379";
const SERVER: &str = "https://127.0.0.1:6443";
const ADMIN_TOKEN: &str = "experiment";
const OPERATOR_TOKEN: &str = "operator";
const STARTS_WITHIN: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(100);

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Programs {
    /// Folder with etcd, kube-apiserver, kubectl and helm.
    pub kubernetes: PathBuf,
    /// The operator.
    pub operator: PathBuf,
    /// The repository.
    pub repository: PathBuf,
}

/// An API server, the proxy before it, and where everything is written.
pub struct World {
    /// Past the proxy.
    pub api: Api,
    /// The proxy.
    pub fault: ApiFault,
    programs: Programs,
    folder: PathBuf,
    apiserver: Option<Process>,
    etcd: Process,
    operators: u32,
}

impl World {
    /// Starts one in this folder, and installs the charts in it.
    pub async fn start(programs: Programs, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let key = rcgen::KeyPair::generate()?;
        std::fs::write(folder.join("sa.key"), key.serialize_pem())?;
        std::fs::write(folder.join("sa.pub"), key.public_key_pem())?;
        let account = format!("system:serviceaccount:{SYSTEM}:smilax-operator");
        let groups = format!("system:serviceaccounts,system:serviceaccounts:{SYSTEM},system:authenticated");
        std::fs::write(
            folder.join("tokens.csv"),
            format!("{ADMIN_TOKEN},experiment,1,system:masters\n{OPERATOR_TOKEN},{account},2,\"{groups}\"\n"),
        )?;
        let etcd = Process::start(
            Command::new(programs.kubernetes.join("etcd"))
                .args(["--unsafe-no-fsync", "--log-level=warn"])
                .arg(format!("--data-dir={}", folder.join("etcd").display()))
                .arg(format!("--listen-client-urls={ETCD}"))
                .arg(format!("--advertise-client-urls={ETCD}"))
                .arg("--listen-peer-urls=http://127.0.0.1:2380"),
            &folder.join("etcd.log"),
        )?;
        let admin = client(SERVER, Some(ADMIN_TOKEN)).await?;
        let forwarding = client(SERVER, None).await?;
        let mut world = Self {
            api: Api::new(admin),
            fault: ApiFault::start(forwarding).await?,
            programs,
            folder: folder.to_owned(),
            apiserver: None,
            etcd,
            operators: 0,
        };
        world.start_apiserver().await?;
        world.install().await?;
        Ok(world)
    }

    /// Starts the API server, and waits until it serves.
    pub async fn start_apiserver(&mut self) -> anyhow::Result<()> {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let mut process = Process::start(
            Command::new(self.programs.kubernetes.join("kube-apiserver"))
                .arg(format!("--etcd-servers={ETCD}"))
                .args(["--secure-port=6443", "--bind-address=0.0.0.0"])
                .arg(format!("--advertise-address={ADDRESS}"))
                .arg(format!("--cert-dir={}", at("certificates")))
                .arg(format!("--token-auth-file={}", at("tokens.csv")))
                .arg(format!("--service-account-key-file={}", at("sa.pub")))
                .arg(format!("--service-account-signing-key-file={}", at("sa.key")))
                .arg("--service-account-issuer=https://kubernetes.default.svc.cluster.local")
                .args([
                    "--authorization-mode=RBAC",
                    "--service-cluster-ip-range=10.96.0.0/16",
                ])
                // Nobody makes accounts and their tokens here.
                .arg("--disable-admission-plugins=ServiceAccount")
                // Webhooks are reached by the address of their endpoint: there is no kube-proxy.
                .arg("--enable-aggregator-routing=true")
                .args(["--allow-privileged=true", "--profiling=false"]),
            &self.folder.join("apiserver.log"),
        )?;
        let start = Instant::now();
        while self
            .api
            .send("GET", "/readyz", "application/json", &Value::Null)
            .await
            .is_err_and(|error| is_away(&error))
        {
            ensure!(process.lives(), "the API server ended: {}", tail(&process.log()));
            ensure!(
                start.elapsed() < STARTS_WITHIN,
                "the API server does not serve: {}",
                tail(&process.log())
            );
            tokio::time::sleep(PAUSE).await;
        }
        self.apiserver = Some(process);
        Ok(())
    }

    /// Numbers of the API server and of etcd.
    pub fn servers(&self) -> Vec<Pid> {
        let apiserver = self.apiserver.as_ref().and_then(Process::pid);
        apiserver.into_iter().chain(self.etcd.pid()).collect()
    }

    /// Kills the API server.
    pub fn stop_apiserver(&mut self) {
        self.apiserver = None;
    }

    /// The storage forgets everything that was before now.
    pub async fn compact(&self) -> anyhow::Result<()> {
        let etcd = Api::new(client(ETCD, None).await?);
        let any = json!({"key": "AA==", "limit": "1"});
        let now = etcd
            .send("POST", "/v3/kv/range", "application/json", &any)
            .await
            .context("etcd's revision")?;
        let revision = now
            .pointer("/header/revision")
            .context("etcd does not tell its revision")?;
        let before = json!({"revision": revision, "physical": true});
        etcd.send("POST", "/v3/kv/compaction", "application/json", &before)
            .await
            .context("etcd's compaction")?;
        Ok(())
    }

    async fn install(&self) -> anyhow::Result<()> {
        let repository = &self.programs.repository;
        let kubeconfig = self.write_kubeconfig("admin.json", SERVER, ADMIN_TOKEN)?;
        self.api
            .apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}}))
            .await?;
        let chart = run(Command::new(self.programs.kubernetes.join("helm"))
            .args(["template", "smilax", "--namespace", SYSTEM, "--no-hooks"])
            // A pod is made again until it has its proxy, as by a ReplicaSet, and none slips past a dead operator.
            .args(["--set", "injector.failurePolicy=Fail"])
            .arg(repository.join("charts/smilax")))?;
        std::fs::write(self.folder.join("chart.yaml"), chart)?;
        run(Command::new(self.programs.kubernetes.join("kubectl"))
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .args(["apply", "--server-side", "--filename"])
            .arg(self.folder.join("chart.yaml"))
            .arg("--filename")
            .arg(repository.join("crds/manifests")))?;
        for service in ["smilax-webhook", "smilax-conversion"] {
            self.api.apply(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
                "metadata": {"name": service, "namespace": SYSTEM, "labels": {"kubernetes.io/service-name": service}},
                "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": true}}],
                "ports": [{"name": "https", "port": 8443, "protocol": "TCP"}],
            })).await?;
        }
        Ok(())
    }

    /// Access with the rights of the operator, and no more.
    pub async fn api_of_the_operator(&self) -> anyhow::Result<Api> {
        Ok(Api::new(client(SERVER, Some(OPERATOR_TOKEN)).await?))
    }

    fn write_kubeconfig(&self, name: &str, server: &str, token: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, serde_json::to_string(&kubeconfig(server, Some(token)))?)?;
        Ok(path)
    }

    /// Starts an operator behind the proxy. The second of two gets ports of its own.
    pub fn operator(&mut self, replica: Replica) -> anyhow::Result<Process> {
        let server = self.fault.url();
        let process = self.operator_at(&server, replica, "info,smilax_operator=debug")?;
        if replica == Replica::First {
            self.fault.set_victim(process.pid());
        }
        Ok(process)
    }

    /// Starts an operator that speaks to the API server itself, past the proxy, and logs what one would in use.
    pub fn operator_past_the_proxy(&mut self) -> anyhow::Result<Process> {
        self.operator_at(SERVER, Replica::First, "info")
    }

    fn operator_at(&mut self, server: &str, replica: Replica, log_level: &str) -> anyhow::Result<Process> {
        self.operators += 1;
        let kubeconfig = self.write_kubeconfig("operator.json", server, OPERATOR_TOKEN)?;
        let (name, ports) = match replica {
            Replica::First => ("smilax-operator-a", [8080, 8443, 8444]),
            Replica::Second => ("smilax-operator-b", [8180, 8543, 8544]),
        };
        Process::start(
            Command::new(&self.programs.operator)
                .env("KUBECONFIG", kubeconfig)
                .args(["--namespace", SYSTEM, "--pod-name", name])
                .args(["--log-level", log_level])
                .arg(format!("--admin-port={}", ports[0]))
                .arg(format!("--webhook-port={}", ports[1]))
                .arg(format!("--workload-port={}", ports[2])),
            &self.folder.join(format!("operator-{}.log", self.operators)),
        )
    }

    /// Lets go of who leads, as if the time of a killed leader were over. R13 waits for that time instead.
    pub async fn release_lease(&self) -> anyhow::Result<()> {
        let path = format!("/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/smilax-operator");
        if self.api.get(&path).await?.is_some() {
            self.api
                .merge(&path, &json!({"spec": {"holderIdentity": ""}}))
                .await?;
        }
        Ok(())
    }
}

/// Which of two operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replica {
    /// The one that crashes.
    First,
    /// The other.
    Second,
}

fn is_away(error: &kube::Error) -> bool {
    // What answers `ok` is no JSON, and well.
    !matches!(error, kube::Error::SerdeError(_))
}

fn kubeconfig(server: &str, token: Option<&str>) -> Value {
    let user = token.map_or_else(|| json!({}), |token| json!({"token": token}));
    // The certificate is one that the API server has just made for itself, on loopback.
    let cluster = json!({"server": server, "insecure-skip-tls-verify": true});
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "chaos",
        "clusters": [{"name": "chaos", "cluster": cluster}],
        "users": [{"name": "chaos", "user": user}],
        "contexts": [{"name": "chaos", "context": {"cluster": "chaos", "user": "chaos"}}],
    })
}

async fn client(server: &str, token: Option<&str>) -> anyhow::Result<Client> {
    let kubeconfig: Kubeconfig = serde_json::from_value(kubeconfig(server, token))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.default_retry = false;
    Ok(Client::try_from(config)?)
}

fn run(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{name} cannot be started"))?;
    if !output.status.success() {
        bail!(
            "{name} failed: {}",
            tail(&String::from_utf8_lossy(&output.stderr))
        );
    }
    Ok(output.stdout)
}

/// The last lines of a log.
pub fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines
        .get(lines.len().saturating_sub(12)..)
        .unwrap_or_default()
        .join("\n")
}

/// Tells how far it is.
pub fn say(text: &str) {
    writeln!(std::io::stderr(), "{text}").ok();
}

/// Tells what came out.
pub fn show(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}
