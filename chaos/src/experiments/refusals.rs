//! The API server says no.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Bench, condition, map_path, policy, seconds, until};
use crate::apifault::{End, Entry};
use crate::call::{Call, Verb};
use crate::fault::{Action, CONFLICT, Refusal, Requests, THROTTLED, UNAVAILABLE};
use crate::objects;
use crate::scenario::Stage;
use crate::session::CONVERGES_WITHIN;

/// How often each write is refused before it is taken.
const CONFLICTS: u32 = 3;
/// How soon a change must arrive once requests are taken again.
const SOON: Duration = Duration::from_secs(15);
/// Requests for the same that come within this time are under way side by side.
const AT_ONCE: Duration = Duration::from_millis(100);
const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/clusterroles/smilax-operator";

/// Every write is answered with 409 some times; then another writer changes what the operator writes.
pub(super) async fn r7(bench: &mut Bench) -> anyhow::Result<String> {
    bench.session.reset().await?;
    let mut slowest = Duration::ZERO;
    let mut most = 0;
    for part in bench.reference.parts.clone() {
        let mark = bench.session.world.fault.mark();
        let mut refused: BTreeMap<String, u32> = BTreeMap::new();
        bench.session.world.fault.plan(Requests(move |call: &Call| {
            if !call.is_write() || call.is_election() {
                return Action::Pass;
            }
            let count = refused.entry(call.to_string()).or_default();
            *count += 1;
            if *count <= CONFLICTS {
                Action::Answer(CONFLICT)
            } else {
                Action::Pass
            }
        }));
        let reached = bench.session.reach(&part, CONVERGES_WITHIN).await?;
        slowest = slowest.max(reached.after);
        let mut tries: BTreeMap<String, usize> = BTreeMap::new();
        for entry in bench.session.world.fault.writes_since(mark) {
            if entry.code.is_none() {
                *tries.entry(entry.call.to_string()).or_default() += 1;
            }
        }
        most = most.max(tries.values().copied().max().unwrap_or_default());
    }
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "smilax-web", "namespace": "shop", "annotations": {"example.com/mine": "kept"}}});
    let split = "/apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits/web";
    let foreign = json!({
        "apiVersion": "split.smi-spec.io/v1alpha4", "kind": "TrafficSplit", "metadata": {"name": "web", "namespace": "shop"},
        "status": {"conditions": [{"type": "Mine", "status": "True", "reason": "Kept", "message": "kept", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
    });
    let path = format!("{split}/status?fieldManager=somebody&force=true");
    // Somebody writes beside the operator, while it writes.
    let others = async {
        for _ in 0..20 {
            api.apply_as(map.clone(), "somebody").await?;
            api.send("PATCH", &path, "application/apply-patch+yaml", &foreign)
                .await
                .context("foreign condition")?;
        }
        anyhow::Ok(())
    };
    let changes = async {
        for number in 0..10 {
            api.apply(objects::group("shop", "pages", &format!("/try-{number}-")))
                .await?;
        }
        anyhow::Ok(())
    };
    let (one, other) = tokio::join!(others, changes);
    one.and(other)?;
    until(CONVERGES_WITHIN, "the last change is in force", || async {
        Ok(policy(&api, "smilax-web").await?.contains("try-9-"))
    })
    .await?;
    bench.session.settle().await?;
    let map = api.get(&map_path("smilax-web")).await?.unwrap_or_default();
    ensure!(
        map["metadata"]["annotations"]["example.com/mine"] == "kept",
        "an annotation of somebody else is gone"
    );
    let split = api.get(split).await?.unwrap_or_default();
    ensure!(
        condition(&split, "Mine").is_some(),
        "a condition of somebody else is gone"
    );
    ensure!(most <= 5 + 3, "{most} tries of one write");
    Ok(format!(
        "{CONFLICTS} conflicts at each write; at most {most} tries were refused, slowest stage {}; fields of somebody else were kept",
        seconds(slowest)
    ))
}

/// Requests in each second of a time.
fn rate(entries: &[Entry], from: Instant, to: Instant) -> f64 {
    let count = entries
        .iter()
        .filter(|entry| entry.at >= from && entry.at < to)
        .count();
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / to.duration_since(from).as_secs_f64().max(0.001)
}

/// Requests that came before the time that the answer to the same one before had named. Who leads and Events are not
/// held back.
fn too_early(entries: &[Entry], refusal: Refusal) -> Vec<String> {
    let wait = Duration::from_secs(refusal.retry_after.unwrap_or_default().into());
    let mut last: BTreeMap<String, Instant> = BTreeMap::new();
    let mut early = Vec::new();
    for entry in entries {
        if entry.call.is_election() || entry.call.kind == "events" {
            continue;
        }
        let told = entry.call.to_string();
        let before = last.insert(told.clone(), entry.at);
        let gap = before.map(|before| entry.at.duration_since(before));
        if gap.is_some_and(|gap| gap > AT_ONCE && gap < wait) {
            early.push(told);
        }
    }
    early
}

/// Everything is answered with 429, then with 503, while there is something to write.
pub(super) async fn r8(bench: &mut Bench) -> anyhow::Result<String> {
    let mut told = Vec::new();
    for refusal in [THROTTLED, UNAVAILABLE] {
        bench.at(Stage::Rule).await?;
        let lasts = bench.time(Duration::from_secs(30), Duration::from_mins(1));
        bench
            .session
            .world
            .fault
            .plan(Requests(move |_: &Call| Action::Answer(refusal)));
        bench.session.world.fault.end_watches(End::Cut);
        let mark = bench.session.world.fault.mark();
        let start = Instant::now();
        tokio::time::sleep(lasts).await;
        let entries = bench.session.world.fault.since(mark);
        let early = too_early(&entries, refusal);
        // Who leads is asked every two seconds, whatever is answered.
        let entries: Vec<Entry> = entries
            .into_iter()
            .filter(|entry| !entry.call.is_election())
            .collect();
        let first = super::scale::busiest_second(&entries.iter().map(|entry| entry.at).collect::<Vec<_>>());
        let late = rate(&entries, start + lasts / 2, start + lasts);
        ensure!(
            early.is_empty(),
            "asked again before `Retry-After` was over: {}",
            early.join("; ")
        );
        bench.session.world.fault.calm();
        let took = bench.change_arrives("afterwards", SOON).await?;
        bench.same_process()?;
        told.push(format!(
            "{}: {first} requests in the busiest second, {late:.1}/s in the second half of {} s, none before `Retry-After` was over, a change arrives {} afterwards",
            refusal.code,
            lasts.as_secs(),
            seconds(took)
        ));
        ensure!(
            late * 10.0 <= f64::from(u32::try_from(first)?),
            "{}: the rate does not fall by nine tenths",
            told.join("; ")
        );
    }
    Ok(told.join("; "))
}

/// The right to read splits is taken away. What is known of them stays in force, other kinds go on, and the right that
/// is given back is used without a restart.
pub(super) async fn r29(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    let role = api.get(ROLE).await?.context("there is no ClusterRole")?;
    let mut less = role["rules"].clone();
    if let Value::Array(rules) = &mut less {
        rules.retain(|rule| rule["resources"] != json!(["trafficsplits"]));
    }
    ensure!(
        less != role["rules"],
        "the ClusterRole has no rule of its own for splits"
    );
    api.merge(ROLE, &json!({"rules": less})).await?;
    bench.session.world.fault.end_watches(End::Expired);
    let mark = bench.session.world.fault.mark();
    let refused = |entries: Vec<Entry>| {
        entries
            .iter()
            .any(|entry| entry.call.kind == "trafficsplits" && entry.code == Some(403))
    };
    until(Duration::from_secs(30), "a list of splits is refused", || async {
        Ok(refused(bench.session.world.fault.since(mark)))
    })
    .await?;
    let lasts = bench.time(Duration::from_secs(20), Duration::from_mins(5));
    tokio::time::sleep(lasts).await;
    let others = bench.change_arrives("meanwhile", CONVERGES_WITHIN).await?;
    let before = policy(&api, "smilax-web").await?;
    ensure!(
        before.contains("web-v2"),
        "the split that was known is gone from the configuration"
    );
    let log = bench
        .session
        .operator
        .as_ref()
        .map(crate::process::Process::log)
        .unwrap_or_default();
    ensure!(
        log.contains("watch failed") && log.contains("TrafficSplit"),
        "the log does not name the kind"
    );
    api.merge(ROLE, &json!({"rules": role["rules"]})).await?;
    api.apply(objects::split("shop", "web", &[("web-v1", 1), ("web-v2", 77)]))
        .await?;
    let took = until(
        Duration::from_secs(90),
        "the changed split is in force",
        || async { Ok(policy(&api, "smilax-web").await?.contains("77")) },
    )
    .await?;
    bench.same_process()?;
    let tries = bench.session.world.fault.since(mark);
    let tries = tries
        .iter()
        .filter(|entry| entry.call.kind == "trafficsplits" && entry.call.verb == Verb::List)
        .count();
    Ok(format!(
        "without the right for {} s: {tries} tries, another kind's change arrives in {}; with it again, a split's in {}",
        lasts.as_secs(),
        seconds(others),
        seconds(took)
    ))
}
