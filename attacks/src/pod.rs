//! A pod with a sidecar, and what an attack does to it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Pid;
use serde_json::json;
use smilax_chaos::process::Process;
use smilax_core::convention::{METRICS_PORT, PROBE_PORT, PROXY_UID};
use smilax_core::{ProxyConfig, Workload};
use tokio::net::TcpStream;

use crate::application::{BYTES_PORT, HTTP_PORT};
use crate::catalogue::{Siege, Surface};
use crate::figures::{Fate, Figures, Rss, Service, Tally};
use crate::measure::{forget_peak, processor_seconds, resident, scaled};
use crate::stage::{Cgroup, Family, Host, Limits, Stage, read_from, run};

/// The chart's limits of a sidecar.
const LIMITS: Limits = Limits {
    memory: Some(256 * 1024 * 1024),
    processors: Some(2),
};
/// First segment of the paths of probes.
const PATH_KEY: &str = "0123456789abcdef0123456789abcdef";
const STARTS_WITHIN: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the victim is measured without the attack, each time.
const WITHOUT: Duration = Duration::from_secs(3);
/// How long the victim is measured under attack, from its beginning on.
const WITH: Duration = Duration::from_secs(5);
/// How long the attack lasts.
const ATTACK: Duration = Duration::from_secs(6);
/// When memory is read after the attack.
const AFTER: Duration = Duration::from_secs(10);

/// A pod with a sidecar.
#[derive(Debug)]
struct Pod<'a> {
    stage: &'a Stage,
    sidecar: Process,
    pid: Pid,
    _application: Process,
    _server: Process,
    // Removed after the processes in them.
    _cgroups: [Cgroup; 2],
}

/// Redirects the pod's connections, once for all sidecars.
///
/// # Errors
/// When the system refuses.
pub fn redirect(stage: &Stage) -> anyhow::Result<()> {
    run(Host::Pod.inside().arg(&stage.proxy).arg("init"))
}

impl<'a> Pod<'a> {
    async fn start(stage: &'a Stage) -> anyhow::Result<Self> {
        let sidecar_cgroup = stage.cgroup("sidecar", LIMITS)?;
        let application_cgroup = stage.cgroup("application", Limits::default())?;
        let log = |name: &str| stage.folder.join(name);
        let start = |mut command: Command, name| Process::start(command.arg("application"), &log(name));
        let application = start(stage.command(Host::Pod, &application_cgroup), "application.log")?;
        let server = start(stage.victim(Host::Victim), "server.log")?;
        let sidecar = Process::start(&mut sidecar(stage, &sidecar_cgroup)?, &log("sidecar.log"))?;
        let pid = sidecar.pid().context("no sidecar")?;
        let mut pod = Self {
            stage,
            sidecar,
            pid,
            _application: application,
            _server: server,
            _cgroups: [sidecar_cgroup, application_cgroup],
        };
        pod.wait().await?;
        Ok(pod)
    }

