//! The experiments, by the ids of the matrix of faults.

mod configurations;
mod crash;
mod invalid;
mod leaders;
mod noise;
mod outages;
mod quiet;
mod refusals;
mod resources;
mod scale;
mod versions;
mod watches;

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::api::Api;
use crate::objects;
use crate::process::Process;
use crate::scenario::Stage;
use crate::session::{CONVERGES_WITHIN, Part, Reference, Session};
use crate::snapshot::Snapshot;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// What an experiment says: figures, or what went wrong.
pub type Said<'a> = Pin<Box<dyn Future<Output = anyhow::Result<String>> + 'a>>;

/// What an experiment works with.
pub struct Bench {
    /// The world.
    pub session: Session,
    /// The run without faults.
    pub reference: Reference,
    /// What chance is drawn from.
    pub seed: u64,
    /// Whether waits are as long as the matrix says.
    pub length: Length,
}

impl Bench {
    /// Everything anew, up to the end of this stage.
    async fn at(&mut self, stage: Stage) -> anyhow::Result<()> {
        self.session.reset().await?;
        for part in self.reference.parts.clone() {
            if part.stage <= stage {
                self.session.reach(&part, CONVERGES_WITHIN).await?;
            }
        }
        Ok(())
    }

    /// A stage as the reference run left it.
    fn part(&self, stage: Stage) -> anyhow::Result<Part> {
        let found = self.reference.parts.iter().find(|part| part.stage == stage);
        found.cloned().context("the reference run has no such stage")
    }

    /// A time, or a shorter one that stands for it.
    fn time(&self, short: Duration, full: Duration) -> Duration {
        match self.length {
            Length::Short => short,
            Length::Full => full,
        }
    }

    fn api(&self) -> Api {
        self.session.world.api.clone()
    }

    /// Makes a change that must reach a configuration, and waits until it has.
    async fn change_arrives(&mut self, marker: &str, limit: Duration) -> anyhow::Result<Duration> {
        let api = self.api();
        api.apply(objects::group("shop", "pages", &format!("/{marker}")))
            .await?;
        until(limit, "the configuration of web holds the change", || async {
            Ok(policy(&api, "smilax-web").await?.contains(marker))
        })
        .await
    }

