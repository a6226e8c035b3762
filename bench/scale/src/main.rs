//! `scale`: measures one size, or several one after the other.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Parser;
use smilax_chaos::api::Api;
use smilax_chaos::process::Process;
use smilax_chaos::world::{Programs, World, say, show};
use smilax_scale::board::Board;
use smilax_scale::client::{self, Fleet};
use smilax_scale::experiment::Experiment;
use smilax_scale::lag::Used;
use smilax_scale::mesh::Shape;
use smilax_scale::report::{self, Results};
use smilax_scale::usage::Parties;
use smilax_scale::whole::WholeProxies;
use smilax_scale::{making, process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;

/// How long all clients may take until they are in step.
const IN_STEP_WITHIN: Duration = Duration::from_mins(3);
/// How long memory settles before it is read.
const SETTLE: Duration = Duration::from_secs(5);
/// Changes of pods a second, usually and when there are many.
const CHURN: u32 = 30;
const STORM: u32 = 100;
const ADMIN: &str = "127.0.0.1:8080";

#[derive(Debug, Parser)]
struct Args {
    /// Folder with etcd, kube-apiserver, kubectl and helm.
    #[arg(long)]
    kubernetes: PathBuf,
    /// The operator.
    #[arg(long)]
    operator: PathBuf,
    /// The proxy.
    #[arg(long)]
    proxy: PathBuf,
    /// Where logs go.
    #[arg(long)]
    folder: PathBuf,
    /// A file to which this size's line of the curve is added.
    #[arg(long)]
    curve: Option<PathBuf>,
    /// Services.
    #[arg(long, default_value_t = 1000)]
    services: usize,
    /// Connected proxies.
    #[arg(long, default_value_t = 2000)]
    proxies: usize,
    /// Of them, those that are whole.
    #[arg(long, default_value_t = 50)]
    whole: usize,
    /// Namespaces that they are in.
    #[arg(long, default_value_t = 50)]
    namespaces: usize,
    /// Changes of each sort.
    #[arg(long, default_value_t = 20)]
    changes: u32,
    /// Seconds of pod changes; none with 0.
    #[arg(long, default_value_t = 120)]
    churn_seconds: u64,
    /// Seconds of many pod changes, and of the way of one meanwhile; none with 0.
    #[arg(long, default_value_t = 0)]
    storm_seconds: u64,
    /// Seconds of nothing; none with 0.
    #[arg(long, default_value_t = 120)]
    idle_seconds: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow::anyhow!("a second TLS provider is linked in"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let shape = Shape {
        namespaces: args.namespaces,
        proxies: args.proxies,
        services: args.services,
        whole: args.whole,
    };
    let results = runtime.block_on(measure(&args, shape))?;
    show(&report::page(shape, &results));
    if let Some(curve) = &args.curve {
        let mut file = std::fs::File::options().append(true).create(true).open(curve)?;
        writeln!(file, "{}", report::curve_line(shape, &results))?;
    }
    Ok(())
}

async fn measure(args: &Args, shape: Shape) -> anyhow::Result<Results> {
    let folder = args.folder.as_path();
    let programs = Programs {
        kubernetes: args.kubernetes.clone(),
        operator: args.operator.clone(),
        repository: std::env::current_dir()?,
    };
    let start = Instant::now();
    let mut world = World::start(programs, folder).await?;
    let api = world.api.clone();
    let mut operator = world.operator_past_the_proxy()?;
    making::services(&api, shape).await?;
    making::pods(&api, shape).await?;
    say(&format!("the mesh is made after {:.0?}", start.elapsed()));
    // What was read while the mesh grew is no measure of it: the operator that is measured finds it as it is.
    operator.terminate().await?;
    operator = world.operator_past_the_proxy()?;
    until_written(&api, shape).await?;
    tokio::time::sleep(SETTLE).await;
    let mut results = Results {
        alone: process::memory(operator.pid().context("no operator")?)?.now,
        ..Results::default()
    };
    let (clients, trust) = making::clients(&api, shape).await?;
    let board = Arc::new(Board::new(shape.light()));
    let (cut, cuts) = watch::channel(0);
    let fleet = Fleet {
        board: Arc::clone(&board),
        trust,
        cut: cuts,
    };
    let start = Instant::now();
    // It ends with the process.
    std::thread::spawn(move || client::run(clients, fleet));
    let last = board.until_synced(shape.light(), IN_STEP_WITHIN).await?;
    results.connected = last.saturating_duration_since(start);
    say(&format!(
        "all in step after {:.1?}: {}",
        results.connected,
        report::bytes(&board.totals())
    ));
    let whole = WholeProxies::start(&api, &args.proxy, folder, shape).await?;
    say("all whole proxies are connected");
    tokio::time::sleep(SETTLE).await;
    let pid = operator.pid().context("no operator")?;
    results.with_all = process::memory(pid)?.now;
    say(&format!(
        "KiB alone {}, with all {}",
        results.alone, results.with_all
    ));
    let experiment = Experiment {
        api: &api,
        board: &board,
        shape,
        parties: Parties {
            operator: pid,
            servers: world.servers(),
            proxies: whole.pids(),
        },
        whole: &whole,
        cut: &cut,
    };
    results.lags.push(experiment.split_of_all(args.changes).await?);
    let (removed, added) = experiment.endpoints(Used::ByAll, args.changes).await?;
    results.lags.extend([removed, added]);
    results.lags.push(experiment.split_of_few(args.changes).await?);
    results.lags.push(experiment.target(args.changes).await?);
    let (removed, added) = experiment.endpoints(Used::ByFew, args.changes).await?;
    results.lags.extend([removed, added]);
    results.compile = compile_time().await?;
    // What comes later may fail, and this has taken minutes.
    say(&report::page(shape, &results));
    if args.churn_seconds > 0 {
        results.churn = Some(
            experiment
                .churn(CHURN, Duration::from_secs(args.churn_seconds))
                .await?,
        );
    }
    if args.storm_seconds > 0 {
        results.storm = Some(
            experiment
                .storm(STORM, Duration::from_secs(args.storm_seconds))
                .await?,
        );
    }
    if args.idle_seconds > 0 {
        results.idle = Some(experiment.idle(Duration::from_secs(args.idle_seconds)).await?);
    }
    results.reconnect = Some(experiment.reconnect().await?);
    experiment.quiet().await;
    results.cold_start = Some(cold_start(&mut world, &mut operator, &board, shape).await?);
    Ok(results)
}

/// Kills the operator, starts it, and waits until all clients are in step again.
async fn cold_start(
    world: &mut World,
    operator: &mut Process,
    board: &Board,
    shape: Shape,
) -> anyhow::Result<(Duration, u64)> {
    operator.kill();
    let start = Instant::now();
    *operator = world.operator_past_the_proxy()?;
    while board.in_step() > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let last = board.until_synced(shape.light(), IN_STEP_WITHIN).await?;
    let peak = process::memory(operator.pid().context("no operator")?)?.peak;
    say(&format!("cold start: {:?}", board.take_failures()));
    Ok((last.saturating_duration_since(start), peak))
}

/// Waits until there is a configuration for every account.
async fn until_written(api: &Api, shape: Shape) -> anyhow::Result<()> {
    let path = "/api/v1/configmaps?labelSelector=app.kubernetes.io/managed-by%3Dsmilax-operator";
    let start = Instant::now();
    loop {
        let maps = api.list(path).await?.len();
        if maps >= shape.all_namespaces().len() {
            return Ok(());
        }
        anyhow::ensure!(
            start.elapsed() < IN_STEP_WITHIN,
            "only {maps} configurations were written"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Mean time of a pass of the compiler in ms, and how many there were.
async fn compile_time() -> anyhow::Result<(f64, u64)> {
    let mut stream = TcpStream::connect(ADMIN).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: operator\r\nconnection: close\r\n\r\n")
        .await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    let value = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.rsplit_once(' ')?.1.parse::<f64>().ok()
    };
    let sum = value("smilax_operator_compile_seconds_sum").unwrap_or_default();
    let count = value("smilax_operator_compile_seconds_count").unwrap_or_default();
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter of passes"
    )]
    let passes = count as u64;
    Ok((1000.0 * sum / count.max(1.0), passes))
}
