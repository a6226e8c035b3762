//! Two operators, of which one leads. Here the Lease runs out by itself.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Signal;
use serde_json::Value;

use super::{Bench, seconds, until};
use crate::api::Api;
use crate::process::Process;
use crate::scenario::Stage;
use crate::session::{CONVERGES_WITHIN, revisions_rise};
use crate::world::{Replica, SYSTEM};

/// How long the Lease of a silent leader lasts.
const LEASE: Duration = Duration::from_secs(15);

async fn lease(api: &Api) -> anyhow::Result<Value> {
    let path = format!("/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/smilax-operator");
    Ok(api.get(&path).await?.unwrap_or_default())
}

async fn leads(api: &Api, name: &str) -> anyhow::Result<bool> {
    let holder = lease(api).await?["spec"]["holderIdentity"].clone();
    Ok(holder.as_str().is_some_and(|holder| holder.starts_with(name)))
}

/// A second operator that follows, and has read everything.
async fn second(bench: &mut Bench) -> anyhow::Result<Process> {
    let second = bench.session.world.operator(Replica::Second)?;
    until(
        CONVERGES_WITHIN,
        "the second operator has read everything",
        || async { Ok(tokio::net::TcpStream::connect("127.0.0.1:8180").await.is_ok()) },
    )
    .await?;
    // It waits for the Lease from when it has seen it first.
    tokio::time::sleep(Duration::from_secs(3)).await;
    Ok(second)
}

/// The leader is stopped until long after another has taken over, and then goes on where it was.
pub(super) async fn r12(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    let mark = bench.session.world.fault.mark();
    let second = second(bench).await?;
    let first = bench.session.operator.as_mut().context("no operator")?;
    // A change is under way at that moment.
    api.apply(crate::objects::group("shop", "pages", "/under-way"))
        .await?;
    first.signal(Signal::STOP);
    let start = Instant::now();
    until(Duration::from_secs(25), "the second operator leads", || {
        leads(&api, "smilax-operator-b")
    })
    .await?;
    let took_over = start.elapsed();
    bench.change_arrives("by-the-second", CONVERGES_WITHIN).await?;
    let lasts = bench.time(LEASE + Duration::from_secs(5), Duration::from_mins(1));
    tokio::time::sleep(lasts.saturating_sub(start.elapsed())).await;
    let first = bench.session.operator.as_mut().context("no operator")?;
    first.signal(Signal::CONT);
    bench.change_arrives("with-both", CONVERGES_WITHIN).await?;
    bench.session.settle().await?;
    ensure!(
        leads(&api, "smilax-operator-b").await?,
        "the first operator leads again without having waited"
    );
    let text = super::policy(&api, "smilax-web").await?;
    ensure!(
        text.contains("with-both"),
        "what the old leader wrote survives: {text}"
    );
    let writes = bench.session.world.fault.writes_since(mark);
    revisions_rise(&writes).map_err(anyhow::Error::msg)?;
    let log = bench
        .session
        .operator
        .as_ref()
        .map(Process::log)
        .unwrap_or_default();
    ensure!(
        log.contains("no longer leading"),
        "the old leader has not noticed"
    );
    drop(second);
    Ok(format!(
        "stopped for {} s; the other led after {}; the old one stepped down, and no revision went back",
        lasts.as_secs(),
        seconds(took_over)
    ))
}

/// The leader is killed, with another one waiting; then a leader is asked to go.
pub(super) async fn r13(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    let mut second = second(bench).await?;
    let events = api.list("/api/v1/events").await?.len();
    bench.session.stop();
    let start = Instant::now();
    bench
        .change_arrives("after-the-kill", Duration::from_secs(30))
        .await?;
    let killed = start.elapsed();
    bench.session.kills = *bench.session.world.fault.killed().borrow();
    bench.session.operator = Some(bench.session.world.operator(Replica::First)?);
    until(CONVERGES_WITHIN, "the first operator is back", || async {
        Ok(tokio::net::TcpStream::connect("127.0.0.1:8080").await.is_ok())
    })
    .await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let start = Instant::now();
    let asked = async {
        second.terminate().await?;
        anyhow::Ok(())
    };
    let (ended, arrived) = tokio::join!(asked, bench.change_arrives("after-the-rollout", CONVERGES_WITHIN));
    ended.and(arrived.map(drop))?;
    let asked = start.elapsed();
    let told = format!(
        "a change arrives {} after a kill, {} after a leader was asked to go",
        seconds(killed),
        seconds(asked)
    );
    ensure!(killed <= Duration::from_secs(17), "{told}; 17 s are the bound");
    let more = api.list("/api/v1/events").await?.len();
    ensure!(more == events, "{told}; {} Events are told again", more - events);
    Ok(told)
}
