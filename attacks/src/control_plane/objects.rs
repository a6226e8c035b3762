//! What is in the cluster, and what attackers write to it.

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};
use smilax_chaos::api::{Api, Place};
use smilax_chaos::objects::{self, Pod};
use tokio::task::JoinSet;

use super::changes;

/// Groups that are tried in one namespace.
const BOMBS: usize = 1000;
/// How many of them a target names.
const BOMBS_OF_TARGET: usize = 64;
/// Requests to the API server at once.
const AT_ONCE: usize = 8;
/// No attack lasts longer.
const LONGEST: Duration = Duration::from_secs(20);
/// Expressions of a group, as many as admission lets through: each counts for 128 KiB and its text, and a group has 1 MiB.
const EXPRESSIONS: usize = 7;
/// Groups that do not fit into one configuration together; each is about 35 kB.
const LARGE_GROUPS: usize = 24;
const TENANT: &str = "tenant";

/// Makes the mesh: `web`, `web-v1` and `web-v2` of the victim, an account of the attacker.
pub(super) async fn make(api: &Api) -> anyhow::Result<()> {
    api.apply(objects::mesh()).await?;
    for namespace in ["shop", TENANT] {
        api.apply(objects::namespace(namespace)).await?;
    }
    for (namespace, account) in [("shop", "web"), (TENANT, "bomber")] {
        api.apply(objects::account(namespace, account)).await?;
    }
    for (name, number) in [("web", 10), ("web-v1", 11), ("web-v2", 12)] {
        api.apply(objects::service("shop", name, number)).await?;
    }
    Pod::new("shop", "web-a", "web", 11).create(api).await?;
    Pod::new(TENANT, "bomber-a", "bomber", 12).create(api).await?;
    let made = changes::Split::default().change(api).await?;
    ensure!(made.is_some(), "the first split does not arrive");
    Ok(())
}

/// A pod of the victim.
pub(super) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": "web"}},
        "spec": {
            "serviceAccountName": "web",
            "containers": [{"name": "application", "image": "localhost/application:1"}],
        },
    })
}

/// A group of expressions that are as dear as one may be: each is tried as a table, which becomes too large, and then
/// simulated.
fn bomb(number: usize) -> Value {
    let matches = (0..EXPRESSIONS).map(|index| {
        let path = format!("/{number:04x}{index:02x}.*(?:a|b).{{40}}");
        json!({"name": format!("m{index}"), "pathRegex": path, "methods": ["GET"]})
    });
    json!({
        "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
        "metadata": {"name": format!("bomb-{number}"), "namespace": TENANT},
        "spec": {"matches": matches.collect::<Vec<_>>()},
    })
}

/// Writes bombs, and a target that names some of them, and says how many objects the API server took.
pub(super) async fn bombs(api: &Api) -> anyhow::Result<u64> {
    let target = target("bomb", BOMBS_OF_TARGET);
    write(api, std::iter::once(target).chain((0..BOMBS).map(bomb))).await
}

/// Writes groups, and a target that names them, and says how many objects the API server took.
pub(super) async fn too_large(api: &Api) -> anyhow::Result<u64> {
    let target = target("large", LARGE_GROUPS);
    write(api, (0..LARGE_GROUPS).map(large).chain(std::iter::once(target))).await
}

/// A group whose names do not compress well.
fn large(number: usize) -> Value {
    let mut state = u64::try_from(number).unwrap_or(0) + 1;
    let mut word = || -> String {
        (0..240)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                char::from(b'a' + u8::try_from((state >> 33) % 26).unwrap_or(0))
            })
            .collect()
    };
    let matches: Vec<Value> = (0..128)
        .map(|index| json!({"name": format!("m{index}-{}", word()), "pathRegex": "/", "methods": ["GET"]}))
        .collect();
    json!({
        "apiVersion": "specs.smi-spec.io/v1alpha4", "kind": "HTTPRouteGroup",
        "metadata": {"name": format!("large-{number}"), "namespace": TENANT},
        "spec": {"matches": matches},
    })
}

/// A target of the attacker's account that lets the victim's in, by the first of these groups.
fn target(groups: &str, number: usize) -> Value {
    let rules =
        (0..number).map(|number| json!({"kind": "HTTPRouteGroup", "name": format!("{groups}-{number}")}));
    json!({
        "apiVersion": "access.smi-spec.io/v1alpha4", "kind": "TrafficTarget",
        "metadata": {"name": "bomber", "namespace": TENANT},
        "spec": {
            "destination": {"kind": "ServiceAccount", "name": "bomber", "namespace": TENANT},
            "sources": [{"kind": "ServiceAccount", "name": "web", "namespace": "shop"}],
            "rules": rules.collect::<Vec<_>>(),
        },
    })
}

/// Makes these, several at once, for as long as an attack may last. Those that are refused are not tried again.
async fn write(api: &Api, all: impl Iterator<Item = Value>) -> anyhow::Result<u64> {
    let (from, mut written) = (Instant::now(), 0);
    let mut tasks = JoinSet::new();
    for object in all {
        if from.elapsed() > LONGEST {
            break;
        }
        if tasks.len() >= AT_ONCE
            && let Some(done) = tasks.join_next().await
        {
            written += done?;
        }
        let api = api.clone();
        tasks.spawn(async move {
            let path = Place::of(&object).collection;
            let made = api.send("POST", &path, "application/json", &object).await;
            u64::from(made.is_ok())
        });
    }
    for done in tasks.join_all().await {
        written += done;
    }
    Ok(written)
}

/// Removes what attackers wrote.
pub(super) async fn clear(api: &Api) -> anyhow::Result<()> {
    for (group, kind) in [("access", "traffictargets"), ("specs", "httproutegroups")] {
        let path = format!("/apis/{group}.smi-spec.io/v1alpha4/namespaces/{TENANT}/{kind}");
        api.send("DELETE", &path, "application/json", &json!({})).await?;
    }
    Ok(())
}
