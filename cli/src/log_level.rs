//! `smilax log-level`: what sidecars log, shown and changed while they run.

use anyhow::{Context as _, bail};
use clap_complete::ArgValueCompleter;
use kube::Client;
use serde_json::{Value, json};
use smilax_core::LogFilter;
use smilax_core::convention::ADMIN_PORT;

use crate::complete;
use crate::controller::{Controller, is_gone};
use crate::forward::{self, PodPort};
use crate::names;
use crate::output::{OutputArgs, columns};
use crate::sidecars;
use crate::target::Target;
use crate::workloads;
use crate::world::text;

/// Where a proxy tells and takes its log filter.
const PATH: &str = "/log-level";

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct LevelArgs {
    /// Pods of the sidecars: POD, NAMESPACE/POD, deploy/NAME, sts/NAME or ds/NAME [default: all of the namespace].
    #[arg(value_name = "POD", add = ArgValueCompleter::new(complete::proxies))]
    target: Option<Target>,
    /// Level to set: off, error, warn, info, debug or trace; or levels by module, such as info,smilax_proxy=debug
    /// [default: show the level].
    #[arg(value_name = "LEVEL")]
    level: Option<LogFilter>,
    /// Namespace of the pods [default: that of the kubeconfig].
    #[arg(short = 'n', long, value_name = "NAMESPACE", add = ArgValueCompleter::new(complete::namespaces))]
    pub(crate) namespace: Option<String>,
    /// Show the levels of all namespaces.
    #[arg(short = 'A', long, conflicts_with_all = ["target", "namespace"])]
    all_namespaces: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// What one sidecar logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Level {
    namespace: String,
    pod: String,
    filter: String,
}

/// Sets the level if one is given, and reads what is in force.
///
/// # Errors
/// When there is no such sidecar, or one cannot be asked. Those before it have the new level then.
pub(crate) async fn answer(client: &Client, asked: &LevelArgs) -> anyhow::Result<Vec<Level>> {
    let of_option = asked.namespace.as_deref().unwrap_or(client.default_namespace());
    let namespace = match &asked.target {
        Some(Target::Pod {
            namespace: Some(namespace),
            ..
        }) => namespace,
        _ => of_option,
    };
    let scope = (!asked.all_namespaces).then_some(namespace);
    let pods = sidecars::list(client, scope).await?;
    let chosen = chosen(&pods, asked.target.as_ref(), namespace)?;
    if let (true, Some(Target::Controller { kind, name })) = (chosen.is_empty(), &asked.target) {
        return Err(workloads::without_sidecar(client, namespace, kind, name).await);
    }
    let mut levels = Vec::new();
    for (namespace, pod) in chosen {
        let admin = PodPort {
            namespace,
            pod,
            port: ADMIN_PORT,
        };
        let filter = level_of(client, &admin, asked.level.as_ref()).await?;
        let PodPort { namespace, pod, .. } = admin;
        levels.push(Level {
            namespace,
            pod,
            filter,
        });
    }
    Ok(levels)
}

async fn level_of(client: &Client, admin: &PodPort, set: Option<&LogFilter>) -> anyhow::Result<String> {
    let what = || format!("sidecar of pod {}/{}", admin.namespace, admin.pod);
    if let Some(level) = set {
        let body = level.as_str().to_owned().into();
        let answer = forward::put(client, admin, PATH, body).await?;
        answer
            .success()
            .with_context(|| format!("the {} rejects the level", what()))?;
    }
    let body = forward::get(client, admin, PATH).await?.success();
    let body = body.with_context(|| format!("cannot read the level of the {}", what()))?;
    Ok(String::from_utf8_lossy(&body).trim().to_owned())
}

/// Namespace and name of each pod that is meant, of those with a proxy; none where a workload has none.
fn chosen(pods: &[Value], target: Option<&Target>, namespace: &str) -> anyhow::Result<Vec<(String, String)>> {
    let is_meant = |pod: &&Value| match target {
        None => true,
        Some(Target::Pod { pod: name, .. }) => text(pod, "/metadata/name") == name,
        Some(Target::Controller { kind, name }) => {
            let controller = Controller::of(pod);
            controller.kind == *kind && controller.name == *name
        }
    };
    let name = |pod: &Value| text(pod, "/metadata/name").to_owned();
    let there = || pods.iter().filter(|pod| !is_gone(pod));
    let place = |pod: &Value| (text(pod, "/metadata/namespace").to_owned(), name(pod));
    let chosen: Vec<_> = there().filter(is_meant).map(place).collect();
    if !chosen.is_empty() {
        return Ok(chosen);
    }
    match target {
        None => bail!("no pod in namespace {namespace} has a sidecar"),
        Some(Target::Pod { pod, .. }) => {
            let known: Vec<String> = there().map(name).collect();
            let meant = names::did_you_mean(pod, known.iter().map(String::as_str));
            bail!("there is no pod {pod} with a sidecar in namespace {namespace}{meant}")
        }
        Some(Target::Controller { .. }) => Ok(Vec::new()),
    }
}

/// A line for each sidecar.
pub(crate) fn table(levels: &[Level]) -> String {
    let rows: Vec<[String; 2]> = levels
        .iter()
        .map(|one| [format!("{}/{}", one.namespace, one.pod), one.filter.clone()])
        .collect();
    columns(["NAMESPACE/POD", "LEVEL"], &rows)
}

/// The same for programs.
pub(crate) fn json(levels: &[Level]) -> Value {
    let all = levels
        .iter()
        .map(|one| json!({"namespace": one.namespace, "pod": one.pod, "level": one.filter}));
    json!({"proxies": all.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pods() -> Vec<Value> {
        let of = |name: &str| {
            json!({"metadata": {
                "name": name, "namespace": "shop", "labels": {"pod-template-hash": "5d"},
                "ownerReferences": [{"kind": "ReplicaSet", "name": "web-5d", "controller": true}],
            }})
        };
        let tool = json!({"metadata": {"name": "tool", "namespace": "shop"}});
        vec![of("web-5d-a"), of("web-5d-b"), tool]
    }

    fn named(target: Option<&str>) -> Result<Vec<String>, String> {
        let target = target.map(|text| text.parse().unwrap());
        let chosen = chosen(&pods(), target.as_ref(), "shop").map_err(|error| error.to_string())?;
        Ok(chosen.into_iter().map(|(_, name)| name).collect())
    }

    #[test]
    fn a_deployment_means_all_of_its_pods_and_nothing_means_all_of_the_namespace() {
        assert_eq!(named(Some("deploy/web")).unwrap(), ["web-5d-a", "web-5d-b"]);
        assert_eq!(named(Some("tool")).unwrap(), ["tool"]);
        assert_eq!(named(None).unwrap().len(), 3);
    }

    #[test]
    fn a_mistyped_name_is_answered_with_the_nearest() {
        assert_eq!(named(Some("deploy/wbe")).unwrap(), [""; 0]);
        assert_eq!(
            named(Some("toool")).unwrap_err(),
            "there is no pod toool with a sidecar in namespace shop; did you mean tool?"
        );
    }

    #[test]
    fn levels_are_listed_by_pod() {
        let level = Level {
            namespace: "shop".to_owned(),
            pod: "web-1".to_owned(),
            filter: "debug".to_owned(),
        };
        assert_eq!(
            table(std::slice::from_ref(&level)),
            "NAMESPACE/POD   LEVEL\nshop/web-1      debug\n"
        );
        assert_eq!(json(&[level])["proxies"][0]["level"], "debug");
    }
}
