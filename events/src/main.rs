//! Runs the scenarios on the cluster of KUBECONFIG, and keeps what was measured.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use smilax_e2e::disrupt::Cluster;
use smilax_e2e::{Inject, Mesh};
use smilax_events::bars;
use smilax_events::figures::Figures;
use smilax_events::perform::World;
use smilax_events::pods::Pods;
use smilax_events::results::{Outcome, Results, line};
use smilax_events::scenario::{ALL, Scenario};

/// What requests meet while pods, operators and nodes fail, with the mesh and without.
#[derive(Debug, Parser)]
#[command(name = "events")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What there is.
    List,
    /// Runs scenarios; all of them when none is named.
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Names, such as node-power.
    scenarios: Vec<String>,
    /// Requests a second, one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [300, 1000], value_parser = clap::value_parser!(u32).range(1..=5000))]
    rates: Vec<u32>,
    /// File for the results.
    #[arg(long)]
    results: PathBuf,
}

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::List => {
            for one in ALL {
                say(&format!("{:<24} {}", one.id, one.what));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Run(args) => run(&args),
    };
    done.unwrap_or_else(|error| {
        say(&format!("events: {error:#}"));
        ExitCode::FAILURE
    })
}

fn chosen(ids: &[String]) -> anyhow::Result<Vec<Scenario>> {
    if ids.is_empty() {
        return Ok(ALL.to_vec());
    }
    ids.iter()
        .map(|id| {
            let known = ALL.into_iter().find(|one| one.id == *id);
            known.with_context(|| format!("there is no scenario {id}: see `events list`"))
        })
        .collect()
}

fn run(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let scenarios = chosen(&args.scenarios)?;
    let mesh = Mesh::connect();
    let cluster = Cluster::of(&mesh, "stopping processes and nodes")
        .context("the cluster must be one that e2e/cluster made")?;
    let world = World { mesh, cluster };
    let without = Pods::start(&world.mesh, Inject::NotAsked);
    let with = Pods::start(&world.mesh, Inject::Enabled);
    let mut results = Results::new();
    let mut broken = 0;
    for scenario in scenarios {
        say(&format!("{}: {}", scenario.id, scenario.what));
        for &rate in &args.rates {
            match pair(&world, scenario, rate, &without, &with) {
                Some(outcome) => {
                    broken += outcome.missed.len();
                    results.entry(scenario.id.to_owned()).or_default().push(outcome);
                    std::fs::write(&args.results, serde_json::to_string_pretty(&results)?)
                        .with_context(|| format!("cannot write {}", args.results.display()))?;
                }
                None => broken += 1,
            }
        }
    }
    say(&format!(
        "{broken} bars missed; results are in {}",
        args.results.display()
    ));
    Ok(if broken == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs a scenario without the mesh and then with it; `None` when the cluster did not do its part, which was told then.
fn pair(world: &World, scenario: Scenario, rate: u32, without: &Pods, with: &Pods) -> Option<Outcome> {
    let without = tried(world, scenario, rate, without, "without")?;
    let with = tried(world, scenario, rate, with, "with")?;
    let missed = bars::missed(scenario.event, &without, &with);
    for bar in &missed {
        say(&format!("  {rate:>5}/s MISSED  {bar}"));
    }
    Some(Outcome {
        rate,
        without,
        with,
        missed,
    })
}

fn tried(world: &World, scenario: Scenario, rate: u32, pods: &Pods, mode: &str) -> Option<Figures> {
    let from = Instant::now();
    let performed = catch_unwind(AssertUnwindSafe(|| world.perform(scenario.event, rate, pods)));
    let took = from.elapsed().as_secs();
    let Ok(figures) = performed else {
        say(&format!(
            "  {rate:>5}/s {mode:<7} [{took:>3} s] NOT MEASURED, see above"
        ));
        pods.namespace.describe();
        return None;
    };
    say(&format!(
        "  {rate:>5}/s {mode:<7} [{took:>3} s] {}",
        line(&figures)
    ));
    Some(figures)
}

fn say(text: &str) {
    // Nobody listens any more: nothing is left to be told.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
