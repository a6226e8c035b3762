//! `smilax proxy-config`: what one proxy has in force, as it says itself.

mod view;

use std::str::FromStr;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use serde_json::{Value, json};
use smilax_core::config;
use smilax_core::convention::{ADMIN_PORT, key};
use tokio::time::timeout;

use crate::cluster::CALL;
use crate::forward::{self, PodPort};
use crate::output::Output;

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Its pod: POD, or NAMESPACE/POD as smilax proxy-status writes it.
    #[arg(value_name = "PROXY")]
    proxy: ProxyName,
    /// Which part; a summary if not given.
    #[arg(value_enum)]
    part: Option<Part>,
    /// Namespace of the pod, if its name has none; that of the kubeconfig if not given.
    #[arg(short = 'n', value_name = "NAMESPACE")]
    of_namespace: Option<String>,
    /// Form of the output; json is what the proxy answered.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    output: Output,
}

/// A part of what a proxy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Where requests go, by which object.
    Routes,
    /// What it calls with policy, and how it secures that.
    Destinations,
    /// Pods that it sends to, of the destinations that it uses now.
    Endpoints,
    /// Its own certificate, and whom it trusts.
    Certificates,
    /// Who may call its pod.
    Access,
}

/// A proxy, by its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ProxyName {
    namespace: Option<String>,
    pod: String,
}

impl FromStr for ProxyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        match parts[..] {
            [pod] | ["pod" | "pods" | "po", pod] if !pod.is_empty() => Ok(Self {
                namespace: None,
                pod: pod.to_owned(),
            }),
            [namespace, pod] if !namespace.is_empty() && !pod.is_empty() => Ok(Self {
                namespace: Some(namespace.to_owned()),
                pod: pod.to_owned(),
            }),
            _ => Err("write POD or NAMESPACE/POD, for example shop/web-1".to_owned()),
        }
    }
}

impl Part {
    /// Where the proxy tells it.
    fn path(self) -> &'static str {
        match self {
            Self::Routes | Self::Destinations | Self::Access => "/config",
            Self::Endpoints => "/endpoints",
            Self::Certificates => "/certificates",
        }
    }
}

/// Asks the proxy, and gives what is to be printed. `now` is in seconds since the epoch.
///
/// # Errors
/// When there is no such proxy, or it cannot be asked.
pub(crate) async fn answer(client: &Client, asked: &ConfigArgs, now: u64) -> anyhow::Result<String> {
    let namespace = asked.proxy.namespace.as_deref().or(asked.of_namespace.as_deref());
    let admin = PodPort {
        namespace: namespace.unwrap_or(client.default_namespace()).to_owned(),
        pod: asked.proxy.pod.clone(),
        port: ADMIN_PORT,
    };
    has_proxy(client, &admin).await?;
    let Some(part) = asked.part else {
        return summary(client, &admin, asked.output, now).await;
    };
    let body = ask(client, &admin, part.path()).await?;
    match asked.output {
        Output::Json => pretty(&body),
        Output::Table => shown(part, &body, now),
    }
}

fn shown(part: Part, body: &Bytes, now: u64) -> anyhow::Result<String> {
    let read =
        "what the proxy answered cannot be read; smilax version shows whether it is newer than this program";
    Ok(match part {
        Part::Routes => view::routes(&config::decode(body).context(read)?),
        Part::Destinations => view::destinations(&config::decode(body).context(read)?),
        Part::Access => view::access(&config::decode(body).context(read)?),
        Part::Endpoints => view::endpoints(&serde_json::from_slice::<Vec<view::Port>>(body).context(read)?),
        Part::Certificates => view::certificates(&serde_json::from_slice(body).context(read)?, now),
    })
}

async fn summary(client: &Client, admin: &PodPort, output: Output, now: u64) -> anyhow::Result<String> {
    let mut all = serde_json::Map::new();
    for (name, path) in [
        ("status", "/config/status"),
        ("config", "/config"),
        ("certificates", "/certificates"),
        ("endpoints", "/endpoints"),
    ] {
        // Part of an answer is better than none: a proxy that waits for its configuration has no other part either.
        let value = match ask(client, admin, path).await {
            Ok(body) => serde_json::from_slice(&body)?,
            Err(error) => json!({"error": format!("{error:#}")}),
        };
        all.insert(name.to_owned(), value);
    }
    let all = Value::Object(all);
    Ok(match output {
        Output::Json => format!("{all:#}\n"),
        Output::Table => view::summary(&all, now),
    })
}

async fn ask(client: &Client, admin: &PodPort, path: &str) -> anyhow::Result<Bytes> {
    let answer = forward::get(client, admin, path).await?;
    answer.success().with_context(|| {
        format!(
            "the proxy of pod {}/{} does not tell {path}",
            admin.namespace, admin.pod
        )
    })
}

async fn has_proxy(client: &Client, admin: &PodPort) -> anyhow::Result<()> {
    let pods = Api::<Pod>::namespaced(client.clone(), &admin.namespace);
    let (namespace, name) = (&admin.namespace, &admin.pod);
    let pod = timeout(CALL, pods.get_opt(name))
        .await
        .context("the API server does not answer")?
        .with_context(|| format!("pod {namespace}/{name} cannot be read"))?;
    let Some(pod) = pod else {
        bail!("there is no pod {name} in namespace {namespace}; smilax proxy-status lists every proxy");
    };
    let labels = pod.metadata.labels.unwrap_or_default();
    if !labels.contains_key(key::PROXY_VERSION) {
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let noted = annotations
            .get(key::INJECT_STATUS)
            .map_or(String::new(), |status| format!(": {status}"));
        bail!("pod {namespace}/{name} has no proxy{noted}");
    }
    Ok(())
}

fn pretty(body: &Bytes) -> anyhow::Result<String> {
    let value: Value = serde_json::from_slice(body).context("the proxy answered no JSON")?;
    Ok(format!("{value:#}\n"))
}

#[cfg(test)]
mod tests;
