//! Puts the parts together and keeps them running.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use kube::{Client, Config};
use prometheus::Registry;
use smilax_compiler::index::Settings;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::admin::{self, Health};
use crate::args::{Args, Command, RunArgs};
use crate::controller::events::Events;
use crate::controller::writer::Writer;
use crate::controller::{State, migrate, uninstall, watch as watches};
use crate::lease::{Election, Leadership};
use crate::metrics::Metrics;

/// How long the parts may take to end after a signal.
const GRACE: Duration = Duration::from_secs(5);
const MIGRATE_AGAIN: Duration = Duration::from_secs(15);

/// Runs what the command line asks for.
///
/// # Errors
/// What kept it from starting, or the part that ended though it must not.
pub async fn run(args: Args) -> anyhow::Result<()> {
    match args.command {
        Some(Command::Uninstall) => uninstall::run(&client().await?).await,
        Some(Command::Manifests) => Ok(()),
        None => operate(args.run).await,
    }
}

async fn client() -> anyhow::Result<Client> {
    let mut config = Config::infer().await.context(
        "no access to a cluster: run in a pod with a ServiceAccount, or set KUBECONFIG to a kubeconfig file",
    )?;
    // Every write has its own timeout and its own way of coming back; retries below it would only hide an outage.
    config.default_retry = false;
    Client::try_from(config).context("the kubeconfig cannot be used")
}

async fn operate(args: RunArgs) -> anyhow::Result<()> {
    let client = client().await?;
    let metrics = Metrics::new(Registry::new())?;
    let settings = Settings {
        cluster_domain: args.cluster_domain.clone(),
        ..Settings::default()
    };
    let state = State::new(settings.clone());
    let shutdown = CancellationToken::new();
    let mut tasks = JoinSet::new();

    let admin = listen(args.admin_port).await?;
    let pending = {
        let state = Arc::clone(&state);
        move || {
            state
                .unlisted()
                .iter()
                .map(|kind| kind.word().to_owned())
                .collect::<Vec<_>>()
        }
    };
    let health = Arc::new(Health {
        pending: Box::new(pending),
        metrics: metrics.clone(),
    });
    tasks.spawn(admin::serve(admin, health));

    let floor = {
        let state = Arc::clone(&state);
        move || state.read(|inner| inner.highest_revision().term.saturating_add(1))
    };
    let (election, leadership) = Election::new(client.clone(), &args.namespace, &args.pod_name, floor);

    watches::start(&client, &state, &settings, &metrics, &mut tasks);
    let mut ending = JoinSet::new();
    let writer = Writer {
        state: Arc::clone(&state),
        client: client.clone(),
        leadership: leadership.clone(),
        events: Events::new(client.clone(), &args.pod_name),
        metrics: metrics.clone(),
    };
    ending.spawn(writer.run(shutdown.clone()));
    ending.spawn(election.run(shutdown.clone()));
    tasks.spawn(show_leadership(leadership.clone(), metrics.clone()));
    tasks.spawn(migrate_while_leading(client.clone(), leadership));
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        namespace = args.namespace,
        "operator started"
    );

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let outcome = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        ended = tasks.join_next() => Err(anyhow::anyhow!("a part of the operator ended: {ended:?}")),
        ended = ending.join_next() => Err(anyhow::anyhow!("a part of the operator ended: {ended:?}")),
    };
    tracing::info!("shutting down");
    shutdown.cancel();
    let finished = tokio::time::timeout(GRACE, async { while ending.join_next().await.is_some() {} }).await;
    if finished.is_err() {
        tracing::warn!("not everything ended in time");
    }
    outcome
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        // A node without IPv6.
        Err(_) => TcpListener::bind(("0.0.0.0", port))
            .await
            .with_context(|| format!("port {port} cannot be opened")),
    }
}

async fn show_leadership(mut leadership: watch::Receiver<Leadership>, metrics: Metrics) {
    loop {
        let leads = *leadership.borrow_and_update() != Leadership::Follower;
        metrics.leader.set(i64::from(leads));
        if leadership.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Brings stored objects to our version once in each term, and again until it has come to its end.
async fn migrate_while_leading(client: Client, mut leadership: watch::Receiver<Leadership>) {
    loop {
        while *leadership.borrow_and_update() == Leadership::Follower {
            if leadership.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
        while !migrate::run(&client).await {
            tokio::time::sleep(MIGRATE_AGAIN).await;
            if *leadership.borrow() == Leadership::Follower {
                break;
            }
        }
        if leadership.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
