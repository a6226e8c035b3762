//! A replica of the operator, as far as it serves proxies.

use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use smilax_compiler::index::Settings;
use smilax_operator::controller::State;
use smilax_operator::controller::kinds::Watched;
use smilax_operator::workload_server::{
    FleetStore, Hub, Moment, Server, TlsContext, WorkloadMetrics, forget, relay, serve,
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use turmoil::net::TcpListener;

use crate::api;
use crate::cluster::{self, Change};
use crate::network::{Direct, Listener, PORT};
use crate::policy::INSTALLATION;
use crate::world::{Replica, World};

/// How long the first lists take.
const LISTING: Duration = Duration::from_millis(300);
/// How often a replica looks whether it is told something.
const LOOK: Duration = Duration::from_millis(20);
const LIFETIME: Duration = Duration::from_hours(24);

/// Runs a replica until it is killed.
pub(crate) async fn run(world: Arc<World>, number: usize) -> turmoil::Result {
    let state = State::new(Settings::default());
    let (contexts, seen) = watch::channel(Some(world.context(false)));
    let registry = Registry::new();
    let metrics = WorkloadMetrics::new(&registry)?;
    let fleet = Arc::new(FleetStore::new().on_clock(now));
    let hub = Arc::new(Hub::new(Arc::clone(&state), seen.clone(), metrics.clone()));
    let client = api::client(&world);
    let server = Server::new(
        (client.clone(), Arc::clone(&state), INSTALLATION.to_owned()),
        seen.clone(),
        (Arc::clone(&fleet), Arc::clone(&hub)),
        LIFETIME,
        metrics.clone(),
    );
    let listener = Listener(TcpListener::bind(("0.0.0.0", PORT)).await?);
    tokio::spawn(serve(listener, server, CancellationToken::new()));
    tokio::spawn(async move { hub.run().await });
    tokio::spawn(forget(Arc::clone(&state), Arc::clone(&fleet)));
    let (leadership, leads) = watch::channel(world.with(|inner| inner.leadership(number)));
    tokio::spawn(relay(
        client,
        (INSTALLATION.to_owned(), PORT),
        seen,
        (Arc::clone(&fleet), metrics),
        leads,
        Direct,
    ));
    world.with(|inner| {
        inner.running[number] = Some(Replica {
            fleet,
            registry,
            leadership,
        });
    });
    watch(&world, number, &state, &contexts).await
}

/// Is told of the cluster, for ever.
async fn watch(
    world: &World,
    number: usize,
    state: &State,
    contexts: &watch::Sender<Option<Arc<TlsContext>>>,
) -> turmoil::Result {
    tokio::time::sleep(LISTING).await;
    cluster::begin(state);
    let mut told = 0;
    let mut listed = false;
    loop {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let news: Vec<_> = world.with(|inner| {
            let lag = inner.lags[number];
            let due = inner.log[told..]
                .iter()
                .take_while(|(at, _)| *at + lag <= now || at.is_zero());
            due.map(|(_, change)| change.clone()).collect()
        });
        told += news.len();
        for change in &news {
            cluster::take(state, change);
            if let Change::Announce = change {
                contexts.send_replace(Some(world.context(true)));
            }
        }
        if !listed {
            listed = true;
            state.update(|inner| Watched::all().for_each(|kind| inner.listed(kind)));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn now() -> Moment {
    let now = turmoil::since_epoch().unwrap_or_default();
    Moment {
        seconds: now.as_secs(),
        millis: u16::try_from(now.subsec_millis()).unwrap_or_default(),
    }
}
