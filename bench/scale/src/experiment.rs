//! What is done to the mesh, and how long it takes until it is known everywhere.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, Instant};

use smilax_chaos::api::Api;
use smilax_chaos::world::say;
use tokio::sync::watch;

use crate::board::{Board, Heard};
use crate::mesh::Shape;
use crate::process;
use crate::usage::Parties;
use crate::whole::WholeProxies;

/// How long anything may take at most before the experiment is given up.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// Nothing is heard for so long before the next change is made.
const QUIET: Duration = Duration::from_millis(700);

/// What a while cost.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// How long it was.
    pub time: Duration,
    /// Time of the operator on a processor.
    pub processor: Duration,
    /// Resident memory of the operator at its end, and at most meanwhile.
    pub memory: process::Memory,
    /// What clients heard.
    pub heard: BTreeMap<&'static str, Heard>,
    /// What was written to the API server by everybody, by resource, leases left out.
    pub writes: BTreeMap<String, u64>,
    /// Changes that were made.
    pub changes: u64,
}

/// A mesh with clients.
pub struct Experiment<'a> {
    /// The API server.
    pub api: &'a Api,
    /// What the clients hear.
    pub board: &'a Board,
    /// The size.
    pub shape: Shape,
    /// Who shares the processors.
    pub parties: Parties,
    /// Proxies that are processes.
    pub whole: &'a WholeProxies,
    /// Lets all clients go and come back.
    pub cut: &'a watch::Sender<u64>,
}

impl Experiment<'_> {
    /// Waits until nothing is heard for a while.
    pub async fn quiet(&self) {
        let mut before = self.board.totals();
        loop {
            tokio::time::sleep(QUIET).await;
            let now = self.board.totals();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// All clients leave and come back at once. How long until the last is in step.
    pub async fn reconnect(&self) -> anyhow::Result<(Duration, Cost)> {
        self.quiet().await;
        self.board.take_failures();
        let mut took = Duration::ZERO;
        let cost = self
            .while_counting(async {
                let start = Instant::now();
                self.cut.send_modify(|count| *count += 1);
                // They are gone before they are back.
                while self.board.in_step() > self.shape.light() / 2 && start.elapsed() < QUIET {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                let last = self.board.until_synced(self.shape.light(), PATIENCE).await?;
                took = last.saturating_duration_since(start);
                Ok(1)
            })
            .await?;
        say(&format!(
            "reconnected in {took:.2?}: {:?}",
            self.board.take_failures()
        ));
        Ok((took, cost))
    }

    /// Nothing happens.
    pub async fn idle(&self, time: Duration) -> anyhow::Result<Cost> {
        self.quiet().await;
        say(&format!("left before idling: {:?}", self.board.take_failures()));
        let cost = self
            .while_counting(async {
                tokio::time::sleep(time).await;
                Ok(0)
            })
            .await;
        say(&format!("left while idling: {:?}", self.board.take_failures()));
        cost
    }

    pub(crate) async fn while_counting(
        &self,
        work: impl Future<Output = anyhow::Result<u64>>,
    ) -> anyhow::Result<Cost> {
        let (heard, writes) = (self.board.totals(), writes(self.api).await?);
        process::forget_peak(self.parties.operator)?;
        let (start, processor) = (Instant::now(), process::processor_time(self.parties.operator)?);
        let changes = work.await?;
        let processor = process::processor_time(self.parties.operator)?.saturating_sub(processor);
        let time = start.elapsed();
        let memory = process::memory(self.parties.operator)?;
        let mut cost = Cost {
            time,
            processor,
            memory,
            changes,
            heard: self.board.totals(),
            writes: self::writes(self.api).await?,
        };
        for (kind, now) in &mut cost.heard {
            let before = heard.get(kind).copied().unwrap_or_default();
            now.messages -= before.messages;
            now.bytes -= before.bytes;
        }
        for (resource, now) in &mut cost.writes {
            *now -= writes.get(resource).copied().unwrap_or_default();
        }
        cost.writes.retain(|_, count| *count > 0);
        say(&format!("{cost:?}"));
        Ok(cost)
    }
}

/// Writes that the API server has served so far, by resource, leases left out.
async fn writes(api: &Api) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut writes = BTreeMap::new();
    for line in api.text("/metrics").await?.lines() {
        let Some(labels) = line.strip_prefix("apiserver_request_total{") else {
            continue;
        };
        let label = |name: &str| {
            let (_, rest) = labels.split_once(&format!("{name}=\""))?;
            rest.split_once('"').map(|(value, _)| value)
        };
        let (verb, resource) = (label("verb"), label("resource"));
        let (Some(verb), Some(resource)) = (verb, resource) else {
            continue;
        };
        // A question that is sent by POST writes nothing.
        let asks = resource.ends_with("reviews");
        if !matches!(verb, "POST" | "PUT" | "PATCH" | "APPLY" | "DELETE") || resource == "leases" || asks {
            continue;
        }
        let count = line
            .rsplit_once(' ')
            .and_then(|(_, count)| count.parse::<f64>().ok());
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a counter of writes"
        )]
        let count = count.unwrap_or_default() as u64;
        *writes.entry(resource.to_owned()).or_default() += count;
    }
    Ok(writes)
}
