//! Processes of an experiment: each ends with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(15);

/// A process whose output goes to a file.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; its log is written anew.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{} cannot be started", command.get_program().to_string_lossy()))?;
        Ok(Self {
            child,
            log: log.to_owned(),
        })
    }

    /// Its number.
    pub fn pid(&self) -> Option<Pid> {
        Pid::from_raw(i32::try_from(self.child.id()).ok()?)
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it lives.
    pub fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: Signal) {
        if self.lives()
            && let Some(pid) = self.pid()
        {
            kill_process(pid, signal).ok();
        }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Asks it to end, and waits.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        let ended = tokio::time::timeout(GRACE, async {
            while self.lives() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        ended
            .await
            .context("the process did not end when it was asked to")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
