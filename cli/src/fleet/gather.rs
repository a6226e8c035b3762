//! What is read for it: pods and configurations from the API server, reports from every replica of the operator.

use anyhow::{Context as _, bail};
use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::Value;

use super::state::{self, Page, Proxy, Wanted, proxies};
use crate::cluster;
use crate::forward::{self, PodPort};
use crate::world::text;

/// Where the operator's replicas tell what they know.
const PATH: &str = "/fleet";
/// Their port of health and metrics, where a pod does not name one.
const ADMIN_PORT: u16 = 8080;
/// Labels of the operator's ConfigMaps.
const CONFIGURATIONS: &str = "app.kubernetes.io/managed-by=smilax-operator";
/// Labels of the operator's pods.
const OPERATOR: &str = "app.kubernetes.io/name=smilax-operator";

/// Reads every proxy of a namespace, or of all.
///
/// # Errors
/// When something cannot be read, or no replica answers.
pub(crate) async fn gather(
    client: &Client,
    installation: &str,
    namespace: Option<&str>,
) -> anyhow::Result<Vec<Proxy>> {
    let core = |kind: &str| ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", kind));
    let pods = cluster::list(client, namespace, &core("Pod")).await?;
    let maps = cluster::labelled(client, namespace, &core("ConfigMap"), CONFIGURATIONS).await?;
    let mut wanted = Wanted::new();
    for map in &maps {
        let name = || {
            format!(
                "ConfigMap {}/{}",
                text(map, "/metadata/namespace"),
                text(map, "/metadata/name")
            )
        };
        wanted.extend(state::wanted(map).with_context(|| format!("{} cannot be read", name()))?);
    }
    let replicas = cluster::labelled(client, Some(installation), &core("Pod"), OPERATOR).await?;
    Ok(proxies(
        &pods,
        pages(client, installation, &replicas).await?,
        &wanted,
    ))
}

/// What every replica that runs knows.
async fn pages(client: &Client, installation: &str, replicas: &[Value]) -> anyhow::Result<Vec<Page>> {
    let running: Vec<&Value> = replicas
        .iter()
        .filter(|pod| {
            text(pod, "/status/phase") == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
        })
        .collect();
    if running.is_empty() {
        bail!(
            "no pod of the operator runs in namespace {installation}; if Smilax is installed elsewhere, say so with \
             --namespace"
        );
    }
    let mut pages = Vec::new();
    for pod in running {
        let from = PodPort {
            namespace: installation.to_owned(),
            pod: text(pod, "/metadata/name").to_owned(),
            port: admin_port(pod),
        };
        // One that does not answer would leave its proxies Disconnected, which they may not be.
        let body = forward::get(client, &from, PATH).await?.success();
        let body = body.with_context(|| {
            format!("pod {} of the operator does not tell of proxies; smilax version shows whether it is older than this program", from.pod)
        })?;
        let page = serde_json::from_slice(&body);
        pages.push(
            page.with_context(|| format!("what pod {} of the operator tells cannot be read", from.pod))?,
        );
    }
    Ok(pages)
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
