//! Much at once, and large.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use super::{Bench, condition, map_path, policy, seconds, until};
use crate::api::Api;
use crate::objects;
use crate::scenario::Stage;

/// What etcd takes in one request.
const LARGEST_REQUEST: usize = 3 << 19;
const SPLITS: &str = "/apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits";
const AT_ONCE: usize = 8;
/// What an operator may write in a second.
const MOST_WRITES: usize = 50;
/// Groups that fit into what the targets of an account may take, and such that do not; a group is about 35 kB.
const KEPT_GROUPS: usize = 12;
const MOST_GROUPS: usize = 24;

/// A group whose names do not compress well.
pub(super) fn large_group(random: &mut fastrand::Rng, number: usize) -> Value {
    let word = |random: &mut fastrand::Rng| -> String { (0..240).map(|_| random.alphanumeric()).collect() };
    let matches: Vec<Value> = (0..128)
        .map(|index| json!({"name": format!("m{index}-{}", word(random)), "pathRegex": "/", "methods": ["GET"]}))
        .collect();
    json!({
        "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
        "metadata": {"name": format!("large-{number}"), "namespace": "shop"},
        "spec": {"matches": matches},
    })
}

/// What one target allows grows until it is more than there is room for, and shrinks again.
pub(super) async fn r21(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    let mark = bench.session.world.fault.mark();
    let mut random = fastrand::Rng::with_seed(bench.seed);
    let target = "/apis/access.smi-spec.io/v1alpha4/namespaces/shop/traffictargets/web";
    let mut rules = vec![json!({"kind": "HTTPRouteGroup", "name": "pages"})];
    for number in 0..MOST_GROUPS {
        api.apply(large_group(&mut random, number)).await?;
        rules.push(json!({"kind": "HTTPRouteGroup", "name": format!("large-{number}")}));
    }
    let (some, all) = (rules.get(..=KEPT_GROUPS).unwrap_or_default().to_vec(), rules);
    let start = Instant::now();
    let (status, message) = ruled_by(&api, target, &some).await?;
    ensure!(status != "False", "{KEPT_GROUPS} groups are refused: {message}");
    let kept = stored_size(&api.get(&map_path("smilax-web")).await?.unwrap_or_default());
    ensure!(
        kept > KEPT_GROUPS * 30_000,
        "{kept} bytes are kept of {KEPT_GROUPS} groups"
    );
    let (status, message) = ruled_by(&api, target, &all).await?;
    ensure!(
        status == "False",
        "{MOST_GROUPS} groups are not refused: {status} {message}"
    );
    let told = start.elapsed();
    let before = api.get(&map_path("smilax-web")).await?.unwrap_or_default();
    ensure!(
        stored_size(&before) < kept,
        "rights are still there that no target gives"
    );
    let largest = bench
        .session
        .world
        .fault
        .writes_since(mark)
        .iter()
        .map(|entry| entry.body.len())
        .max()
        .unwrap_or_default();
    ensure!(largest < LARGEST_REQUEST, "a request of {largest} bytes was sent");
    api.merge(
        target,
        &json!({"spec": {"rules": [{"kind": "HTTPRouteGroup", "name": "pages"}]}}),
    )
    .await?;
    let took = until(
        Duration::from_secs(30),
        "the small configuration is in force",
        || async {
            let text = policy(&api, "smilax-web").await?;
            Ok(!text.is_empty() && text.len() < 10_000)
        },
    )
    .await?;
    Ok(format!(
        "{} kB are kept in one ConfigMap; {MOST_GROUPS} groups of 35 kB are refused with a condition ({message}) and allow nothing, both told within {}; \
         largest request {} kB; small again after {}",
        kept / 1000,
        seconds(told),
        largest / 1000,
        seconds(took)
    ))
}

