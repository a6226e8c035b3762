//! Cgroups of version 1 or 2, whichever this machine has.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

const ROOT: &str = "/sys/fs/cgroup";
/// Microseconds that a quota of processor time is for.
const PERIOD: u64 = 100_000;

/// What processes may use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory; `None` without a limit.
    pub memory: Option<u64>,
    /// Processors; `None` without a limit.
    pub processors: Option<u64>,
}

/// When processes get processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Priority {
    /// As others.
    Usual,
    /// When nobody else needs it.
    Spare,
}

/// A cgroup; it is removed with this.
#[derive(Debug)]
pub struct Cgroup {
    /// Its folder for each controller: one of version 2.
    folders: Vec<(Controller, PathBuf)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Controller {
    Unified,
    Memory,
    Cpu,
}

impl Controller {
    fn root(self) -> PathBuf {
        match self {
            Self::Unified => PathBuf::from(ROOT),
            Self::Memory => Path::new(ROOT).join("memory"),
            Self::Cpu => Path::new(ROOT).join("cpu"),
        }
    }
}

impl Cgroup {
    /// Makes one of this name.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn make(name: &str, limits: Limits, priority: Priority) -> anyhow::Result<Self> {
        let unified = Path::new(ROOT).join("cgroup.controllers").exists();
        let controllers: &[Controller] = if unified {
            write(&Path::new(ROOT).join("cgroup.subtree_control"), "+cpu +memory")?;
            &[Controller::Unified]
        } else {
            &[Controller::Memory, Controller::Cpu]
        };
        let mut cgroup = Self { folders: Vec::new() };
        for &controller in controllers {
            let folder = controller.root().join(name);
            std::fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
            cgroup.folders.push((controller, folder.clone()));
            for (file, value) in settings(controller, limits, priority) {
                write(&folder.join(file), &value)?;
            }
        }
        Ok(cgroup)
    }

    /// Makes what comes next on this command line run in it.
    pub fn enter(&self, command: &mut Command) {
        command.args(["sh", "-c", &self.script(""), "sh"]);
    }

    /// The same, with `/sys/fs/cgroup` as a container sees it: its own. The command must be in a mount namespace of its own.
    pub fn enter_as_container(&self, command: &mut Command) {
        let mounts = self.folders.iter().map(|(controller, folder)| {
            let (folder, root) = (folder.display(), controller.root());
            format!("mount --bind {folder} {} && ", root.display())
        });
        command.args(["sh", "-c", &self.script(&mounts.collect::<String>()), "sh"]);
    }

    fn script(&self, mounts: &str) -> String {
        let enter = self.folders.iter().map(|(_, folder)| {
            let folder = folder.display();
            format!("echo $$ >{folder}/cgroup.procs && ")
        });
        enter.collect::<String>() + mounts + "exec \"$@\""
    }

    /// Takes a process in.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn take_in(&self, process: rustix::process::Pid) -> anyhow::Result<()> {
        for (_, folder) in &self.folders {
            write(
                &folder.join("cgroup.procs"),
                &process.as_raw_nonzero().to_string(),
            )?;
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for (_, folder) in &self.folders {
            // A process that is still in it keeps it.
            let _ = std::fs::remove_dir(folder);
        }
    }
}

fn settings(controller: Controller, limits: Limits, priority: Priority) -> Vec<(&'static str, String)> {
    let mut settings = Vec::new();
    let quota = limits.processors.map(|processors| processors * PERIOD);
    match controller {
        Controller::Unified => {
            settings.extend(limits.memory.map(|bytes| ("memory.max", bytes.to_string())));
            settings.extend(quota.map(|quota| ("cpu.max", format!("{quota} {PERIOD}"))));
        }
        Controller::Memory => {
            let limit = limits
                .memory
                .map(|bytes| ("memory.limit_in_bytes", bytes.to_string()));
            settings.extend(limit);
        }
        Controller::Cpu => settings.extend(quota.map(|quota| ("cpu.cfs_quota_us", quota.to_string()))),
    }
    if priority == Priority::Spare && controller != Controller::Memory {
        settings.push(("cpu.idle", "1".to_owned()));
    }
    settings
}

fn write(file: &Path, value: &str) -> anyhow::Result<()> {
    std::fs::write(file, value).with_context(|| format!("{value} cannot be written to {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        memory: Some(1024),
        processors: Some(2),
    };

    #[test]
    fn limits_are_written_as_either_version_wants_them() {
        let of = |controller| settings(controller, LIMITS, Priority::Usual);
        assert_eq!(
            of(Controller::Unified),
            [("memory.max", "1024".into()), ("cpu.max", "200000 100000".into())]
        );
        assert_eq!(of(Controller::Memory), [("memory.limit_in_bytes", "1024".into())]);
        assert_eq!(of(Controller::Cpu), [("cpu.cfs_quota_us", "200000".into())]);
    }

    #[test]
    fn who_gets_spare_time_is_idle_to_the_scheduler() {
        let of = |controller| settings(controller, Limits::default(), Priority::Spare);
        assert_eq!(of(Controller::Unified), [("cpu.idle", "1".into())]);
        assert_eq!(of(Controller::Cpu), [("cpu.idle", "1".into())]);
        assert_eq!(of(Controller::Memory), []);
    }
}
