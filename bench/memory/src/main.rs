//! `memory`: measures one size after the other in one growing mesh.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::{Parser, Subcommand};
use smilax_chaos::api::Api;
use smilax_chaos::process::Process;
use smilax_chaos::world::{Programs, SYSTEM, World, say, show};
use smilax_core::convention::WORKLOAD_SERVICE;
use smilax_memory::pod::{self, Pod};
use smilax_memory::report::{self, Row};
use smilax_memory::{calls, measure, mesh, servers};

const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const PUSHED: &str = "smilax_operator_pushed_bytes_total";
/// How long the operator may take to write what a larger mesh needs.
const PATIENCE: Duration = Duration::from_mins(3);
const PAUSE: Duration = Duration::from_millis(500);
/// Until nothing more follows from what was written.
const SETTLE: Duration = Duration::from_secs(5);

#[derive(Debug, Parser)]
struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Measure.
    Measure(Measure),
    /// Call Services.
    Call(Call),
}

#[derive(Debug, clap::Args)]
struct Measure {
    /// Folder with etcd, kube-apiserver, kubectl and helm
    #[arg(long)]
    kubernetes: PathBuf,
    /// The operator
    #[arg(long)]
    operator: PathBuf,
    /// The proxy, where its user can read it
    #[arg(long)]
    proxy: PathBuf,
    /// Where logs go
    #[arg(long)]
    folder: PathBuf,
    /// Where pods have their files, so that the proxy's user can read them
    #[arg(long)]
    pods: PathBuf,
    /// Sizes of the mesh, ascending
    #[arg(long, value_delimiter = ',', default_value = "10,1000,10000")]
    services: Vec<usize>,
    /// New proxies at each size
    #[arg(long, default_value_t = 3)]
    repeat: u32,
    /// Calls of each Service by each proxy
    #[arg(long, default_value_t = 200)]
    calls: u32,
}

#[derive(Debug, clap::Args)]
struct Call {
    /// How often
    #[arg(long)]
    times: u32,
    /// Virtual addresses
    services: Vec<Ipv4Addr>,
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
    runtime.block_on(async {
        match args.what {
            What::Measure(args) => measure_all(&args).await,
            What::Call(call) => calls::call(&call.services, call.times).await,
        }
    })
}

async fn measure_all(args: &Measure) -> anyhow::Result<()> {
    let programs = Programs {
        kubernetes: args.kubernetes.clone(),
        operator: args.operator.clone(),
        repository: std::env::current_dir()?,
    };
    let mut world = World::start(programs, &args.folder).await?;
    let api = world.api.clone();
    let operator = world.operator_past_the_proxy()?;
    let called = mesh::make_called(&api).await?;
    addresses(&api, &called).await?;
    for port in [mesh::PORT, mesh::POD_PORT] {
        servers::serve(port).await?;
    }
    let programs = pod::Programs {
        proxy: args.proxy.clone(),
        own: std::env::current_exe()?,
    };
    let lasting = Pod::make(&api, 1, &args.pods, &programs).await?;
    let new = Pod::make(&api, 2, &args.pods, &programs).await?;
    let lasting = lasting.start("lasting.log").await?;
    lasting.call(&called, args.calls)?;
    let mut rows = Vec::new();
    let mut size = mesh::CALLED;
    for &services in &args.services {
        let mut row = Row {
            services,
            ..Row::default()
        };
        let before = pushed().await?;
        let start = Instant::now();
        mesh::grow(&api, size, services).await?;
        size = services;
        until_written(&api, services).await?;
        tokio::time::sleep(SETTLE).await;
        row.sent_while_growing = pushed().await? - before;
        say(&format!("{services} Services after {:.0?}", start.elapsed()));
        lasting.call(&called, args.calls)?;
        row.lasting = lasting.memory().await?;
        for number in 0..args.repeat {
            let before = pushed().await?;
            let proxy = new.start(&format!("{services}-{number}.log")).await?;
            row.connected.push(proxy.memory().await?);
            proxy.call(&called, args.calls)?;
            row.calling.push(proxy.memory().await?);
            row.sent = pushed().await? - before;
            let endpoints = proxy.metric("smilax_proxy_endpoints").await?;
            ensure!(
                endpoints == u64::try_from(mesh::CALLED)? * u64::from(mesh::ENDPOINTS),
                "the proxy knows {endpoints} endpoints"
            );
        }
        row.operator = memory_of(&operator)?;
        say(&format!("{row:?}"));
        rows.push(row);
    }
    show(&report::page(&rows));
    Ok(())
}

/// What there would be kube-proxy for: the virtual addresses, and those of the pods.
async fn addresses(api: &Api, called: &[Ipv4Addr]) -> anyhow::Result<()> {
    let path = format!("/api/v1/namespaces/{SYSTEM}/services/{WORKLOAD_SERVICE}");
    let service = api.get(&path).await?.context("the operator has no Service")?;
    let address = service["spec"]["clusterIP"].as_str().context("no address")?;
    pod::own_address(address.parse()?)?;
    for (number, &address) in called.iter().enumerate() {
        pod::own_address(address)?;
        for endpoint in mesh::endpoints_of_called(number) {
            pod::own_address(endpoint)?;
        }
    }
    Ok(())
}

/// Bytes that the operator has sent over streams.
async fn pushed() -> anyhow::Result<u64> {
    Ok(measure::sum(&measure::get(ADMIN, "/metrics").await?, PUSHED))
}

fn memory_of(process: &Process) -> anyhow::Result<u64> {
    Ok(measure::memory(process.pid().context("no process")?)?.resident)
}

/// Waits until there is a configuration for every account.
async fn until_written(api: &Api, services: usize) -> anyhow::Result<()> {
    let path = "/api/v1/configmaps?labelSelector=app.kubernetes.io/managed-by%3Dsmilax-operator";
    let start = Instant::now();
    loop {
        let maps = api.list(path).await?.len();
        if maps >= mesh::namespaces(services) {
            return Ok(());
        }
        ensure!(
            start.elapsed() < PATIENCE,
            "only {maps} configurations were written"
        );
        tokio::time::sleep(PAUSE).await;
    }
}
