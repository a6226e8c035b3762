//! Runs the attacks, and plays the parts in them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use serde::Serialize;
use smilax_attacks::catalogue::{ALL, Aim, Attack};
use smilax_attacks::control_plane::ControlPlane;
use smilax_attacks::figures::Figures;
use smilax_attacks::results::{Outcome, Results, line};
use smilax_attacks::stage::{Family, Stage};
use smilax_attacks::{application, attacker, pod, victim};
use smilax_chaos::world::Programs;

/// What attacks cost a sidecar and an operator, and what their victims notice.
#[derive(Debug, Parser)]
#[command(name = "attacks")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What there is.
    List,
    /// Runs attacks; all of them when none is named.
    Run(RunArgs),
    /// Is the application.
    Application,
    /// Is an attacker; prints what it did.
    Attacker(attacker::Options),
    /// Is a victim; prints what it got.
    Victim(victim::Options),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Names, such as zero-window.
    attacks: Vec<String>,
    /// Families of addresses.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Family::BOTH)]
    families: Vec<Family>,
    /// Folder with etcd, kube-apiserver, kubectl and helm.
    #[arg(long)]
    kubernetes: PathBuf,
    /// The operator.
    #[arg(long)]
    operator: PathBuf,
    /// The proxy, readable for its user.
    #[arg(long)]
    proxy: PathBuf,
    /// The repository.
    #[arg(long, default_value = ".")]
    repository: PathBuf,
    /// Where files go, readable for the proxy's user.
    #[arg(long)]
    folder: PathBuf,
    /// What names of cgroups begin with.
    #[arg(long, default_value = "atk")]
    cgroups: String,
    /// File for the results.
    #[arg(long)]
    results: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        return ExitCode::FAILURE;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let done = runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(execute(args.command)));
    done.unwrap_or_else(|error| {
        say(&format!("attacks: {error:#}"));
        ExitCode::FAILURE
    })
}

async fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List => {
            for one in ALL {
                say(&format!("{:<20} {:<8} {}", one.id, one.items, one.what));
            }
        }
        Command::Run(args) => return run(&args).await,
        Command::Application => application::run().await?,
        Command::Attacker(options) => print(&attacker::run(&options).await?)?,
        Command::Victim(options) => print(&victim::run(&options).await?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn chosen(ids: &[String]) -> anyhow::Result<Vec<Attack>> {
    if ids.is_empty() {
        return Ok(ALL.to_vec());
    }
    ids.iter()
        .map(|id| {
            let known = ALL.into_iter().find(|one| one.id == *id);
            known.with_context(|| format!("there is no attack {id}: see `attacks list`"))
        })
        .collect()
}

async fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let attacks = chosen(&args.attacks)?;
    let stage = Stage::build(&args.proxy, &args.folder, &args.cgroups)?;
    pod::redirect(&stage)?;
    let mut control_plane = None;
    let mut results = Results::new();
    let mut missed = 0;
    for attack in attacks {
        say(&format!("{}: {}", attack.id, attack.what));
        for &family in &args.families {
            let measured = match attack.aim {
                Aim::Sidecar(surface, siege) => pod::perform(&stage, surface, siege, family).await,
                Aim::Operator(experiment) if experiment.is_tried_over(family) => {
                    let operator = match control_plane.take() {
                        Some(operator) => operator,
                        None => ControlPlane::start(&stage, programs(args)).await?,
                    };
                    control_plane
                        .insert(operator)
                        .perform(&stage, experiment, family)
                        .await
                }
                Aim::Operator(_) => continue,
            };
            missed += keep(&mut results, attack, family, measured);
            std::fs::write(&args.results, serde_json::to_string_pretty(&results)?)
                .with_context(|| format!("cannot write {}", args.results.display()))?;
        }
    }
    say(&format!(
        "{missed} bars missed; results are in {}",
        args.results.display()
    ));
    Ok(if missed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Keeps what was measured, and says how many bars were missed; what could not be measured is one.
fn keep(results: &mut Results, attack: Attack, family: Family, measured: anyhow::Result<Figures>) -> usize {
    let figures = match measured {
        Ok(figures) => figures,
        Err(error) => {
            say(&format!("  {} NOT MEASURED: {error:#}", family.name()));
            return 1;
        }
    };
    say(&format!("  {} {}", family.name(), line(&figures)));
    let missed = attack.aim.bars().missed(&figures);
    for bar in &missed {
        say(&format!("  {} MISSED  {bar}", family.name()));
    }
    let number = missed.len();
    let outcome = Outcome {
        family: family.name().to_owned(),
        figures,
        missed,
    };
    results.entry(attack.id.to_owned()).or_default().push(outcome);
    number
}

fn programs(args: &RunArgs) -> Programs {
    Programs {
        kubernetes: args.kubernetes.clone(),
        operator: args.operator.clone(),
        repository: args.repository.clone(),
    }
}

fn print(value: &impl Serialize) -> anyhow::Result<()> {
    say(&serde_json::to_string(value)?);
    Ok(())
}

fn say(text: &str) {
    // Nobody listens any more: nothing is left to be told.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
