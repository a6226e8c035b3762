//! What can be asked.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::{ArgValueCompleter, Shell};

use crate::authority::CaCommand;
use crate::authz::AuthzArgs;
use crate::check::CheckArgs;
use crate::complete;
use crate::explain::ExplainArgs;
use crate::fleet::StatusArgs;
use crate::injection::WhyArgs;
use crate::log_level::LevelArgs;
use crate::namespaces::NamespacesArgs;
use crate::output::OutputArgs;
use crate::plan::PlanArgs;
use crate::proxy_config::ConfigArgs;

const EXIT_CODES: &str = "\
Exit codes:
  0  The answer is good.
  1  The answer is a finding: something is wrong, denied, not in force, or would change.
  2  There is no answer: the command is not valid, or the cluster cannot be asked.

Use \"smilax COMMAND --help\" for more about a command.";

/// smilax shows and checks a Smilax service mesh.
#[derive(Debug, Parser)]
#[command(
    name = "smilax",
    bin_name = "smilax",
    version,
    about = "Shows and checks a Smilax service mesh",
    after_help = EXIT_CODES
)]
pub(crate) struct Args {
    /// Without one, the help is shown.
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
}

/// Which cluster is asked, and where Smilax is in it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Cluster options")]
pub(crate) struct ClusterArgs {
    /// Namespace in which Smilax is installed.
    #[arg(
        long = "smilax-namespace",
        global = true,
        value_name = "NAMESPACE",
        add = ArgValueCompleter::new(complete::namespaces),
        env = "SMILAX_NAMESPACE",
        default_value = "smilax-system"
    )]
    pub(crate) installation: String,
    /// Path to the kubeconfig file [default: $KUBECONFIG, or ~/.kube/config].
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig file to use [default: its current context].
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check the installation, the sidecars and every SMI object.
    ///
    /// Exits with 1 if a check fails.
    Check(CheckArgs),
    /// Check whether one workload may call another, and which TrafficTarget decides.
    ///
    /// Exits with 0 if the call is allowed, and with 1 if it is denied.
    Authz(Box<AuthzArgs>),
    /// Show what applying objects would change, and for which workloads.
    ///
    /// Nothing is applied. Exits with 0 if nothing would change, and with 1 if something would, as kubectl diff does.
    Plan(PlanArgs),
    /// Explain an SMI object: which sidecars enforce it, and why others do not.
    ///
    /// Exits with 1 if the object is not in force.
    Explain(ExplainArgs),
    /// Explain why pods have a sidecar or have none, and what to do.
    ///
    /// Exits with 1 if a pod lacks the sidecar that it should have.
    WhyInject(WhyArgs),
    /// List sidecars, and whether each enforces the newest configuration.
    ///
    /// Exits with 1 if one that is listed does not.
    ProxyStatus(StatusArgs),
    /// Show what is in force in each namespace, and who says so.
    ///
    /// Injection, TLS mode, access mode and destinations, each with where it comes from: the Namespace, the MeshConfig or the
    /// default of the installation.
    Namespaces(NamespacesArgs),
    /// Show what one sidecar has in force: routes, destinations, endpoints and more.
    ///
    /// The answer comes from the sidecar itself, through a forwarded port.
    ProxyConfig(ConfigArgs),
    /// Show or change what sidecars log, until they restart.
    LogLevel(LevelArgs),
    /// Show and replace the root and the issuer of the mesh.
    #[command(subcommand)]
    Ca(CaCommand),
    /// Print the versions of this program, the operator and the sidecars.
    Version(VersionArgs),
    /// Print the script that completes commands and object names in a shell.
    ///
    /// For bash: source <(smilax completion bash)
    Completion {
        /// Shell to complete in.
        shell: Shell,
    },
}

/// Which versions are asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct VersionArgs {
    /// Print the version of this program only; no cluster is asked.
    #[arg(long)]
    pub(crate) client: bool,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}
