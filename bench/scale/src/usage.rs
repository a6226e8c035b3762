//! Who uses the processors: all of them share the same ones.

use std::time::Duration;

use rustix::process::Pid;

use crate::process::processor_time;

/// The processes that take part.
#[derive(Clone, Debug)]
pub struct Parties {
    /// What is measured.
    pub operator: Pid,
    /// API server and etcd.
    pub servers: Vec<Pid>,
    /// Whole proxies.
    pub proxies: Vec<Pid>,
}

/// Their time on a processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The operator's.
    pub operator: Duration,
    /// The API server's and etcd's.
    pub servers: Duration,
    /// That of the light clients, which are this process.
    pub clients: Duration,
    /// That of whole proxies.
    pub proxies: Duration,
}

impl Parties {
    /// So far.
    ///
    /// # Errors
    /// When one of them has ended.
    pub fn usage(&self) -> anyhow::Result<Usage> {
        let sum = |pids: &[Pid]| {
            let times = pids.iter().map(|&pid| processor_time(pid));
            times.sum::<anyhow::Result<Duration>>()
        };
        Ok(Usage {
            operator: processor_time(self.operator)?,
            servers: sum(&self.servers)?,
            clients: processor_time(rustix::process::getpid())?,
            proxies: sum(&self.proxies)?,
        })
    }
}

impl Usage {
    /// Of all of them.
    pub fn all(&self) -> Duration {
        self.operator + self.servers + self.clients + self.proxies
    }

    /// What was used since then.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            operator: self.operator.saturating_sub(before.operator),
            servers: self.servers.saturating_sub(before.servers),
            clients: self.clients.saturating_sub(before.clients),
            proxies: self.proxies.saturating_sub(before.proxies),
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            operator: self.operator + other.operator,
            servers: self.servers + other.servers,
            clients: self.clients + other.clients,
            proxies: self.proxies + other.proxies,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_meanwhile_is_told_for_each_party() {
        let of = |millis: [u64; 4]| {
            let [operator, servers, clients, proxies] = millis.map(Duration::from_millis);
            Usage {
                operator,
                servers,
                clients,
                proxies,
            }
        };
        let meanwhile = of([5, 7, 9, 11]).since(&of([1, 2, 3, 4]));
        assert_eq!(meanwhile, of([4, 5, 6, 7]));
        assert_eq!(meanwhile.and(&of([1, 1, 1, 1])).all(), Duration::from_millis(26));
    }
}
