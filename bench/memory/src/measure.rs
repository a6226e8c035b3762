//! What a process keeps in memory, and what the operator has sent, by what they say themselves.

use std::net::SocketAddr;

use anyhow::Context as _;
use rustix::process::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Memory in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// All that is resident.
    pub resident: u64,
    /// Of it, what belongs to no file: the program's own data.
    pub anonymous: u64,
}

/// Memory of a process now.
///
/// # Errors
/// When there is no such process.
pub fn memory(pid: Pid) -> anyhow::Result<Memory> {
    let path = format!("/proc/{}/status", pid.as_raw_nonzero());
    let status = std::fs::read_to_string(&path).context(path)?;
    of_status(&status).context("a process without memory")
}

fn of_status(status: &str) -> Option<Memory> {
    let value = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some(Memory {
        resident: value("VmRSS:")?,
        anonymous: value("RssAnon:")?,
    })
}

/// What an HTTP server answers.
///
/// # Errors
/// When there is none.
pub async fn get(server: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(server).await?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {server}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

/// The sum of all series of a metric.
pub fn sum(metrics: &str, name: &str) -> u64 {
    let of_metric = |line: &&str| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']))
    };
    let values = metrics.lines().filter(of_metric).filter_map(|line| {
        let (_, value) = line.rsplit_once(' ')?;
        value.parse::<u64>().ok()
    });
    values.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_the_kernel_writes_it() {
        let status = "Name:\tproxy\nVmRSS:\t    7120 kB\nRssAnon:\t    2044 kB\nRssFile:\t    5076 kB\n";
        let expected = Memory {
            resident: 7120,
            anonymous: 2044,
        };
        assert_eq!(of_status(status), Some(expected));
    }

    #[test]
    fn a_metric_is_the_sum_of_its_series_and_of_no_other() {
        let text = "# TYPE sent counter\nsent{kind=\"policy\"} 3\nsent{kind=\"address\"} 4\nsent_more 8\n";
        assert_eq!(sum(text, "sent"), 7);
    }
}
