//! Processes of an experiment: each ends with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit};

/// How long a process may take to end after it was asked to.
const GRACE: Duration = Duration::from_secs(15);

/// Ticks in a second, in what Linux tells of a process.
const TICKS: u64 = 100;

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

    /// Limits what it may use, and says what the limit was. The hard limit stays: not everybody may raise it again.
    pub fn limit(&self, what: Resource, most: Option<u64>) -> anyhow::Result<Option<u64>> {
        let pid = self.pid().context("no process to limit")?;
        let limit = Rlimit {
            current: most,
            // It has ours.
            maximum: getrlimit(what).maximum,
        };
        let before = prlimit(Some(pid), what, limit).context("the process cannot be limited")?;
        Ok(before.current)
    }

    /// What it has used of processors so far.
    pub fn processor_time(&self) -> anyhow::Result<Duration> {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // Behind the name, which may hold anything, user and system time are the 12th and 13th fields.
        let (_, fields) = text.rsplit_once(')').context("no name in stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 1000 / TICKS))
    }

    /// Bytes of its memory that a limit on data counts.
    pub fn data_size(&self) -> anyhow::Result<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmData:"));
        let size = line.and_then(|line| line.split_whitespace().next());
        Ok(size.context("no VmData in status")?.parse::<u64>()? * 1024)
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