    /// Waits until the cluster is as it was.
    async fn returns_to(&mut self, wanted: &Snapshot, limit: Duration) -> anyhow::Result<Duration> {
        let start = Instant::now();
        loop {
            let different = Snapshot::take(&self.api()).await?.differs_from(wanted);
            if different.is_empty() {
                return Ok(start.elapsed());
            }
            ensure!(
                start.elapsed() < limit,
                "after {} s: {}",
                limit.as_secs(),
                different.join("\n  ")
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The one process that ran all the time.
    fn same_process(&mut self) -> anyhow::Result<()> {
        let lives = self.session.operator.as_mut().is_some_and(Process::lives);
        ensure!(lives, "the operator ended by itself");
        Ok(())
    }
}

/// Waits for something, and says how long it took.
async fn until<F>(limit: Duration, what: &str, mut look: impl FnMut() -> F) -> anyhow::Result<Duration>
where
    F: Future<Output = anyhow::Result<bool>>,
{
    let start = Instant::now();
    while !look().await? {
        ensure!(
            start.elapsed() < limit,
            "after {} s it is not so that {what}",
            limit.as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
    Ok(start.elapsed())
}

/// Text of the policy in a ConfigMap of the namespace shop; empty when there is none.
async fn policy(api: &Api, name: &str) -> anyhow::Result<String> {
    let map = api.get(&map_path(name)).await?.unwrap_or_default();
    Ok(map["data"]["policy.json"].as_str().unwrap_or_default().to_owned())
}

fn map_path(name: &str) -> String {
    format!("/api/v1/namespaces/shop/configmaps/{name}")
}

/// The condition of an object's status, or nothing.
fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"]
        .as_array()?
        .iter()
        .find(|one| one["type"] == kind)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// How long an experiment waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Minutes are shortened to seconds.
    Short,
    /// As the matrix says.
    Full,
}

/// An experiment.
pub struct Experiment {
    /// Its id.
    pub id: &'static str,
    /// What happens.
    pub what: &'static str,
    /// Does it.
    pub run: for<'a> fn(&'a mut Bench) -> Said<'a>,
}

/// All of them, in the order in which they run.
pub const ALL: &[Experiment] = &[
    Experiment {
        id: "R1",
        what: "killed before and after every write",
        run: |bench| Box::pin(crash::r1(bench)),
    },
    Experiment {
        id: "R2",
        what: "killed before the first status, after the first ConfigMap",
        run: |bench| Box::pin(crash::r2(bench)),
    },
    Experiment {
        id: "noise",
        what: "delays, cuts, repetitions, 409, 410, 429 and 500 by a seed",
        run: |bench| Box::pin(noise::noise(bench)),
    },
    Experiment {
        id: "R3",
        what: "lists of before, after an object was made anew under its name",
        run: |bench| Box::pin(watches::r3(bench)),
    },
    Experiment {
        id: "R4",
        what: "events lost until the next list, repeated, out of order",
        run: |bench| Box::pin(watches::r4(bench)),
    },
    Experiment {
        id: "R5",
        what: "every watch ends with 410",
        run: |bench| Box::pin(watches::r5(bench)),
    },
    Experiment {
        id: "R6",
        what: "lists and watches answered with 504, too large resource version",
        run: |bench| Box::pin(watches::r6(bench)),
    },
    Experiment {
        id: "R7",
        what: "409 to every write; another writer in our objects",
        run: |bench| Box::pin(refusals::r7(bench)),
    },
    Experiment {
        id: "R8",
        what: "429 and 503 to everything",
        run: |bench| Box::pin(refusals::r8(bench)),
    },
    Experiment {
        id: "R9",
        what: "the API server is away",
        run: |bench| Box::pin(outages::r9(bench)),
    },
    Experiment {
        id: "R12",
        what: "the leader is stopped for longer than its Lease, and goes on",
        run: |bench| Box::pin(leaders::r12(bench)),
    },
    Experiment {
        id: "R13",
        what: "the leader is killed; the leader is asked to go",
        run: |bench| Box::pin(leaders::r13(bench)),
    },
    Experiment {
        id: "R16",
        what: "caBundles overwritten",
        run: |bench| Box::pin(configurations::r16(bench)),
    },
    Experiment {
        id: "R19",
        what: "the authority's Secret deleted, and damaged",
        run: |bench| Box::pin(configurations::r19(bench)),
    },
    Experiment {
        id: "R20",
        what: "ConfigMaps deleted, edited, cut, emptied",
        run: |bench| Box::pin(configurations::r20(bench)),
    },
    Experiment {
        id: "R21",
        what: "configurations of about a megabyte",
        run: |bench| Box::pin(scale::r21(bench)),
    },
    Experiment {
        id: "R24",
        what: "nothing happens",
        run: |bench| Box::pin(quiet::r24(bench)),
    },
    Experiment {
        id: "R25",
        what: "changes that change nothing",
        run: |bench| Box::pin(quiet::r25(bench)),
    },
    Experiment {
        id: "R27",
        what: "objects deleted while the operator is down, and a namespace",
        run: |bench| Box::pin(outages::r27(bench)),
    },
    Experiment {
        id: "R29",
        what: "a right is taken away and given back",
        run: |bench| Box::pin(refusals::r29(bench)),
    },
    Experiment {
        id: "R30",
        what: "stored versions go down and up, conversion is away",
        run: |bench| Box::pin(versions::r30(bench)),
    },
    Experiment {
        id: "R33",
        what: "no file descriptors, and then no memory",
        run: |bench| Box::pin(resources::r33(bench)),
    },
    Experiment {
        id: "R34",
        what: "a quota lets no ConfigMap be made",
        run: |bench| Box::pin(resources::r34(bench)),
    },
    Experiment {
        id: "R26",
        what: "invalid values in every field of every kind, then back",
        run: |bench| Box::pin(invalid::r26(bench)),
    },
    // Last, for what it leaves behind.
    Experiment {
        id: "R23",
        what: "1,000 objects at once, 1,000 namespaces",
        run: |bench| Box::pin(scale::r23(bench)),
    },
];
