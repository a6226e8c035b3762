//! A world with an operator in it, and the run that all others are compared with.

use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use serde_json::Value;

use crate::apifault::Entry;
use crate::process::Process;
use crate::scenario::{self, Stage};
use crate::snapshot::Snapshot;
use crate::world::{Replica, World, tail};

/// How long nothing must be written until a stage counts as over. The authority's status may come five seconds late.
const QUIET: Duration = Duration::from_secs(6);
/// How long a stage of the reference run may take.
const SETTLES_WITHIN: Duration = Duration::from_secs(90);
/// How long the operator may take to converge.
pub const CONVERGES_WITHIN: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// A world with an operator.
pub struct Session {
    /// The API server and the proxy.
    pub world: World,
    /// The operator; `None` while it is down.
    pub operator: Option<Process>,
    /// How often it was killed by the proxy.
    pub kills: u64,
}

/// One stage as it went.
#[derive(Clone, Debug)]
pub struct Part {
    /// Which.
    pub stage: Stage,
    /// What there was at its end.
    pub end: Snapshot,
    /// What was written in it, in order.
    pub writes: Vec<String>,
}

/// The run without faults.
#[derive(Clone, Debug)]
pub struct Reference {
    /// Every stage.
    pub parts: Vec<Part>,
}

impl Reference {
    /// How much was written in all.
    pub fn writes(&self) -> usize {
        self.parts.iter().map(|part| part.writes.len()).sum()
    }
}

/// How a stage went whose end was known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reached {
    /// From the last kill, or else from when all of the stage had been played, to the end state.
    pub after: Duration,
    /// How often the operator was killed.
    pub kills: u64,
}

impl Session {
    /// In a world that was started.
    pub fn new(world: World) -> Self {
        Self {
            world,
            operator: None,
            kills: 0,
        }
    }

    /// Back to before the operator ever ran.
    pub async fn reset(&mut self) -> anyhow::Result<()> {
        self.stop();
        self.world.fault.calm();
        scenario::reset(&self.world.api).await
    }

