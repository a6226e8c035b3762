//! An open loop: requests begin when they are due, whatever became of those before.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::JoinSet;

use super::exchange::Exchange;
use super::{Schedule, Stop, send};

/// Connections that are open at once at most: 1,000 requests a second of which each waits for 5 s.
const MOST_OPEN: usize = 6000;

/// Idle connections, of which the one that was idle for the longest comes first, so that all are used alike.
type Idle = Arc<Mutex<VecDeque<Exchange>>>;

/// Sends what the schedule has, and waits for every answer.
pub(super) async fn run(
    exchange: &Exchange,
    connections: u32,
    schedule: &Arc<Schedule>,
    stop: &Stop,
) -> anyhow::Result<()> {
    let idle: Idle = Arc::default();
    idle.lock().extend((0..connections).map(|_| exchange.clone()));
    let mut open = JoinSet::new();
    while let Some(due) = schedule.take() {
        tokio::select! {
            () = stop.token.cancelled() => break,
            () = tokio::time::sleep_until(due) => {}
        }
        while let Some(ended) = open.try_join_next() {
            ended?;
        }
        if open.len() >= MOST_OPEN {
            anyhow::bail!(
                "{MOST_OPEN} requests are open at once: the rate is too high for this load to stay open"
            );
        }
        let taken = idle.lock().pop_front();
        let mut taken = taken.unwrap_or_else(|| exchange.clone());
        let (idle, schedule, stop) = (Arc::clone(&idle), Arc::clone(schedule), stop.clone());
        open.spawn(async move {
            send(&mut taken, due, &schedule, &stop).await;
            idle.lock().push_back(taken);
        });
    }
    while let Some(ended) = open.join_next().await {
        ended?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;
    use tokio::net::TcpListener;

    use crate::args::{Cli, Command};
    use crate::load::{Stop, run};

    /// Answers nobody before so many have come, and then breaks off with all.
    async fn waits_for_everybody(listener: TcpListener, callers: usize) {
        let mut open = Vec::new();
        while open.len() < callers {
            open.extend(listener.accept().await);
        }
    }

    #[tokio::test]
    async fn requests_begin_when_they_are_due_although_none_before_was_answered() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("--url=http://{}/", listener.local_addr().unwrap());
        let server = tokio::spawn(waits_for_everybody(listener, 10));
        let cli = [
            "testapp",
            "load",
            &url,
            "--open-loop",
            "--rate=1000",
            "--requests=10",
            "--connections=2",
            "--timeout-ms=60000",
        ];
        let Command::Load(options) = Cli::parse_from(cli).command else {
            panic!("that is a load");
        };
        let report = run(&options, &Stop::default()).await.unwrap();
        server.await.unwrap();
        assert_eq!((report.requests, report.connections), (10, 10));
        assert_eq!(report.failures[0].kind, "broken");
    }
}
