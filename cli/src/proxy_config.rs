//! `smilax proxy-config`: what one proxy has in force, as it says itself.

mod view;

use std::str::FromStr;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use k8s_openapi::api::core::v1::Pod;
use kube::core::{ApiResource, GroupVersionKind};
use kube::{Api, Client};
use serde_json::{Value, json};
use smilax_core::config;
use smilax_core::convention::{ADMIN_PORT, key};
use tokio::time::timeout;

use crate::cluster::{self, CALL};
use crate::controller::{Controller, is_gone};
use crate::forward::{self, PodPort};
use crate::output::Output;
use crate::world::text;

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Its pod: POD, or NAMESPACE/POD as smilax proxy-status writes it; or what makes pods, of which one is chosen: deploy/NAME, sts/NAME, ds/NAME.
    #[arg(value_name = "PROXY")]
    proxy: ProxyName,
    /// Which part; a summary if not given.
    #[arg(value_enum)]
    part: Option<Part>,
    /// Namespace of the pod, if its name has none; that of the kubeconfig if not given.
    #[arg(short = 'n', long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Form of the output; json is what the proxy answered.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    output: Output,
}

const FORMS: &str = "write POD, NAMESPACE/POD or KIND/NAME, for example web-1, shop/web-1 or deploy/web";

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
enum ProxyName {
    /// That of a pod.
    Pod { namespace: Option<String>, pod: String },
    /// That of any pod which a controller makes.
    AnyOf { kind: &'static str, name: String },
}

impl FromStr for ProxyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(FORMS.to_owned());
        }
        match parts[..] {
            [pod] | ["pod" | "pods" | "po", pod] => Ok(Self::Pod {
                namespace: None,
                pod: pod.to_owned(),
            }),
            [first, second] => Ok(match Controller::kind(first) {
                Some(kind) => Self::AnyOf {
                    kind,
                    name: second.to_owned(),
                },
                None => Self::Pod {
                    namespace: Some(first.to_owned()),
                    pod: second.to_owned(),
                },
            }),
            _ => Err(FORMS.to_owned()),
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
    let of_option = asked.namespace.as_deref().unwrap_or(client.default_namespace());
    let (namespace, pod) = match &asked.proxy {
        ProxyName::Pod { namespace, pod } => (namespace.as_deref().unwrap_or(of_option), pod.clone()),
        ProxyName::AnyOf { kind, name } => (of_option, any_of(client, of_option, kind, name).await?),
    };
    let admin = PodPort {
        namespace: namespace.to_owned(),
        pod,
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

/// Name of a pod with a proxy that this controller makes: a Ready one if there is one.
async fn any_of(client: &Client, namespace: &str, kind: &str, name: &str) -> anyhow::Result<String> {
    cluster::expect_namespace(client, namespace).await?;
    let pods = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod"));
    let pods = cluster::labelled(client, Some(namespace), &pods, key::PROXY_VERSION).await?;
    match chosen(&pods, kind, name) {
        Some(pod) => Ok(pod),
        None => bail!(
            "{kind} {name} has no pod with a proxy in namespace {namespace}; smilax proxy-status -n {namespace} lists every proxy"
        ),
    }
}

fn chosen(pods: &[Value], kind: &str, name: &str) -> Option<String> {
    let is_ready = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let of = pods.iter().filter(|pod| !is_gone(pod)).filter(|pod| {
        let controller = Controller::of(pod);
        controller.kind == kind && controller.name == name
    });
    of.min_by_key(|pod| (!is_ready(pod), text(pod, "/metadata/name").to_owned()))
        .map(|pod| text(pod, "/metadata/name").to_owned())
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