    /// Starts the operator.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.kills = *self.world.fault.killed().borrow();
        self.operator = Some(self.world.operator(Replica::First)?);
        Ok(())
    }

    /// Kills the operator.
    pub fn stop(&mut self) {
        self.world.fault.set_victim(None);
        self.operator = None;
    }

    /// Kills it, and starts it again as if the time of its Lease were over.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        self.stop();
        self.world.release_lease().await?;
        self.start()
    }

    /// Starts the operator again after the proxy killed it. One that ended by itself is a failure.
    async fn revive(&mut self) -> anyhow::Result<bool> {
        let killed = *self.world.fault.killed().borrow();
        if killed > self.kills {
            self.restart().await?;
            return Ok(true);
        }
        if let Some(operator) = &mut self.operator {
            ensure!(
                operator.lives(),
                "the operator ended by itself: {}",
                tail(&operator.log())
            );
        }
        Ok(false)
    }

    /// Waits until nothing was written for a while.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        let start = Instant::now();
        let mark = self.world.fault.mark();
        loop {
            tokio::time::sleep(LOOK).await;
            self.revive().await?;
            let last = self
                .world
                .fault
                .writes_since(mark)
                .last()
                .map_or(start, |entry| entry.at);
            if last.elapsed() > QUIET {
                return Ok(());
            }
            ensure!(
                start.elapsed() < SETTLES_WITHIN,
                "it is still written: {}",
                self.recent()
            );
        }
    }

    fn recent(&self) -> String {
        let writes = self.world.fault.writes_since(0);
        let last = writes.get(writes.len().saturating_sub(5)..).unwrap_or_default();
        last.iter()
            .map(|entry| entry.call.to_string())
            .collect::<Vec<_>>()
            .join("; ")
    }

    /// Plays everything without a fault.
    pub async fn reference(&mut self) -> anyhow::Result<Reference> {
        self.reset().await?;
        let mut parts = Vec::new();
        for stage in Stage::ALL {
            let mark = self.world.fault.mark();
            if stage == Stage::Install {
                self.start()?;
            }
            stage.play(&self.world.api).await?;
            self.settle().await?;
            parts.push(Part {
                stage,
                end: Snapshot::take(&self.world.api).await?,
                writes: self.written_since(mark),
            });
        }
        Ok(Reference { parts })
    }

    /// What was written since then, each write by its name; of the writes about who leads only the first.
    pub fn written_since(&self, mark: usize) -> Vec<String> {
        let mut elected = false;
        let all = self
            .world
            .fault
            .since(mark)
            .into_iter()
            .filter(|entry| entry.call.is_write());
        let counted = all.filter(|entry| {
            let again = entry.call.is_election() && elected;
            elected |= entry.call.is_election();
            !again
        });
        counted.map(|entry| entry.call.to_string()).collect()
    }

    /// Plays a stage, and waits until the cluster is as the reference run left it. The operator is started again
    /// whenever the proxy killed it.
    pub async fn reach(&mut self, part: &Part, limit: Duration) -> anyhow::Result<Reached> {
        if part.stage == Stage::Install {
            self.start()?;
        }
        let api = self.world.api.clone();
        let mut play = Box::pin(part.stage.play(&api));
        let mut start = Instant::now();
        let mut reached = Reached::default();
        let mut played = false;
        loop {
            tokio::select! {
                done = &mut play, if !played => {
                    done?;
                    played = true;
                    start = Instant::now();
                }
                () = tokio::time::sleep(LOOK) => {}
            }
            if self.revive().await? {
                reached.kills += 1;
                start = Instant::now();
            }
            if !played {
                continue;
            }
            let different = Snapshot::take(&api).await?.differs_from(&part.end);
            if different.is_empty() {
                reached.after = start.elapsed();
                return Ok(reached);
            }
            if start.elapsed() > limit {
                bail!(
                    "stage {} does not end as in the reference run after {} s:\n  {}",
                    part.stage.word(),
                    limit.as_secs(),
                    different.join("\n  ")
                );
            }
        }
    }

    /// Waits for a kill that may still come, and for the operator to put right what it left.
    pub async fn await_kill(&mut self, part: &Part, time: Duration) -> anyhow::Result<Option<Reached>> {
        let start = Instant::now();
        while start.elapsed() < time {
            if self.revive().await? {
                let start = Instant::now();
                loop {
                    let different = Snapshot::take(&self.world.api).await?.differs_from(&part.end);
                    if different.is_empty() {
                        let after = start.elapsed();
                        return Ok(Some(Reached { after, kills: 1 }));
                    }
                    ensure!(
                        start.elapsed() < CONVERGES_WITHIN,
                        "not as before: {}",
                        different.join("\n  ")
                    );
                    tokio::time::sleep(LOOK).await;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
        Ok(None)
    }
}

/// Revisions must never go back: checks every policy that was written to a ConfigMap and taken.
pub fn revisions_rise(entries: &[Entry]) -> Result<(), String> {
    let mut highest: std::collections::BTreeMap<String, (u64, u64)> = std::collections::BTreeMap::new();
    for entry in entries {
        if entry.call.kind != "configmaps" || entry.code.is_none_or(|code| code >= 300) {
            continue;
        }
        let Some(revision) = revision_in(&entry.body) else {
            continue;
        };
        let key = format!("{}/{}", entry.call.namespace, entry.call.name);
        let before = highest.entry(key.clone()).or_default();
        if revision < *before {
            return Err(format!("{key} went back from {before:?} to {revision:?}"));
        }
        *before = revision;
    }
    Ok(())
}

fn revision_in(body: &[u8]) -> Option<(u64, u64)> {
    let map: Value = serde_json::from_slice(body).ok()?;
    let policy: Value = serde_json::from_str(map["data"]["policy.json"].as_str()?).ok()?;
    let (term, counter) = policy["revision"].as_str()?.split_once('.')?;
    Some((term.parse().ok()?, counter.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::Method;

    use super::*;
    use crate::call::Call;

    fn write(revision: &str) -> Entry {
        let policy = serde_json::json!({ "revision": revision }).to_string();
        Entry {
            at: Instant::now(),
            call: Call::of(
                &Method::PATCH,
                &"/api/v1/namespaces/shop/configmaps/smilax-web".parse().unwrap(),
            ),
            code: Some(200),
            body: Bytes::from(serde_json::json!({"data": {"policy.json": policy}}).to_string()),
        }
    }

    #[test]
    fn a_revision_that_goes_back_is_found() {
        assert!(revisions_rise(&[write("2.9"), write("2.10"), write("3.1")]).is_ok());
        assert!(revisions_rise(&[write("2.10"), write("2.9")]).is_err());
    }
}
