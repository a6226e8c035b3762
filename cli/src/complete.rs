//! Names of objects, completed while somebody types: asked of the cluster that the command line names so far.
//!
//! A shell runs the program itself for that (see [`clap_complete::env`]). Whatever goes wrong, nothing is completed: a
//! prompt is no place for errors.

mod given;

use std::ffi::OsStr;
use std::time::Duration;

use clap_complete::CompletionCandidate;
use kube::Client;
use kube::core::ApiResource;
use serde_json::Value;
use tokio::time::timeout;

use crate::check::SMI_KINDS;
use crate::cluster;
use crate::controller::Controller;
use crate::explain::KINDS;
use crate::sidecars;
use crate::world::text;
use given::Given;

/// Somebody waits at a prompt.
const PATIENCE: Duration = Duration::from_secs(3);
/// What makes pods, as it is written most.
const CONTROLLERS: [&str; 3] = ["deploy", "sts", "ds"];

/// Names of namespaces.
pub(crate) fn namespaces(typed: &OsStr) -> Vec<CompletionCandidate> {
    completed(typed, async |client, _, _| {
        names(&client, None, &core("Namespace")).await
    })
}

/// SMI objects, as `trafficsplit/web`.
pub(crate) fn objects(typed: &OsStr) -> Vec<CompletionCandidate> {
    completed(typed, async |client, given, typed| {
        let Some((written, _)) = typed.split_once('/') else {
            return Ok(KINDS
                .iter()
                .map(|(_, [_, singular, _])| format!("{singular}/"))
                .collect());
        };
        let kind = KINDS.iter().find(|(_, written_as)| written_as.contains(&written));
        let known = SMI_KINDS
            .iter()
            .find(|(_, name, _)| kind.is_some_and(|(kind, _)| kind == name));
        let Some((group, kind, plural)) = known else {
            return Ok(Vec::new());
        };
        let resource = cluster::smi(group, kind, plural);
        let names = names(&client, Some(given.namespace(&client)), &resource).await?;
        Ok(within(written, names))
    })
}

/// Pods with a sidecar, and what makes pods, as `deploy/web`.
pub(crate) fn proxies(typed: &OsStr) -> Vec<CompletionCandidate> {
    completed(typed, async |client, given, typed| {
        pods(&client, given.namespace(&client), &typed, Among::WithSidecar).await
    })
}

/// Pods, what makes pods, and namespaces as `ns/shop`.
pub(crate) fn subjects(typed: &OsStr) -> Vec<CompletionCandidate> {
    completed(typed, async |client, given, typed| {
        if typed.starts_with("ns/") {
            let all = names(&client, None, &core("Namespace")).await?;
            return Ok(within("ns", all));
        }
        let mut all = pods(&client, given.namespace(&client), &typed, Among::All).await?;
        if !typed.contains('/') {
            all.push("ns/".to_owned());
        }
        Ok(all)
    })
}

/// Accounts, as `shop/web`.
pub(crate) fn accounts(typed: &OsStr) -> Vec<CompletionCandidate> {
    completed(typed, async |client, _, typed| {
        in_namespaces(&client, &typed, "ServiceAccount").await
    })
}

/// Services, as `shop/web`.
pub(crate) fn services(typed: &OsStr) -> Vec<CompletionCandidate> {
    completed(typed, async |client, _, typed| {
        in_namespaces(&client, &typed, "Service").await
    })
}

async fn in_namespaces(client: &Client, typed: &str, kind: &str) -> anyhow::Result<Vec<String>> {
    match typed.split_once('/') {
        None => {
            let all = names(client, None, &core("Namespace")).await?;
            Ok(all.into_iter().map(|name| format!("{name}/")).collect())
        }
        Some((namespace, _)) => {
            let all = names(client, Some(namespace), &core(kind)).await?;
            Ok(within(namespace, all))
        }
    }
}

/// Which pods are proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Among {
    All,
    WithSidecar,
}

async fn pods(client: &Client, namespace: &str, typed: &str, among: Among) -> anyhow::Result<Vec<String>> {
    let Some((written, _)) = typed.split_once('/') else {
        let mut all = pod_names(client, namespace, among).await?;
        all.extend(CONTROLLERS.map(|kind| format!("{kind}/")));
        return Ok(all);
    };
    match Controller::kind(written).and_then(Controller::resource) {
        Some((group, kind)) => {
            let resource = cluster::resource(group, kind);
            Ok(within(written, names(client, Some(namespace), &resource).await?))
        }
        None => Ok(within(written, pod_names(client, written, among).await?)),
    }
}

async fn pod_names(client: &Client, namespace: &str, among: Among) -> anyhow::Result<Vec<String>> {
    match among {
        Among::All => names(client, Some(namespace), &core("Pod")).await,
        Among::WithSidecar => Ok(names_of(&sidecars::list(client, Some(namespace)).await?)),
    }
}

async fn names(
    client: &Client,
    namespace: Option<&str>,
    resource: &ApiResource,
) -> anyhow::Result<Vec<String>> {
    Ok(names_of(&cluster::list(client, namespace, resource).await?))
}

fn names_of(objects: &[Value]) -> Vec<String> {
    let name = |object: &Value| text(object, "/metadata/name").to_owned();
    objects.iter().map(name).collect()
}

fn within(place: &str, names: Vec<String>) -> Vec<String> {
    names.into_iter().map(|name| format!("{place}/{name}")).collect()
}

fn core(kind: &str) -> ApiResource {
    cluster::resource("", kind)
}

/// What begins with what was typed, of the names that are found.
fn completed(
    typed: &OsStr,
    find: impl AsyncFnOnce(Client, Given, String) -> anyhow::Result<Vec<String>>,
) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy().into_owned();
    let given = Given::of(std::env::args());
    let found = async {
        let client = cluster::connect(&given.cluster()).await?;
        find(client, given, typed.clone()).await
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let found = runtime.map(|runtime| runtime.block_on(async { timeout(PATIENCE, found).await }));
    let Ok(Ok(Ok(names))) = found else {
        return Vec::new();
    };
    let names = names.into_iter().filter(|name| name.starts_with(&typed));
    names.map(CompletionCandidate::new).collect()
}
