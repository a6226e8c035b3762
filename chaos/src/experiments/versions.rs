//! The stored version of a definition changes.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use super::{Bench, policy, seconds, until};
use crate::api::Api;
use crate::objects;
use crate::scenario::Stage;
use crate::session::CONVERGES_WITHIN;
use crate::snapshot::DEFINITIONS;

const SPLITS: &str = "trafficsplits.split.smi-spec.io";
const CHANGES_OVER: Duration = Duration::from_secs(3);

/// Lets objects be stored in this version from now on.
async fn store(api: &Api, version: &str) -> anyhow::Result<()> {
    let path = format!("{DEFINITIONS}/{SPLITS}");
    let mut versions = api.get(&path).await?.unwrap_or_default()["spec"]["versions"].take();
    for one in versions.as_array_mut().into_iter().flatten() {
        one["storage"] = json!(one["name"] == version);
    }
    api.merge(&path, &json!({"spec": {"versions": versions}})).await?;
    Ok(())
}

async fn stored_versions(api: &Api) -> anyhow::Result<Value> {
    let definition = api
        .get(&format!("{DEFINITIONS}/{SPLITS}"))
        .await?
        .unwrap_or_default();
    Ok(definition["status"]["storedVersions"].clone())
}

/// Splits are stored in an old version, as after a downgrade, then in ours again, with nobody there to convert them. Once the
/// operator is back they are read, and the old version leaves the list.
pub(super) async fn r30(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    store(&api, "v1alpha2").await?;
    api.apply(objects::split("shop", "web", &[("web-v1", 33), ("web-v2", 67)]))
        .await?;
    // The API server changes over a moment after the definition: until then it stores as before.
    let start = Instant::now();
    for weight in (34..).take_while(|_| start.elapsed() < CHANGES_OVER) {
        api.apply(objects::split(
            "shop",
            "web",
            &[("web-v1", weight), ("web-v2", 67)],
        ))
        .await?;
        tokio::time::sleep(super::LOOK).await;
    }
    let down = until(
        Duration::from_mins(1),
        "the split that is stored in v1alpha2 is in force",
        || async { Ok(policy(&api, "smilax-web").await?.contains("67")) },
    )
    .await?;
    ensure!(
        stored_versions(&api).await? == json!(["v1alpha4", "v1alpha2"]),
        "both versions are not listed as stored"
    );
    bench.session.stop();
    store(&api, "v1alpha4").await?;
    let path = "/apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits/web";
    let unread = api
        .send("GET", path, "application/json", &Value::Null)
        .await
        .is_err();
    ensure!(unread, "the split is read though nobody converts it");
    bench.session.restart().await?;
    let read = until(CONVERGES_WITHIN, "the split can be read", || async {
        Ok(api
            .send("GET", path, "application/json", &Value::Null)
            .await
            .is_ok())
    })
    .await?;
    let migrated = until(
        Duration::from_mins(1),
        "only v1alpha4 is listed as stored",
        || async { Ok(stored_versions(&api).await? == json!(["v1alpha4"])) },
    )
    .await?;
    let split = api.get(path).await?.unwrap_or_default();
    ensure!(
        split["spec"]["backends"][1]["weight"] == 67,
        "the split was changed: {}",
        split["spec"]
    );
    let took = bench.change_arrives("afterwards", CONVERGES_WITHIN).await?;
    Ok(format!(
        "stored in v1alpha2: in force after {}; unreadable while nobody converts; readable {} and migrated {} after the start; a change arrives in {}",
        seconds(down),
        seconds(read),
        seconds(migrated),
        seconds(took)
    ))
}
