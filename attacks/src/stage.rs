//! Where attacks are played: network namespaces joined by a bridge, and a cgroup for each part.
//!
//! ```text
//! bridge ─┬─ pod       application and sidecar
//!         ├─ attacker
//!         └─ victim    also the server that the application calls
//! ```
//!
//! The bridge stands in the namespace of this process, which plays node, API server and operator.

mod authority;
mod cgroup;
mod network;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde::de::DeserializeOwned;

pub use authority::Authority;
use cgroup::Priority;
pub use cgroup::{Cgroup, Limits};
pub use network::{Family, Host, Network};

/// What an attack is played with.
#[derive(Debug)]
pub struct Stage {
    /// The namespaces.
    pub network: Network,
    /// Certificates of the mesh are signed here.
    pub authority: Authority,
    /// Where files go that the proxy's user must be able to reach.
    pub folder: PathBuf,
    /// The proxy, readable for its user.
    pub proxy: PathBuf,
    own: PathBuf,
    name: String,
    attacker: Cgroup,
    victim: Cgroup,
}

impl Stage {
    /// Builds it; it goes when this process ends. Names of cgroups begin with `name`.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn build(proxy: &Path, folder: &Path, name: &str) -> anyhow::Result<Self> {
        let authority = Authority::new()?;
        authority.write(folder, "caller")?;
        Ok(Self {
            network: Network::build()?,
            authority,
            folder: folder.to_owned(),
            proxy: proxy.to_owned(),
            own: std::env::current_exe().context("this program")?,
            name: name.to_owned(),
            attacker: Cgroup::make(&format!("{name}-attacker"), Limits::default(), Priority::Spare)?,
            victim: Cgroup::make(&format!("{name}-victim"), Limits::default(), Priority::Usual)?,
        })
    }

    /// A cgroup for a part of the play; it is removed with it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn cgroup(&self, part: &str, limits: Limits) -> anyhow::Result<Cgroup> {
        Cgroup::make(&format!("{}-{part}", self.name), limits, Priority::Usual)
    }

    /// This program in the namespace of a host, as attackers run: on processor time that nobody else needs.
    pub fn attacker(&self, host: Host) -> Command {
        self.command(host, &self.attacker)
    }

    /// The same as victims run.
    pub fn victim(&self, host: Host) -> Command {
        self.command(host, &self.victim)
    }

    /// This program in the namespace of a host and in a cgroup.
    pub fn command(&self, host: Host, cgroup: &Cgroup) -> Command {
        let mut command = host.inside();
        cgroup.enter(&mut command);
        command.arg(&self.own);
        command
    }
}

/// Runs a command to its end, and reads the JSON that it prints.
///
/// # Errors
/// When it fails, or prints something else.
pub async fn read_from<T: DeserializeOwned>(mut command: Command) -> anyhow::Result<T> {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    let output = tokio::task::spawn_blocking(move || child.wait_with_output()).await??;
    serde_json::from_slice(&output.stdout).with_context(|| {
        let told = String::from_utf8_lossy(&output.stderr);
        format!("{command:?} failed: {}", told.trim())
    })
}

/// Runs a command to its end.
///
/// # Errors
/// When it fails.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?} cannot be started"))?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?} failed: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
