//! `smilax proxy-config`: what one proxy has in force, as it says itself.

mod learned;
mod view;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use clap_complete::ArgValueCompleter;
use http::StatusCode;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use serde_json::{Value, json};
use smilax_compiler::ingest;
use smilax_core::config;
use smilax_core::convention::{ADMIN_PORT, key};
use tokio::time::timeout;

use crate::cluster::{self, CALL};
use crate::complete;
use crate::controller::{Controller, is_gone};
use crate::forward::{self, PodPort};
use crate::names;
use crate::output::{OutputArgs, View, rfc3339};
use crate::sidecars;
use crate::target::Target;
use crate::workloads;
use crate::world::text;
use learned::Destinations;

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// Pod of the sidecar: POD or NAMESPACE/POD; or deploy/NAME, sts/NAME or ds/NAME for one of its pods.
    #[arg(value_name = "POD", add = ArgValueCompleter::new(complete::proxies))]
    proxy: Target,
    /// Part to show [default: a summary].
    #[arg(value_enum)]
    part: Option<Part>,
    /// Namespace of the pod [default: that of the kubeconfig].
    #[arg(short = 'n', long, value_name = "NAMESPACE", add = ArgValueCompleter::new(complete::namespaces))]
    namespace: Option<String>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Where a proxy tells what it looked up.
const ADDRESSES: &str = "/addresses";

/// A part of what a proxy holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Routes, and the object that each comes from.
    Routes,
    /// Services that it knows, and how connections to them are secured.
    Destinations,
    /// Pods of the Services in use.
    Endpoints,
    /// Its certificate, and the roots that it trusts.
    Certificates,
    /// Who may call its pod.
    Access,
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
        Target::Pod { namespace, pod } => (namespace.as_deref().unwrap_or(of_option), pod.clone()),
        Target::Controller { kind, name } => (of_option, any_of(client, of_option, kind, name).await?),
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
    let told = Told {
        body: json_of(&ask(client, &admin, part.path()).await?)?,
        addresses: match part {
            Part::Routes | Part::Destinations => addresses(client, &admin).await?,
            Part::Endpoints | Part::Certificates | Part::Access => Value::Null,
        },
    };
    // Tables are made first: what cannot be read is an error in every form.
    shown(part, &told, View::usual(now))?;
    asked.output.render(
        now,
        |view| shown(part, &told, view).unwrap_or_default(),
        || told.for_programs(),
    )
}

/// What a proxy told about a part.
struct Told {
    body: Value,
    /// What stands behind the addresses that it looked up; null where that does not matter.
    addresses: Value,
}

impl Told {
    /// What the proxy answered, with what it learned beside its configuration, and with times in RFC 3339.
    fn for_programs(&self) -> Value {
        let mut all = self.body.clone();
        if !self.addresses.is_null() {
            all["learned"] = self.addresses.clone();
        }
        spell_times(&mut all);
        all
    }
}

/// Fields in which proxies tell times, in seconds since the epoch.
const TIMES: [&str; 4] = ["appliedAt", "at", "notBefore", "notAfter"];

fn spell_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_u64() {
                    Some(at) if TIMES.contains(&name.as_str()) => *value = rfc3339(at).into(),
                    _ => spell_times(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(spell_times),
        _ => {}
    }
}

fn shown(part: Part, told: &Told, view: View) -> anyhow::Result<String> {
    let read =
        "what the proxy answered cannot be read; smilax version shows whether it is newer than this program";
    let body = &told.body;
    let config = || config::decode(body.to_string().as_bytes()).context(read);
    Ok(match part {
        Part::Routes => view::routes(&Destinations::of(config()?, &told.addresses)),
        Part::Destinations => view::destinations(&Destinations::of(config()?, &told.addresses)),
        Part::Access => view::access(&config()?),
        Part::Endpoints => {
            view::endpoints(&serde_json::from_value::<Vec<view::Port>>(body.clone()).context(read)?)
        }
        Part::Certificates => view::certificates(body, view),
    })
}

async fn summary(client: &Client, admin: &PodPort, output: OutputArgs, now: u64) -> anyhow::Result<String> {
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
    all.insert("addresses".to_owned(), addresses(client, admin).await?);
    let all = Value::Object(all);
    output.render(
        now,
        |view| view::summary(&all, view),
        || {
            let mut all = all.clone();
            spell_times(&mut all);
            all
        },
    )
}

/// What stands behind the addresses that the proxy looked up; nothing where it is too old to tell.
async fn addresses(client: &Client, admin: &PodPort) -> anyhow::Result<Value> {
    let answer = forward::get(client, admin, ADDRESSES).await?;
    if answer.status == StatusCode::NOT_FOUND {
        return Ok(json!([]));
    }
    json_of(&answer.success()?)
}

async fn ask(client: &Client, admin: &PodPort, path: &str) -> anyhow::Result<Bytes> {
    let answer = forward::get(client, admin, path).await?;
    answer.success().with_context(|| {
        format!(
            "the proxy of pod {}/{} does not serve {path}",
            admin.namespace, admin.pod
        )
    })
}

/// Name of a pod with a proxy that this controller makes: a Ready one if there is one.
async fn any_of(client: &Client, namespace: &str, kind: &'static str, name: &str) -> anyhow::Result<String> {
    cluster::expect_namespace(client, namespace).await?;
    let pods = sidecars::list(client, Some(namespace)).await?;
    match chosen(&pods, kind, name) {
        Some(pod) => Ok(pod),
        None => Err(workloads::without_sidecar(client, namespace, kind, name).await),
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
        .map_err(|error| cluster::unreadable(&format!("pod {namespace}/{name}"), error))?;
    let Some(pod) = pod else {
        cluster::expect_namespace(client, namespace).await?;
        let known = sidecars::list(client, Some(namespace)).await?;
        let known = known.iter().map(|one| text(one, "/metadata/name"));
        let meant = names::did_you_mean(name, known);
        bail!(
            "pod {name} not found in namespace {namespace}{meant}; to list all sidecars: smilax proxy-status"
        );
    };
    if pod.spec.as_ref().and_then(ingest::sidecar).is_none() {
        let annotations = pod.metadata.annotations.unwrap_or_default();
        let noted = annotations
            .get(key::INJECT_STATUS)
            .map_or(String::new(), |status| format!(": {status}"));
        bail!(
            "pod {namespace}/{name} has no sidecar{noted}; to see why: smilax why-inject {namespace}/{name}"
        );
    }
    Ok(())
}

fn json_of(body: &Bytes) -> anyhow::Result<Value> {
    serde_json::from_slice(body).context("the proxy answered no JSON")
}

#[cfg(test)]
mod tests;
