//! What the operator keeps is touched by others.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::json;

use super::{Bench, condition, map_path, seconds, until};
use crate::api::Api;
use crate::scenario::Stage;
use crate::snapshot::{MESH, Snapshot, WEBHOOKS};
use crate::world::SYSTEM;

/// How soon it must be as it was.
const RESTORED_WITHIN: Duration = Duration::from_secs(10);

/// Reason of the Event about a ConfigMap that somebody else wrote.
const TAMPERED: &str = "Tampered";

/// A ConfigMap is deleted, edited by hand, cut, emptied, and filled with garbage.
pub(super) async fn r20(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    let wanted = Snapshot::take(&api).await?.without_generations();
    let path = map_path("smilax-web");
    let good = super::policy(&api, "smilax-web").await?;
    let cut = good.get(..good.len() / 2).unwrap_or_default();
    let edited = good.replace("mutualTls", "plaintext");
    let changes = [
        ("edited", json!({"data": {"policy.json": edited}})),
        ("cut", json!({"data": {"policy.json": cut}})),
        ("emptied", json!({"data": null})),
        ("without a bundle", json!({"data": {"trust-bundle.json": null}})),
        (
            "filled with garbage",
            json!({"binaryData": {"policy.json.gz": "Z2FyYmFnZQ=="}}),
        ),
        ("given another key", json!({"data": {"other": "mine"}})),
    ];
    let mut told = Vec::new();
    for (what, change) in changes {
        api.merge(&path, &change).await?;
        let took = restored(&api, &wanted).await.context(what)?;
        told.push(format!("{what} {}", seconds(took)));
    }
    ensure!(
        Snapshot::take(&api).await?.tells(TAMPERED),
        "nobody was told that somebody else wrote the ConfigMap"
    );
    api.delete(&path).await?;
    let took = restored(&api, &wanted).await.context("deleted")?;
    told.push(format!("deleted {}", seconds(took)));
    // What nobody may write to us by label alone: the label goes, and the ConfigMap with it out of our sight.
    api.merge(
        &path,
        &json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": null}}}),
    )
    .await?;
    let took = restored(&api, &wanted).await.context("without our label")?;
    told.push(format!("without our label {}", seconds(took)));
    Ok(format!("restored: {}", told.join(", ")))
}

/// Waits until all is as wanted, and says how long that took. That somebody else wrote a ConfigMap may be told.
async fn restored(api: &Api, wanted: &Snapshot) -> anyhow::Result<Duration> {
    until(RESTORED_WITHIN, "all is as it was", || async {
        let now = Snapshot::take(api)
            .await?
            .without_events(TAMPERED)
            .without_generations();
        Ok(now.differs_from(wanted).is_empty())
    })
    .await
}

/// Somebody else's tool takes the bundles out again.
pub(super) async fn r16(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    let wanted = Snapshot::take(&api).await?;
    for (path, name) in [(WEBHOOKS[0], "smilax-inject"), (WEBHOOKS[1], "smilax-validate")] {
        let path = format!("{path}/{name}");
        let mut hooks = api.get(&path).await?.unwrap_or_default()["webhooks"].take();
        for hook in hooks.as_array_mut().into_iter().flatten() {
            hook["clientConfig"]["caBundle"] = json!(null);
        }
        api.merge(&path, &json!({"webhooks": hooks})).await?;
    }
    let took = bench
        .returns_to(&wanted, RESTORED_WITHIN + Duration::from_secs(2))
        .await?;
    Ok(format!("published again after {}", seconds(took)))
}

async fn authority(api: &Api) -> anyhow::Result<serde_json::Value> {
    let path = format!("/api/v1/namespaces/{SYSTEM}/secrets/smilax-ca");
    Ok(api.get(&path).await?.unwrap_or_default())
}

/// The authority's Secret is deleted, and then damaged. No new root comes of that.
pub(super) async fn r19(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    let path = format!("/api/v1/namespaces/{SYSTEM}/secrets/smilax-ca");
    let before = authority(&api).await?["data"].clone();
    api.delete(&path).await?;
    let took = until(RESTORED_WITHIN, "the Secret is back as it was", || async {
        Ok(authority(&api).await?["data"] == before)
    })
    .await?;
    api.merge(&path, &json!({"data": {"issuer.key": "Z2FyYmFnZQ=="}}))
        .await?;
    let told = until(
        Duration::from_secs(20),
        "the MeshConfig says that the authority is not well",
        || async {
            let mesh = api.get(&format!("{MESH}/default")).await?.unwrap_or_default();
            Ok(condition(&mesh, "AuthorityReady")
                .is_some_and(|one| one["status"] == "False" || one["reason"] != "Ready"))
        },
    )
    .await?;
    let damaged = authority(&api).await?;
    ensure!(
        damaged["data"]["root.crt"] == before["root.crt"],
        "a new root was made"
    );
    // As the message says: deleted, it is made again from what is in use.
    api.delete(&path).await?;
    let healed = until(RESTORED_WITHIN, "the Secret is back as it was", || async {
        Ok(authority(&api).await?["data"] == before)
    })
    .await?;
    Ok(format!(
        "deleted: back with the same root after {}; damaged: told after {}, no new root; deleted then: back after {}",
        seconds(took),
        seconds(told),
        seconds(healed)
    ))
}
