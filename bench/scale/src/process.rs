//! What a process uses, by what the kernel counts.

use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Pid;

/// Ticks of a second in `/proc/PID/stat` (USER_HZ, 100 on every architecture that runs Linux).
const TICKS: f64 = 100.0;

/// Memory in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident now.
    pub now: u64,
    /// Resident at most since the last [`forget_peak`].
    pub peak: u64,
}

/// Time on a processor so far.
///
/// # Errors
/// When there is no such process.
pub fn processor_time(pid: Pid) -> anyhow::Result<Duration> {
    let path = format!("/proc/{}/stat", pid.as_raw_nonzero());
    let stat = std::fs::read_to_string(&path).context(path)?;
    // The name may hold spaces; what follows its closing bracket does not. utime and stime are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')').context("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks = ticks.map(str::parse::<f64>).sum::<Result<f64, _>>()?;
    Ok(Duration::from_secs_f64(ticks / TICKS))
}

/// Memory that is resident.
///
/// # Errors
/// When there is no such process.
pub fn memory(pid: Pid) -> anyhow::Result<Memory> {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = std::fs::read_to_string(&path).context(path)?;
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Ok(Memory {
        now: value("VmRSS:").context("no VmRSS")?,
        peak: value("VmHWM:").context("no VmHWM")?,
    })
}

/// Begins to count the peak anew (`proc_pid_clear_refs(5)`).
///
/// # Errors
/// When there is no such process.
pub fn forget_peak(pid: Pid) -> anyhow::Result<()> {
    Ok(std::fs::write(
        format!("/proc/{}/clear_refs", pid.as_raw_nonzero()),
        "5",
    )?)
}
