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
pub(crate) async fn answer(
    client: &Client,
    installation: &str,
    asked: &WhyArgs,
) -> anyhow::Result<Explained> {
    let of_option = asked.namespace.as_deref().unwrap_or(client.default_namespace());
    let mesh = gather::mesh(client, installation).await?;
    let mut unseen = mesh.unseen.clone();
    let pods = match &asked.subject {
        None if asked.all_namespaces => gather::everything(client, &mut unseen).await?,
        None => gather::namespace(client, of_option, &mut unseen).await?,
        Some(Subject::Namespace(namespace)) => gather::namespace(client, namespace, &mut unseen).await?,
        Some(Subject::Target(Target::Pod { namespace, pod })) => {
            gather::pod(client, namespace.as_deref(), of_option, pod, &mut unseen).await?
        }
        Some(Subject::Target(Target::Controller { kind, name })) => {
            gather::controller(client, of_option, kind, name).await?
        }
    };
    let places = gather::places(client, &mesh, &pods, &mut unseen).await?;
    Ok(Explained {
        workloads: why::all(&pods, &places, &mesh),
        unseen,
    })
}

/// Why workloads have sidecars or have none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Explained {
    workloads: Vec<Why>,
    /// What the user may not see, and what is assumed of it, as sentences.
    unseen: Vec<String>,
}

impl Explained {
    /// Whether some pods lack a sidecar that they should have.
    pub(crate) fn is_lacking(&self) -> bool {
        why::is_lacking(&self.workloads)
    }
}

#[cfg(test)]
mod tests;
