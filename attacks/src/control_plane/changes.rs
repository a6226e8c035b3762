//! Changes of policy: how long each takes to be in the ConfigMap of whom it concerns, and to come back when it is undone by
//! somebody else.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use smilax_chaos::api::Api;
use smilax_chaos::objects;
use smilax_core::convention::{POLICY_KEY, config_map_name};

use crate::figures::{Service, round};

const LOOK: Duration = Duration::from_millis(5);
/// After which a change counts as lost.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Between two changes.
const PAUSE: Duration = Duration::from_millis(200);
/// How often a policy is edited, and put back.
const TIMES: u32 = 5;
/// For how long changes are watched after an attack: what it wrote is still being dealt with.
const AFTERMATH: Duration = Duration::from_secs(5);

/// The split that the victim changes: the weight is another every time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Split {
    weight: u32,
}

impl Split {
    /// Changes it, and says how many milliseconds that took to be in the ConfigMap; `None` when it did not come.
    pub(super) async fn change(&mut self, api: &Api) -> anyhow::Result<Option<f64>> {
        // One that no other change has; the other backend's is never the same.
        self.weight = self.weight % 10_000 + 1;
        let backends = [("web-v1", 1_000_000 + self.weight), ("web-v2", 1)];
        let from = Instant::now();
        api.apply(objects::split("shop", "web", &backends)).await?;
        let text = format!("\"weight\":{}", backends[0].1);
        until(api, from, |policy| policy.contains(&text)).await
    }
}

/// Changes the split until this is over.
pub(super) async fn run(api: &Api, over: impl Future<Output = ()>) -> anyhow::Result<Service> {
    let mut over = std::pin::pin!(over);
    let mut split = Split {
        weight: weight_now(api).await?,
    };
    let mut durations = Vec::new();
    let mut ended = false;
    while !ended {
        durations.push(split.change(api).await?);
        tokio::select! {
            () = &mut over => ended = true,
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
    Ok(Service::of_durations(&durations))
}

/// Changes the split while something is done, and for a while afterwards.
pub(super) async fn during<T>(
    api: &Api,
    attack: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<(T, Service)> {
    let (told, hears) = tokio::sync::oneshot::channel();
    let attack = async {
        let done = attack.await;
        tokio::time::sleep(AFTERMATH).await;
        let _ = told.send(());
        done
    };
    let over = async {
        // The attack ended either way.
        let _ = hears.await;
    };
    let (done, service) = tokio::join!(attack, run(api, over));
    Ok((done?, service?))
}

/// Edits the policy of an account, with a revision from the future, and measures until it is back.
pub(super) async fn forge(api: &Api) -> anyhow::Result<Service> {
    let mut durations = Vec::new();
    for _ in 0..TIMES {
        let good = policy(api).await?;
        let mut forged: Value = serde_json::from_str(&good).context("the policy")?;
        forged["revision"] = json!("9999.1");
        forged["inbound"] = json!([]);
        forged["destinations"] = json!([]);
        let change = json!({"data": {POLICY_KEY: forged.to_string()}});
        let from = Instant::now();
        api.merge(&path(), &change).await?;
        let destinations = |text: &str| {
            let policy: Value = serde_json::from_str(text).unwrap_or_default();
            policy["destinations"].clone()
        };
        let wanted = destinations(&good);
        durations.push(until(api, from, |policy| destinations(policy) == wanted).await?);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Service::of_durations(&durations))
}

/// Puts back what was in the ConfigMap before the last change, and measures until the change is there again.
pub(super) async fn replay(api: &Api) -> anyhow::Result<Service> {
    let mut durations = Vec::new();
    let mut split = Split {
        weight: weight_now(api).await?,
    };
    for _ in 0..TIMES {
        let backup = api.get(&path()).await?.context("no ConfigMap")?;
        ensure!(split.change(api).await?.is_some(), "a change does not arrive");
        let text = format!("\"weight\":{}", 1_000_000 + split.weight);
        let change = json!({"data": backup["data"], "binaryData": backup["binaryData"]});
        let from = Instant::now();
        api.merge(&path(), &change).await?;
        durations.push(until(api, from, |policy| policy.contains(&text)).await?);
        tokio::time::sleep(PAUSE).await;
    }
    Ok(Service::of_durations(&durations))
}

/// Milliseconds until the policy is so; `None` when it never is.
async fn until(api: &Api, from: Instant, is: impl Fn(&str) -> bool) -> anyhow::Result<Option<f64>> {
    while from.elapsed() < TIMEOUT {
        if is(&policy(api).await?) {
            return Ok(Some(round(from.elapsed().as_secs_f64() * 1000.0)));
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(None)
}

/// The weight that the split has now.
async fn weight_now(api: &Api) -> anyhow::Result<u32> {
    let path = "/apis/split.smi-spec.io/v1alpha4/namespaces/shop/trafficsplits/web";
    let split = api.get(path).await?.unwrap_or_default();
    let weight = split.pointer("/spec/backends/0/weight").and_then(Value::as_u64);
    let weight = weight.unwrap_or_default().saturating_sub(1_000_000);
    Ok(u32::try_from(weight)?)
}

async fn policy(api: &Api) -> anyhow::Result<String> {
    let map = api.get(&path()).await?.unwrap_or_default();
    Ok(map["data"][POLICY_KEY].as_str().unwrap_or_default().to_owned())
}

fn path() -> String {
    format!("/api/v1/namespaces/shop/configmaps/{}", config_map_name("web"))
}
