//! What must cause no write.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::json;

use super::Bench;
use crate::objects;
use crate::scenario::Stage;

/// Nothing happens, and nothing is written but who leads.
pub(super) async fn r24(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    bench.session.settle().await?;
    let lasts = bench.time(Duration::from_mins(1), Duration::from_mins(10));
    let mark = bench.session.world.fault.mark();
    tokio::time::sleep(lasts).await;
    bench.same_process()?;
    let all = bench.session.world.fault.since(mark);
    let writes = bench.session.world.fault.writes_since(mark);
    let told = writes
        .iter()
        .map(|entry| entry.call.to_string())
        .collect::<Vec<_>>()
        .join("; ");
    ensure!(
        writes.is_empty(),
        "{} writes in {} s: {told}",
        writes.len(),
        lasts.as_secs()
    );
    let elections = all
        .iter()
        .filter(|entry| entry.call.is_election() && entry.call.is_write())
        .count();
    let reads = all.iter().filter(|entry| !entry.call.is_write()).count();
    Ok(format!(
        "{} s: 0 writes, {elections} renewals of the Lease, {reads} reads",
        lasts.as_secs()
    ))
}

/// Objects are applied as they are; labels and annotations that mean nothing come and change.
pub(super) async fn r25(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    bench.session.settle().await?;
    let api = bench.api();
    let mark = bench.session.world.fault.mark();
    let start = Instant::now();
    let mut changes = 0;
    let paths = [
        "/apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits/web",
        "/apis/access.smi-spec.io/v1alpha4/namespaces/shop/traffictargets/web",
        "/apis/specs.smi-spec.io/v1alpha4/namespaces/shop/httproutegroups/pages",
        "/api/v1/namespaces/shop/serviceaccounts/web",
        "/api/v1/namespaces/shop/services/web",
        "/api/v1/namespaces/shop/pods/web-v1-a",
        "/api/v1/namespaces/shop",
    ];
    for round in 0..10 {
        api.apply(objects::split("shop", "web", &[("web-v1", 90), ("web-v2", 10)]))
            .await?;
        api.apply(objects::target(
            "shop",
            "web",
            &["api"],
            &[("HTTPRouteGroup", "pages")],
        ))
        .await?;
        for path in paths {
            let value = format!("{round}");
            let change = json!({"metadata": {"annotations": {"example.com/round": value}, "labels": {"example.com/round": value}}});
            api.merge(path, &change).await?;
            changes += 1;
        }
        let ready = if round % 2 == 0 { "False" } else { "True" };
        api.apply_status(objects::readiness("shop", "web-v1-a", ready))
            .await?;
        changes += 3;
    }
    bench.session.settle().await?;
    let writes = bench.session.world.fault.writes_since(mark);
    let to_maps = writes
        .iter()
        .filter(|entry| entry.call.kind == "configmaps")
        .count();
    let told = writes
        .iter()
        .map(|entry| entry.call.to_string())
        .collect::<Vec<_>>()
        .join("; ");
    ensure!(to_maps == 0, "{to_maps} ConfigMaps were written: {told}");
    ensure!(writes.is_empty(), "{} writes: {told}", writes.len());
    Ok(format!(
        "{changes} changes that mean nothing, in {:.0} s: 0 writes",
        start.elapsed().as_secs_f64()
    ))
}
