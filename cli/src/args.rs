//! What can be asked.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::authority::CaCommand;
use crate::authz::AuthzArgs;
use crate::check::CheckArgs;
use crate::explain::ExplainArgs;
use crate::fleet::StatusArgs;
use crate::namespaces::NamespacesArgs;
use crate::plan::PlanArgs;
use crate::proxy_config::ConfigArgs;

/// Looks at a Smilax service mesh from outside.
#[derive(Debug, Parser)]
#[command(
    name = "smilax",
    bin_name = "smilax",
    version,
    about,
    disable_help_subcommand = true,
    after_help = "Exits with 0 when the answer is good, with 1 when it is not, and with 2 when there is none."
)]
pub(crate) struct Args {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
    /// Where.
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Which cluster is asked, and where Smilax is in it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct ClusterArgs {
    /// Namespace of the installation.
    #[arg(
        long = "smilax-namespace",
        global = true,
        value_name = "NAMESPACE",
        env = "SMILAX_NAMESPACE",
        default_value = "smilax-system"
    )]
    pub(crate) installation: String,
    /// File with access to the cluster; KUBECONFIG or ~/.kube/config if not given.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one if not given.
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Checks the installation, the proxies and every SMI object. Exits with 1 when something is wrong.
    Check(CheckArgs),
    /// Says whether one workload may call another, and which TrafficTarget decides. Exits with 0 when it may, with 1 when
    /// it may not, and with 2 when that cannot be said.
    Authz(Box<AuthzArgs>),
    /// Shows what applying objects would change, for which proxies, and what would be found wrong with them. Nothing is
    /// applied. Exits as kubectl diff does: with 0 when nothing would change, with 1 when something would, and with 2
    /// when that cannot be said.
    Plan(PlanArgs),
    /// Explains an SMI object: which proxies it concerns, what each of them enforces, and why it concerns no others.
    Explain(ExplainArgs),
    /// Shows a line for each proxy: the revision of the configuration that it enforces and the newest, whether it is
    /// Synced, Stale, Rejected, Tampered or Disconnected and since when, and how long its certificate is good for.
    ProxyStatus(StatusArgs),
    /// Shows what is in force in each namespace: injection, TLS mode, access mode and destinations, and where each comes from.
    Namespaces(NamespacesArgs),
    /// Shows what one proxy has in force, as it says itself: routes, destinations, endpoints, certificates, access.
    ProxyConfig(ConfigArgs),
    /// Changes the root or the issuer that the mesh trusts, and shows where that stands.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Shows the versions of this program, the operator and the proxies.
    Version {
        /// Only of this program; asks no cluster.
        #[arg(long)]
        client: bool,
    },
    /// Prints completions for a shell: source <(smilax completion bash).
    Completion {
        /// For which shell.
        shell: Shell,
    },
}
