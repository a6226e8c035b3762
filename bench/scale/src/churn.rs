//! Pods that come and go all the time.

use std::time::{Duration, Instant};

use serde_json::json;
use smilax_chaos::api::{Api, Place};

use crate::board::Expected;
use crate::experiment::{Cost, Experiment, PATIENCE};
use crate::lag::millis;
use crate::mesh::{self, FIRST, SHARED, Shape};

/// Between two changes whose way is measured.
const PROBE: Duration = Duration::from_millis(500);

/// What a while of changes cost, and how long one of them took to everybody.
#[derive(Clone, Debug, Default)]
pub struct Storm {
    /// All of it.
    pub cost: Cost,
    /// From sending the write of an endpoint of the Service that all use to the last client, in ms, in order.
    pub last: Vec<f64>,
}

impl Experiment<'_> {
    /// Pods that become not Ready and Ready again, so many a second, each with the slice of one of its Services.
    pub async fn churn(&self, rate: u32, time: Duration) -> anyhow::Result<Cost> {
        self.quiet().await;
        self.while_counting(self.flips(rate, time)).await
    }

    /// The same, and meanwhile an endpoint that concerns everybody, again and again.
    pub async fn storm(&self, rate: u32, time: Duration) -> anyhow::Result<Storm> {
        self.quiet().await;
        let mut last = Vec::new();
        let cost = self
            .while_counting(async {
                let (changes, ()) = tokio::try_join!(self.flips(rate, time), self.probes(time, &mut last))?;
                Ok(changes)
            })
            .await?;
        last.sort_by(f64::total_cmp);
        Ok(Storm { cost, last })
    }

    async fn flips(&self, rate: u32, time: Duration) -> anyhow::Result<u64> {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        let changes = u64::from(rate) * time.as_secs();
        let mut under_way = tokio::task::JoinSet::new();
        for change in 0..changes {
            ticks.tick().await;
            let number = usize::try_from(change)?;
            under_way.spawn(flip(self.api.clone(), self.shape, number));
            while let Some(done) = under_way.try_join_next() {
                done??;
            }
        }
        while let Some(done) = under_way.join_next().await {
            done??;
        }
        Ok(changes)
    }

    async fn probes(&self, time: Duration, last: &mut Vec<f64>) -> anyhow::Result<()> {
        let port = mesh::port_of(FIRST, SHARED);
        let pods = self.shape.behind(FIRST, self.shape.services_of_one());
        let (&first, rest) = pods.split_first().unwrap_or((&0, &[]));
        let address = mesh::socket(self.shape, FIRST, first);
        let place = Place::of(&mesh::slice(self.shape, FIRST, SHARED, &pods)).path();
        let begin = Instant::now();
        let turns = [
            (Expected::EndpointGone(port.clone(), address), rest),
            (Expected::EndpointThere(port, address), &pods),
        ];
        for (expected, pods) in turns.iter().cycle() {
            if begin.elapsed() > time {
                break;
            }
            self.board.expect(expected.clone());
            let content = json!({"endpoints": mesh::endpoints(self.shape, FIRST, pods)});
            let start = Instant::now();
            let (_, met) = tokio::try_join!(
                self.api.merge(&place, &content),
                self.board.until_met(self.shape.light(), PATIENCE)
            )?;
            last.push(millis(met.saturating_duration_since(start)));
            tokio::time::sleep(PROBE).await;
        }
        Ok(())
    }
}

/// The readiness of the nth pod changes, and so does that of one of its endpoints.
async fn flip(api: Api, shape: Shape, number: usize) -> anyhow::Result<()> {
    // Each namespace in turn; of it each Service in turn, first away and then back.
    let namespace = number % shape.namespaces;
    let turn = number / shape.namespaces;
    let service = (turn / 2) % shape.services_of_one();
    let ready = turn % 2 == 1;
    let pods = shape.behind(namespace, service);
    let pod = pods[0];
    let status = mesh::pod_status(
        shape.address(namespace, pod),
        if ready { "True" } else { "False" },
    );
    let path = Place::of(&mesh::pod(namespace, pod)).path();
    api.merge(&format!("{path}/status"), &status).await?;
    let mut endpoints = mesh::endpoints(shape, namespace, &pods);
    if let Some(first) = endpoints.first_mut() {
        first["conditions"] = json!({"ready": ready, "serving": ready, "terminating": false});
    }
    let slice = mesh::slice(shape, namespace, &format!("s{service}"), &pods);
    api.merge(&Place::of(&slice).path(), &json!({ "endpoints": endpoints }))
        .await?;
    Ok(())
}
