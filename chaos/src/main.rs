//! Runs the experiments.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};

use smilax_chaos::experiments::{ALL, Bench, Experiment, Length};
use smilax_chaos::outcome::{Outcome, Verdict};
use smilax_chaos::session::Session;
use smilax_chaos::world::{Programs, World, say, show};

/// Faults between the operator and a real API server.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What there is.
    List,
    /// Runs experiments; all of them when none is named.
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
struct RunArgs {
    /// Ids: R1, R8, noise.
    ids: Vec<String>,
    /// What chance is drawn from; the same does the same again.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Waits as long as the matrix of faults says, where seconds stand for minutes otherwise.
    #[arg(long)]
    full: bool,
    /// Folder with etcd, kube-apiserver, kubectl and helm.
    #[arg(long)]
    kubernetes: PathBuf,
    /// The operator.
    #[arg(long)]
    operator: PathBuf,
    /// The repository.
    #[arg(long, default_value = ".")]
    repository: PathBuf,
    /// Where logs and results go.
    #[arg(long)]
    folder: PathBuf,
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
        .and_then(|runtime| match args.command {
            Command::List => {
                for one in ALL {
                    show(&format!("{:<6} {}", one.id, one.what));
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Run(args) => runtime.block_on(run(args)),
        });
    done.unwrap_or_else(|error| {
        say(&format!("chaos: {error:#}"));
        ExitCode::FAILURE
    })
}

fn chosen(ids: &[String]) -> anyhow::Result<Vec<&'static Experiment>> {
    if ids.is_empty() {
        return Ok(ALL.iter().collect());
    }
    ids.iter()
        .map(|id| {
            let known = ALL.iter().find(|one| one.id.eq_ignore_ascii_case(id));
            known.with_context(|| format!("there is no experiment {id}: see `chaos list`"))
        })
        .collect()
}

async fn run(args: RunArgs) -> anyhow::Result<ExitCode> {
    let experiments = chosen(&args.ids)?;
    let programs = Programs {
        kubernetes: args.kubernetes,
        operator: args.operator,
        repository: args.repository,
    };
    let world = World::start(programs, &args.folder).await?;
    say("API server and charts are there; the reference run");
    let mut session = Session::new(world);
    let reference = session.reference().await?;
    for part in &reference.parts {
        say(&format!(
            "  {:<8} {:>3} writes, {} things in the end",
            part.stage.word(),
            part.writes.len(),
            part.end.count()
        ));
    }
    // An oracle that finds faults where there are none finds nothing.
    let again = session.reference().await?;
    for (first, second) in reference.parts.iter().zip(&again.parts) {
        let different = second.end.differs_from(&first.end);
        ensure!(
            different.is_empty(),
            "two runs without faults differ after stage {}:\n  {}",
            first.stage.word(),
            different.join("\n  ")
        );
    }
    say(&format!(
        "two reference runs agree; {} writes",
        reference.writes()
    ));
    let mut bench = Bench {
        session,
        reference,
        seed: args.seed,
        length: if args.full { Length::Full } else { Length::Short },
    };
    let mut outcomes = Vec::new();
    for experiment in experiments {
        let start = Instant::now();
        let said = (experiment.run)(&mut bench).await;
        let outcome = Outcome::of(experiment.id, said, start.elapsed());
        if outcome.verdict == Verdict::Failed {
            say(&format!(
                "again: make chaos EXPERIMENTS={} SEED={}; logs are in {}",
                experiment.id,
                args.seed,
                args.folder.display()
            ));
        }
        say(&outcome.line());
        outcomes.push(outcome);
    }
    std::fs::write(
        args.folder.join("results.json"),
        serde_json::to_string_pretty(&outcomes)?,
    )?;
    show(&format!("seed {}", args.seed));
    for outcome in &outcomes {
        show(&outcome.line());
    }
    let failed = outcomes.iter().any(|outcome| outcome.verdict == Verdict::Failed);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