    async fn wait(&mut self) -> anyhow::Result<()> {
        let from = Instant::now();
        let ports = [
            (Host::Pod, METRICS_PORT),
            (Host::Pod, HTTP_PORT),
            (Host::Victim, HTTP_PORT),
        ];
        for (host, port) in ports {
            let address = SocketAddr::new(host.address(Family::V4), port);
            while TcpStream::connect(address).await.is_err() {
                let log = self.sidecar.log();
                ensure!(self.sidecar.lives(), "the sidecar ended: {log}");
                ensure!(from.elapsed() < STARTS_WITHIN, "nobody at {address}: {log}");
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// The victim's load over what is attacked.
    async fn victim(&self, surface: Surface, family: Family, lasts: Duration) -> anyhow::Result<Service> {
        let (client, server, port, path) = match surface {
            Surface::Http | Surface::Bytes => (Host::Victim, Host::Pod, HTTP_PORT, "/".to_owned()),
            Surface::Metrics => (Host::Victim, Host::Pod, METRICS_PORT, "/ready".to_owned()),
            Surface::Probes => (Host::Victim, Host::Pod, PROBE_PORT, probe_path()),
            Surface::Outbound => (Host::Pod, Host::Victim, HTTP_PORT, "/".to_owned()),
        };
        let address = SocketAddr::new(server.address(family), port);
        let mut command = self.stage.victim(client);
        command
            .arg("victim")
            .arg(format!("--url=http://{address}{path}"))
            .arg(format!("--seconds={}", lasts.as_secs()));
        if matches!(surface, Surface::Probes | Surface::Metrics) {
            command.arg("--no-keep-alive");
        }
        read_from(command).await
    }

    async fn attack(&self, surface: Surface, siege: Siege, family: Family) -> anyhow::Result<Tally> {
        let (client, server, port) = match surface {
            Surface::Http => (Host::Attacker, Host::Pod, HTTP_PORT),
            Surface::Bytes => (Host::Attacker, Host::Pod, BYTES_PORT),
            Surface::Metrics => (Host::Attacker, Host::Pod, METRICS_PORT),
            Surface::Probes => (Host::Attacker, Host::Pod, PROBE_PORT),
            Surface::Outbound => (Host::Pod, Host::Victim, HTTP_PORT),
        };
        let address = SocketAddr::new(server.address(family), port);
        let mut command = self.stage.attacker(client);
        siege.arguments(&mut command, &client.addresses(family), address, ATTACK);
        command.arg("--identity").arg(&self.stage.folder);
        read_from(command).await
    }
}

/// Measures an attack on a sidecar that was just started: the victim without it, with it, and without it.
///
/// # Errors
/// When the system does not do its part.
pub async fn perform(
    stage: &Stage,
    surface: Surface,
    siege: Siege,
    family: Family,
) -> anyhow::Result<Figures> {
    let mut pod = Pod::start(stage).await?;
    pod.victim(surface, family, WARM_UP).await?;
    forget_peak(pod.pid)?;
    let mut figures = Figures::default();
    figures.rss.before = resident(pod.pid)?.now;
    let idle = processor_seconds(&pod.sidecar)?;
    figures.without[0] = pod.victim(surface, family, WITHOUT).await?;
    let quiet = processor_seconds(&pod.sidecar)?;
    figures.cpu_without_s = scaled(quiet - idle, WITHOUT, ATTACK);
    let (attacker, with) = tokio::join!(
        pod.attack(surface, siege, family),
        pod.victim(surface, family, WITH)
    );
    let over = Instant::now();
    figures.attacker = attacker?;
    figures.with = with?;
    if !pod.sidecar.lives() {
        figures.fate = Fate::Ended;
        return Ok(figures);
    }
    figures.cpu_s = crate::figures::round(processor_seconds(&pod.sidecar)? - quiet);
    figures.without[1] = pod.victim(surface, family, WITHOUT).await?;
    tokio::time::sleep(AFTER.saturating_sub(over.elapsed())).await;
    let rss = resident(pod.pid)?;
    figures.rss = Rss {
        peak: rss.peak,
        after: rss.now,
        ..figures.rss
    };
    Ok(figures)
}

fn probe_path() -> String {
    format!("/{PATH_KEY}/application/readyz")
}

/// The sidecar as injection would start it, but with an identity from files instead of the operator.
fn sidecar(stage: &Stage, cgroup: &Cgroup) -> anyhow::Result<Command> {
    let folder = prepare(stage)?;
    let user = PROXY_UID.to_string();
    let [v4, v6] = Family::BOTH.map(|family| Host::Pod.address(family));
    let probe = json!([{
        "path": probe_path(), "port": HTTP_PORT, "timeoutSeconds": 1,
        "check": {"kind": "http", "path": "/", "scheme": "HTTP"},
    }]);
    let ports = json!({HTTP_PORT.to_string(): "http", BYTES_PORT.to_string(): "tcp"});
    let mut command = Host::Pod.inside();
    command.args(["unshare", "--mount"]);
    cgroup.enter_as_container(&mut command);
    command
        .args(["setpriv", "--reuid", &user, "--regid", &user])
        .args(["--clear-groups", "--no-new-privs"])
        .arg(&stage.proxy)
        .args(["run", "--pod-name=web-0", "--pod-namespace=shop", "--account=web"])
        .args(["--workload=web", "--drain-seconds=1"])
        .arg(format!("--pod-ips={v4},{v6}"))
        .arg(format!("--probes={probe}"))
        .arg(format!("--inbound-ports={ports}"))
        .arg("--config-dir")
        .arg(folder.join("config"))
        .arg("--state-dir")
        .arg(folder.join("state"))
        .arg("--identity-key")
        .arg(folder.join("web.key"))
        .arg("--identity-chain")
        .arg(folder.join("web.pem"))
        .arg("--trust-roots")
        .arg(folder.join("roots.pem"))
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    Ok(command)
}

/// Writes what would be mounted into a sidecar: a configuration under which everybody may call, and an identity.
fn prepare(stage: &Stage) -> anyhow::Result<PathBuf> {
    let folder = stage.folder.join("sidecar");
    // The one before is over.
    let _ = std::fs::remove_dir_all(&folder);
    for name in ["config", "state"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    stage.authority.write(&folder, "web")?;
    let config = ProxyConfig::empty(Workload::new("shop", "web"));
    std::fs::write(folder.join("config/policy.json"), serde_json::to_vec(&config)?)?;
    for name in ["state", "web.key"] {
        std::os::unix::fs::chown(folder.join(name), Some(PROXY_UID), Some(PROXY_UID))?;
    }
    Ok(folder)
}
