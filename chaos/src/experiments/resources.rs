//! The operator, or a namespace, may use no more of something.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rustix::process::Resource;
use serde_json::json;

use super::{Bench, map_path, seconds, until};
use crate::apifault::End;
use crate::objects::{self, Pod};
use crate::process::Process;
use crate::scenario::Stage;
use crate::session::CONVERGES_WITHIN;

/// How long there are no file descriptors.
const SCARCE: Duration = Duration::from_secs(20);
/// Fewer than the operator has open.
const FEW: u64 = 8;
/// What it may take beyond what it has, and groups that need more: each is about 35 kB.
const SPARE: u64 = 4 << 20;
const GROUPS: usize = 600;

fn operator(bench: &mut Bench) -> anyhow::Result<&mut Process> {
    bench.session.operator.as_mut().context("no operator")
}

/// There are no file descriptors for a while; then memory runs out, and the operator is started again.
pub(super) async fn r33(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let before = operator(bench)?.limit(Resource::Nofile, Some(FEW))?;
    bench.session.world.fault.end_watches(End::Cut);
    let (start, used) = (Instant::now(), operator(bench)?.processor_time()?);
    // Callers that are not taken in must not keep it busy.
    let mut callers = Vec::new();
    for port in [8080, 8443, 8444] {
        callers.push(tokio::net::TcpStream::connect(("127.0.0.1", port)).await?);
    }
    tokio::time::sleep(SCARCE).await;
    let used = operator(bench)?.processor_time()?.saturating_sub(used);
    let share = 100.0 * used.as_secs_f64() / start.elapsed().as_secs_f64();
    drop(callers);
    bench.same_process()?;
    operator(bench)?.limit(Resource::Nofile, before)?;
    let took = bench.change_arrives("with-descriptors", CONVERGES_WITHIN).await?;
    bench.same_process()?;
    let told = format!(
        "without file descriptors for {} s: the same process, {share:.0} % of a core, a change arrives {} afterwards",
        SCARCE.as_secs(),
        seconds(took)
    );
    ensure!(share < 25.0, "{told}; it is kept busy");

    let has = operator(bench)?.data_size()?;
    operator(bench)?.limit(Resource::Data, Some(has + SPARE))?;
    let api = bench.api();
    let mut random = fastrand::Rng::with_seed(bench.seed);
    for number in 0..GROUPS {
        api.apply(super::scale::large_group(&mut random, number)).await?;
        if !operator(bench)?.lives() {
            break;
        }
    }
    ensure!(!operator(bench)?.lives(), "{told}; memory did not run out");
    bench.session.restart().await?;
    let took = bench.change_arrives("with-memory", CONVERGES_WITHIN).await?;
    Ok(format!(
        "{told}; out of memory it ended, and a change arrives {} after the next start",
        seconds(took)
    ))
}

/// A namespace may hold no more ConfigMaps. Others, and what is there already, go on.
pub(super) async fn r34(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    let quota = |field: &str| {
        let mut quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": "shop"},
            "spec": {"hard": {"count/configmaps": "0"}},
        });
        // Plays the controller of quotas.
        if field == "status" {
            quota["status"] = json!({"hard": {"count/configmaps": "0"}, "used": {"count/configmaps": "3"}});
        }
        quota
    };
    api.apply(quota("spec")).await?;
    api.apply_status(quota("status")).await?;
    let mark = bench.session.world.fault.mark();
    let probe =
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "probe", "namespace": "shop"}});
    until(CONVERGES_WITHIN, "the quota is in force", || async {
        let path = "/api/v1/namespaces/shop/configmaps?dryRun=All";
        let made = api.send("POST", path, "application/json", &probe).await;
        Ok(matches!(made, Err(kube::Error::Api(status)) if status.code == 403))
    })
    .await?;
    api.apply(objects::account("shop", "new")).await?;
    Pod::new("shop", "new-a", "new", 16).create(&api).await?;
    until(CONVERGES_WITHIN, "a ConfigMap is refused", || async {
        let entries = bench.session.world.fault.writes_since(mark);
        let refused = |entry: &crate::apifault::Entry| {
            entry.call.kind == "configmaps" && entry.call.name == "smilax-new" && entry.code == Some(403)
        };
        Ok(entries.iter().any(refused))
    })
    .await?;
    let meanwhile = bench.change_arrives("meanwhile", CONVERGES_WITHIN).await?;
    api.delete("/api/v1/namespaces/shop/resourcequotas/none").await?;
    let took = until(
        CONVERGES_WITHIN,
        "the ConfigMap that was refused is there",
        || async { Ok(api.get(&map_path("smilax-new")).await?.is_some()) },
    )
    .await?;
    bench.same_process()?;
    let tries = bench.session.world.fault.writes_since(mark);
    let tries = tries.iter().filter(|entry| entry.code == Some(403)).count();
    Ok(format!(
        "no ConfigMap may be made: {tries} tries, another account's change arrives in {}; without the quota it is there after {}",
        seconds(meanwhile),
        seconds(took)
    ))
}