/// Gives the target these rules, and waits for what is said of them.
async fn ruled_by(api: &Api, target: &str, rules: &[Value]) -> anyhow::Result<(String, String)> {
    let written = api.merge(target, &json!({"spec": {"rules": rules}})).await?;
    let generation = written["metadata"]["generation"].clone();
    // A build without optimisation takes long over two thousand expressions.
    until(
        Duration::from_mins(3),
        "the status of the target is of its generation",
        || async {
            let target = api.get(target).await?.unwrap_or_default();
            Ok(condition(&target, "Programmed").is_some_and(|one| one["observedGeneration"] == generation))
        },
    )
    .await?;
    let found = api.get(target).await?.unwrap_or_default();
    let refused = condition(&found, "Accepted").filter(|one| one["status"] == "False");
    let said = refused.or_else(|| condition(&found, "Programmed")).cloned();
    let said = said.unwrap_or_default();
    let text = |field: &str| said[field].as_str().unwrap_or_default().to_owned();
    Ok((text("status"), text("message")))
}

fn stored_size(map: &Value) -> usize {
    let size = |field: &str| {
        map[field]
            .as_object()
            .into_iter()
            .flat_map(|data| data.values())
            .filter_map(Value::as_str)
            .map(str::len)
            .sum::<usize>()
    };
    size("data") + size("binaryData") / 4 * 3
}

/// A thousand splits at once, then a thousand namespaces.
pub(super) async fn r23(bench: &mut Bench) -> anyhow::Result<String> {
    bench.at(Stage::Rule).await?;
    let api = bench.api();
    let mark = bench.session.world.fault.mark();
    let start = Instant::now();
    let splits = (0..1000).map(|number| {
        let mut split = objects::split("shop", &format!("many-{number}"), &[("web-v1", 1)]);
        split["spec"]["service"] = json!("web");
        split
    });
    futures::stream::iter(splits)
        .map(|split| api.apply(split))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let applied = start.elapsed();
    let during = bench.change_arrives("meanwhile", Duration::from_mins(1)).await?;
    let waiting = untold(&api).await?;
    ensure!(
        waiting > 0,
        "the change waited for every status: {}",
        seconds(during)
    );
    until(Duration::from_mins(2), "every split has its status", || async {
        // Looking at a thousand objects takes time from those who are to tell of them.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(untold(&api).await? == 0)
    })
    .await?;
    let told = start.elapsed();
    let writes = bench.session.world.fault.writes_since(mark);
    let busiest = busiest_second(&writes.iter().map(|entry| entry.at).collect::<Vec<_>>());
    let count = writes.len();
    let start = Instant::now();
    let names: Vec<String> = (0..1000).map(|number| format!("many-{number}")).collect();
    futures::stream::iter(&names)
        .map(|name| async {
            api.apply(objects::namespace(name)).await?;
            api.apply(objects::account(name, "door")).await
        })
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<_>>()
        .await?;
    let made = start.elapsed();
    let took = bench.change_arrives("afterwards", Duration::from_mins(1)).await?;
    bench.same_process()?;
    let figures = format!(
        "1,000 splits applied in {}; a change arrives {} later, with {waiting} of them to be told; all have their status after {}; {count} writes, {busiest} in the busiest second; 1,000 namespaces made in {}, a change arrives {} afterwards",
        seconds(applied),
        seconds(during),
        seconds(told),
        seconds(made),
        seconds(took)
    );
    ensure!(told <= Duration::from_mins(1), "{figures}; a minute is the bound");
    ensure!(busiest <= MOST_WRITES, "{figures}; {MOST_WRITES} are the bound");
    Ok(figures)
}

/// How many splits say nothing yet.
async fn untold(api: &Api) -> anyhow::Result<usize> {
    let all = api.list(SPLITS).await?;
    Ok(all
        .iter()
        .filter(|one| condition(one, "Accepted").is_none())
        .count())
}

pub(super) fn busiest_second(times: &[Instant]) -> usize {
    let within = |from: &Instant| {
        times
            .iter()
            .filter(|at| *at >= from && at.duration_since(*from) < Duration::from_secs(1))
            .count()
    };
    times.iter().map(within).max().unwrap_or_default()
}
