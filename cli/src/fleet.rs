//! Every proxy, and how far it is: what the operator's replicas heard, beside the pods and the configurations that lie
//! in the cluster.

mod gather;
mod print;
mod state;
mod tampering;

use clap_complete::ArgValueCompleter;

use crate::complete;
use crate::output::OutputArgs;

pub(crate) use gather::{Heard, hear, read};
pub(crate) use print::{json, table};
pub(crate) use state::{Proxy, State};

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// List the sidecars of this namespace [default: all namespaces].
    #[arg(
        short = 'n',
        long = "namespace",
        value_name = "NAMESPACE",
        add = ArgValueCompleter::new(complete::namespaces),
        conflicts_with = "all_namespaces"
    )]
    pub(crate) namespace: Option<String>,
    /// List the sidecars of all namespaces, which is the default.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// List only sidecars in this state. May be repeated.
    #[arg(long, value_enum)]
    pub(crate) state: Vec<State>,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[cfg(test)]
mod tests;
