//! What a process uses, by what Linux says of it.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Pid;
use smilax_chaos::process::Process;

use crate::figures::round;

/// Resident memory in MiB now, and the most since [`forget_peak`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Resident {
    /// Now.
    pub now: f64,
    /// The most.
    pub peak: f64,
}

/// Resident memory of a process.
///
/// # Errors
/// When there is no such process.
pub fn resident(pid: Pid) -> anyhow::Result<Resident> {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = std::fs::read_to_string(&path).context(path)?;
    of_status(&status).context("a process without memory")
}

/// Lets the most memory be what there is now.
///
/// # Errors
/// When there is no such process.
pub fn forget_peak(pid: Pid) -> anyhow::Result<()> {
    let path = format!("/proc/{}/clear_refs", pid.as_raw_nonzero());
    std::fs::write(&path, "5").context(path)
}

/// Seconds of processor time that a process used so far.
///
/// # Errors
/// When there is no such process.
pub fn processor_seconds(process: &Process) -> anyhow::Result<f64> {
    Ok(round(process.processor_time()?.as_secs_f64()))
}

/// As much for a time as was used in another.
pub fn scaled(used: f64, over: Duration, to: Duration) -> f64 {
    round(used * to.as_secs_f64() / over.as_secs_f64())
}

fn of_status(status: &str) -> Option<Resident> {
    let mebibytes = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        let kibibytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(round(kibibytes / 1024.0))
    };
    Some(Resident {
        now: mebibytes("VmRSS:")?,
        peak: mebibytes("VmHWM:")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tproxy\nVmHWM:\t   20480 kB\nVmRSS:\t    7168 kB\n";
        let expected = Resident { now: 7.0, peak: 20.0 };
        assert_eq!(of_status(status), Some(expected));
    }

    #[test]
    fn use_is_compared_over_equal_times() {
        let (short, long) = (Duration::from_secs(4), Duration::from_secs(6));
        assert!((scaled(1.0, short, long) - 1.5).abs() < f64::EPSILON);
    }
}
