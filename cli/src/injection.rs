//! `smilax why-inject`: which rule decides whether pods get a sidecar, and what to do about those that lack theirs.

mod gather;
mod print;
mod why;

use std::str::FromStr;

use clap_complete::ArgValueCompleter;
use kube::Client;

use crate::complete;
use crate::output::OutputArgs;
use crate::target::Target;
use why::Why;

pub(crate) use print::{json, table};
pub(crate) use why::is_lacking;

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct WhyArgs {
    /// POD, NAMESPACE/POD, deploy/NAME, sts/NAME, ds/NAME or ns/NAME [default: every workload of the namespace].
    #[arg(value_name = "NAME", add = ArgValueCompleter::new(complete::subjects))]
    subject: Option<Subject>,
    /// Namespace of the pod or workload [default: that of the kubeconfig].
    #[arg(
        short = 'n',
        long = "namespace",
        value_name = "NAMESPACE",
        add = ArgValueCompleter::new(complete::namespaces),
        conflicts_with = "all_namespaces"
    )]
    namespace: Option<String>,
    /// Explain the workloads of all namespaces.
    #[arg(short = 'A', long, conflicts_with = "subject")]
    all_namespaces: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

/// Whose sidecars are explained.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    Namespace(String),
    Target(Target),
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('/') {
            Some(("ns" | "namespace" | "namespaces", name)) if !name.is_empty() => {
                Ok(Self::Namespace(name.to_owned()))
            }
            _ => text.parse().map(Self::Target),
        }
    }
}

/// Reads what is needed and explains.
///
/// # Errors
/// When there is no such pod, workload or namespace, or the cluster cannot be read.
pub(crate) async fn answer(client: &Client, installation: &str, asked: &WhyArgs) -> anyhow::Result<Vec<Why>> {
    let of_option = asked.namespace.as_deref().unwrap_or(client.default_namespace());
    let mesh = gather::mesh(client, installation).await?;
    let pods = match &asked.subject {
        None if asked.all_namespaces => gather::everything(client).await?,
        None => gather::namespace(client, of_option).await?,
        Some(Subject::Namespace(namespace)) => gather::namespace(client, namespace).await?,
        Some(Subject::Target(Target::Pod { namespace, pod })) => {
            gather::pod(client, namespace.as_deref(), of_option, pod).await?
        }
        Some(Subject::Target(Target::Controller { kind, name })) => {
            gather::controller(client, of_option, kind, name).await?
        }
    };
    let places = gather::places(client, &mesh, &pods).await?;
    Ok(why::all(&pods, &places, &mesh))
}

#[cfg(test)]
mod tests;
