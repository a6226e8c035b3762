//! The command line of the mesh, also as `kubectl smilax`.

mod args;
mod authority;
mod authz;
mod check;
mod cluster;
mod explain;
mod files;
mod fleet;
mod forward;
mod mesh;
mod output;
#[cfg(test)]
mod pages;
mod plan;
mod proxy_config;
mod world;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{CommandFactory as _, Parser as _};

use crate::args::{Args, Command};
use crate::authority::{CaCommand, Health};
use crate::authz::{Question, Verdict};
use crate::output::Output;
use crate::plan::PlanArgs;
use crate::world::World;

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    match runtime.block_on(run(Args::parse())) {
        Ok(code) => code,
        Err(error) => complain(&error),
    }
}

async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut out = std::io::stdout().lock();
    match args.command {
        Command::Version { client: true } => {
            writeln!(out, "client: {}", env!("CARGO_PKG_VERSION"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Version { client: false } => {
            writeln!(out, "client: {}", env!("CARGO_PKG_VERSION"))?;
            let snapshot = cluster::snapshot(&args.namespace, args.context.as_deref()).await?;
            write!(out, "{}", check::versions(&snapshot))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Check => {
            let snapshot = cluster::snapshot(&args.namespace, args.context.as_deref()).await?;
            let findings = check::check(&snapshot);
            write!(out, "{}", check::table(&findings))?;
            let failed = findings
                .iter()
                .any(|finding| finding.verdict == check::Verdict::Failed);
            Ok(if failed {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
        Command::Authz(asked) => {
            let mut world = if asked.files.is_empty() {
                let client = cluster::connect(args.context.as_deref()).await?;
                World::live(cluster::policy(&client, &args.namespace).await?)?
            } else {
                World::written(files::objects(&asked.files)?)?
            };
            let answers = authz::answer(&mut world, &Question::from(&*asked))?;
            for answer in &answers {
                writeln!(out, "{answer}")?;
            }
            let denied = answers.iter().any(|answer| answer.verdict == Verdict::Denied);
            Ok(if denied {
                ExitCode::FAILURE
            } else {
                ExitCode::SUCCESS
            })
        }
        Command::Plan(asked) => {
            let plan = planned(&asked, &args.namespace, args.context.as_deref()).await?;
            match asked.output {
                Output::Table => write!(out, "{}", plan::table(&plan))?,
                Output::Json => writeln!(out, "{:#}", plan::json(&plan))?,
            }
            Ok(if plan.is_empty() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
        Command::Explain(asked) => {
            let client = cluster::connect(args.context.as_deref()).await?;
            let explained = explain::answer(&client, &args.namespace, &asked).await?;
            match asked.output {
                Output::Table => write!(out, "{}", explain::table(&explained, now()))?,
                Output::Json => writeln!(out, "{:#}", explain::json(&explained))?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::ProxyStatus(asked) => {
            let client = cluster::connect(args.context.as_deref()).await?;
            let cluster = fleet::read(&client, asked.of_namespace.as_deref()).await?;
            let heard = fleet::hear(&client, &args.namespace).await?;
            let mut proxies = cluster.proxies(heard.pages);
            let missing = [cluster.unreadable, heard.missing].concat();
            proxies.retain(|proxy| asked.state.is_empty() || asked.state.contains(&proxy.state));
            match asked.output {
                Output::Table => write!(out, "{}", fleet::table(&proxies, &missing, now()))?,
                Output::Json => writeln!(out, "{:#}", fleet::json(&proxies, &missing))?,
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::ProxyConfig(asked) => {
            let client = cluster::connect(args.context.as_deref()).await?;
            write!(out, "{}", proxy_config::answer(&client, &asked, now()).await?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Ca(CaCommand::Rotate(asked)) => {
            let client = cluster::connect(args.context.as_deref()).await?;
            write!(out, "{}", authority::rotate(client, &asked).await?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Ca(CaCommand::Status) => {
            let client = cluster::connect(args.context.as_deref()).await?;
            let status = authority::status(client).await?;
            write!(out, "{}", status.text)?;
            Ok(match status.health {
                Health::Sound => ExitCode::SUCCESS,
                Health::Unsound => ExitCode::FAILURE,
            })
        }
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "smilax", &mut out);
            Ok(ExitCode::SUCCESS)
        }
    }
}

async fn planned(asked: &PlanArgs, namespace: &str, context: Option<&str>) -> anyhow::Result<plan::Plan> {
    let files = files::objects(&asked.files)?;
    let of_objects = asked.object_namespace.as_deref();
    if !asked.against.is_empty() {
        let against = files::objects(&asked.against)?;
        return plan::written(against, files, of_objects.unwrap_or("default"));
    }
    let client = cluster::connect(context).await?;
    let there = cluster::policy(&client, namespace).await?;
    plan::live(there, files, of_objects.unwrap_or(client.default_namespace()))
}

/// Seconds since the epoch.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |span| span.as_secs())
}

fn complain(error: &anyhow::Error) -> ExitCode {
    // Nothing is left to do when even standard error is closed.
    let _ = writeln!(std::io::stderr(), "smilax: {error:#}");
    ExitCode::from(2)
}
