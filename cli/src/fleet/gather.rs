//! What is read for it: pods and configurations from the API server, reports from every replica of the operator.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use kube::Client;
use serde_json::Value;
use smilax_core::{ProxyConfig, Workload};

use super::state::{self, Page, Proxy, Wanted};
use super::tampering::Mounts;
use crate::cluster;
use crate::forward::{self, PodPort};
use crate::operator;
use crate::world::text;

/// Where the operator's replicas tell what they know.
const PATH: &str = "/fleet";
/// Their port of health and metrics, where a pod does not name one.
const ADMIN_PORT: u16 = 8080;
/// Labels of the operator's ConfigMaps.
const CONFIGURATIONS: &str = "app.kubernetes.io/managed-by=smilax-operator";

/// What the API server knows of proxies.
#[derive(Clone, Debug)]
pub(crate) struct Cluster {
    pods: Vec<Value>,
    /// The newest configuration of each account.
    pub(crate) configs: BTreeMap<Workload, ProxyConfig>,
    /// The ConfigMaps that hold them.
    mounts: Mounts,
    /// Which of them cannot be read, as sentences.
    pub(crate) unreadable: Vec<String>,
}

impl Cluster {
    /// Every proxy, with what the replicas of the operator heard.
    pub(crate) fn proxies(&self, pages: Vec<Page>) -> Vec<Proxy> {
        let newest = self.configs.iter();
        let wanted: Wanted = newest
            .map(|(workload, config)| (workload.clone(), config.revision))
            .collect();
        state::proxies(&self.pods, pages, &wanted, &self.mounts)
    }
}

/// What the operator's replicas know of proxies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heard {
    pub(crate) pages: Vec<Page>,
    /// Why some replica's is missing, as sentences.
    pub(crate) missing: Vec<String>,
}

/// Reads what the API server knows.
///
/// # Errors
/// When something cannot be read.
pub(crate) async fn read(client: &Client, namespace: Option<&str>) -> anyhow::Result<Cluster> {
    let pods = cluster::list(client, namespace, &cluster::resource("", "Pod")).await?;
    let maps = cluster::labelled(
        client,
        namespace,
        &cluster::resource("", "ConfigMap"),
        CONFIGURATIONS,
    )
    .await?;
    let (mut configs, mut unreadable) = (BTreeMap::new(), Vec::new());
    for map in &maps {
        match state::newest(map) {
            Ok(Some(config)) => {
                configs.insert(config.workload.clone(), config);
            }
            Ok(None) => {}
            // Somebody may have written it who is not the operator: no reason to say nothing of all others.
            Err(error) => unreadable.push(format!(
                "ConfigMap {}/{} cannot be read: {error:#}",
                text(map, "/metadata/namespace"),
                text(map, "/metadata/name")
            )),
        }
    }
    Ok(Cluster {
        pods,
        configs,
        mounts: Mounts::of(&maps),
        unreadable,
    })
}

/// Asks every replica of the operator that runs.
///
/// # Errors
/// When none answers.
pub(crate) async fn hear(client: &Client, installation: &str) -> anyhow::Result<Heard> {
    let replicas = cluster::labelled(
        client,
        Some(installation),
        &cluster::resource("", "Pod"),
        operator::SELECTOR,
    )
    .await?;
    let running: Vec<&Value> = replicas
        .iter()
        .filter(|pod| {
            text(pod, "/status/phase") == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        })
        .collect();
    if running.is_empty() {
        bail!(
            "no pod of the operator runs in namespace {installation}; if Smilax is installed elsewhere, say so with \
             --smilax-namespace"
        );
    }
    let mut heard = Heard::default();
    let mut last = None;
    for pod in running {
        match page(client, installation, pod).await {
            Ok(page) => heard.pages.push(page),
            Err(error) => {
                heard.missing.push(format!(
                    "Proxies that are connected to pod {} of the operator are shown as Disconnected: {error:#}",
                    text(pod, "/metadata/name")
                ));
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) if heard.pages.is_empty() => Err(error),
        _ => Ok(heard),
    }
}

async fn page(client: &Client, installation: &str, pod: &Value) -> anyhow::Result<Page> {
    let from = PodPort {
        namespace: installation.to_owned(),
        pod: text(pod, "/metadata/name").to_owned(),
        port: admin_port(pod),
    };
    let body = forward::get(client, &from, PATH).await?.success().with_context(|| {
        format!(
            "operator pod {} does not report proxies; to see whether it is older than this program: smilax version",
            from.pod
        )
    })?;
    serde_json::from_slice(&body)
        .with_context(|| format!("cannot parse the answer of operator pod {}", from.pod))
}

fn admin_port(pod: &Value) -> u16 {
    let ports = pod["spec"]["containers"][0]["ports"].as_array();
    ports
        .into_iter()
        .flatten()
        .find(|port| port["name"] == "admin")
        .and_then(|port| u16::try_from(port["containerPort"].as_u64()?).ok())
        .unwrap_or(ADMIN_PORT)
}
