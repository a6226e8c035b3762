//! The command line of the mesh, also as `kubectl smilax`.

mod args;
mod authority;
mod authz;
mod check;
mod cluster;
mod controller;
mod explain;
mod files;
mod fleet;
mod forward;
mod mesh;
mod namespaces;
mod output;
#[cfg(test)]
mod pages;
mod plan;
mod proxy_config;
mod world;

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser as _};
use tokio::time::Instant;

use crate::args::{Args, ClusterArgs, Command};
use crate::authority::{CaCommand, Health};
use crate::authz::{Question, Verdict};
use crate::output::Output;
use crate::plan::PlanArgs;
use crate::world::World;

/// How often `check --wait` looks again.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error.into()),
    };
    let done = runtime.block_on(run(Args::parse()));
    match done.and_then(|done| print(&done.text).map(|()| done.code)) {
        Ok(code) => code,
        Err(error) => complain(&error),
    }
}

/// An answer, and whether it is a good one.
struct Done {
    text: String,
    code: ExitCode,
}

impl Done {
    fn good(text: String) -> Self {
        let code = ExitCode::SUCCESS;
        Self { text, code }
    }

    fn bad(text: String) -> Self {
        let code = ExitCode::FAILURE;
        Self { text, code }
    }
}

async fn run(args: Args) -> anyhow::Result<Done> {
    let (cluster, installation) = (&args.cluster, args.cluster.installation.as_str());
    let ours = format!("client: {}\n", env!("CARGO_PKG_VERSION"));
    match args.command {
        Command::Version { client: true } => Ok(Done::good(ours)),
        Command::Version { client: false } => {
            let client = cluster::connect(cluster).await?;
            let snapshot = cluster::snapshot(&client, installation).await?;
            Ok(Done::good(ours + &check::versions(&snapshot)))
        }
        Command::Check(asked) => {
            let client = cluster::connect(cluster).await?;
            let findings = checked(&client, installation, asked.wait.map(Duration::from_secs)).await?;
            let text = match asked.output {
                Output::Table => check::table(&findings),
                Output::Json => format!("{:#}\n", check::json(&findings)),
            };
            Ok(if check::has_failed(&findings) {
                Done::bad(text)
            } else {
                Done::good(text)
            })
        }
        Command::Authz(asked) => {
            let mut world = if asked.files.is_empty() {
                let client = cluster::connect(cluster).await?;
                World::live(cluster::policy(&client, installation).await?)?
            } else {
                World::written(files::objects(&asked.files)?)?
            };
            let answers = authz::answer(&mut world, &Question::from(&*asked))?;
            let lines: Vec<String> = answers.iter().map(ToString::to_string).collect();
            let text = lines.join("\n") + "\n";
            let denied = answers.iter().any(|answer| answer.verdict == Verdict::Denied);
            Ok(if denied { Done::bad(text) } else { Done::good(text) })
        }
        Command::Plan(asked) => {
            let plan = planned(&asked, cluster).await?;
            let text = match asked.output {
                Output::Table => plan::table(&plan),
                Output::Json => format!("{:#}\n", plan::json(&plan)),
            };
            Ok(if plan.is_empty() {
                Done::good(text)
            } else {
                Done::bad(text)
            })
        }
        Command::Explain(asked) => {
            let client = cluster::connect(cluster).await?;
            if let Some(namespace) = &asked.namespace {
                cluster::expect_namespace(&client, namespace).await?;
            }
            let explained = explain::answer(&client, installation, &asked).await?;
            Ok(Done::good(match asked.output {
                Output::Table => explain::table(&explained, now()),
                Output::Json => format!("{:#}\n", explain::json(&explained)),
            }))
        }
        Command::ProxyStatus(asked) => {
            let client = cluster::connect(cluster).await?;
            if let Some(namespace) = &asked.namespace {
                cluster::expect_namespace(&client, namespace).await?;
            }
            let cluster = fleet::read(&client, asked.namespace.as_deref()).await?;
            let heard = fleet::hear(&client, installation).await?;
            let mut proxies = cluster.proxies(heard.pages);
            let missing = [cluster.unreadable, heard.missing].concat();
            proxies.retain(|proxy| asked.state.is_empty() || asked.state.contains(&proxy.state));
            Ok(Done::good(match asked.output {
                Output::Table => fleet::table(&proxies, &missing, now()),
                Output::Json => format!("{:#}\n", fleet::json(&proxies, &missing)),
            }))
        }
        Command::Namespaces(asked) => {
            let client = cluster::connect(cluster).await?;
            Ok(Done::good(
                namespaces::answer(&client, installation, &asked).await?,
            ))
        }
        Command::ProxyConfig(asked) => {
            let client = cluster::connect(cluster).await?;
            Ok(Done::good(proxy_config::answer(&client, &asked, now()).await?))
        }
        Command::Ca(CaCommand::Rotate(asked)) => {
            let client = cluster::connect(cluster).await?;
            Ok(Done::good(authority::rotate(client, &asked).await?))
        }
        Command::Ca(CaCommand::Status) => {
            let client = cluster::connect(cluster).await?;
            let status = authority::status(client).await?;
            Ok(match status.health {
                Health::Sound => Done::good(status.text),
                Health::Unsound => Done::bad(status.text),
            })
        }
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "smilax", &mut script);
            Ok(Done::good(String::from_utf8(script)?))
        }
    }
}

/// Checks the mesh; with `wait`, again and again until nothing fails or the time is over.
async fn checked(
    client: &kube::Client,
    installation: &str,
    wait: Option<Duration>,
) -> anyhow::Result<Vec<check::Finding>> {
    let end = wait.map(|wait| Instant::now() + wait);
    loop {
        let findings = check::check(&cluster::snapshot(client, installation).await?);
        if !check::has_failed(&findings) || end.is_none_or(|end| Instant::now() >= end) {
            return Ok(findings);
        }
        tokio::time::sleep(CHECK_AGAIN).await;
    }
}

/// Writes to standard output. Who reads it may have seen enough (`smilax proxy-status | head`), which is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("the answer cannot be written"),
    }
}

async fn planned(asked: &PlanArgs, cluster: &ClusterArgs) -> anyhow::Result<plan::Plan> {
    let files = files::objects(&asked.files)?;
    let of_objects = asked.namespace.as_deref();
    if !asked.against.is_empty() {
        let against = files::objects(&asked.against)?;
        return plan::written(against, files, of_objects.unwrap_or("default"));
    }
    let client = cluster::connect(cluster).await?;
    if let Some(namespace) = of_objects {
        cluster::expect_namespace(&client, namespace).await?;
    }
    let there = cluster::policy(&client, &cluster.installation).await?;
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
