//! Every proxy, and how far it is: what the operator's replicas heard, beside the pods and the configurations that lie
//! in the cluster.

mod gather;
mod print;
mod state;
mod tampering;

use crate::output::Output;

pub(crate) use gather::{Heard, hear, read};
pub(crate) use print::{json, table};
pub(crate) use state::{Proxy, State};

/// What is asked.
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    /// Only proxies of this namespace; all namespaces if not given.
    #[arg(
        short = 'n',
        long = "namespace",
        value_name = "NAMESPACE",
        conflicts_with = "all_namespaces"
    )]
    pub(crate) namespace: Option<String>,
    /// Proxies of all namespaces, which is what is shown anyway.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only proxies in this state; may be given more than once.
    #[arg(long, value_enum)]
    pub(crate) state: Vec<State>,
    /// Form of the output.
    #[arg(short = 'o', long = "output", value_enum, default_value_t)]
    pub(crate) output: Output,
}

#[cfg(test)]
mod tests;
