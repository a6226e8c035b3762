//! A worker: one thread that carries connections and shares nothing with the others but what never changes.

mod table_state;

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use arc_swap::cache::Cache;
use smilax_core::{Backend, DestinationName, DestinationPortName, Members, RouteTable, SpiffeId};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::time::MissedTickBehavior;

pub use table_state::TableState;

use crate::access::Reports;
use crate::addresses::{self, Addresses, Behind, Lookups};
use crate::changes::Changes;
use crate::connection::{self, Direction};
use crate::detect::{HttpPorts, Remembered};
use crate::drain::Lifecycle;
use crate::endpoints::{Balanced, Endpoints, Known, Wanted};
use crate::http::pool::presence::Presences;
use crate::http::pool::{Kind, Pool};
use crate::http::server::Servers;
use crate::inbound::Handshakes;
use crate::listener::{Bound, accept_forever};
use crate::metrics::Metrics;
use crate::metrics::traffic::Telemetry;
use crate::overload::Overload;
use crate::settings::Settings;
use crate::tls::{Peer, TlsStore};

/// How often it is said what is in use.
const SAY_USES: Duration = Duration::from_secs(30);
/// Callers whose series are kept at hand at most.
const MOST_CALLERS: usize = 256;
/// Most workers that are started without being asked for.
const MOST_WORKERS: usize = 2;

/// What the threads of a proxy share.
#[derive(Debug)]
pub struct Shared {
    /// What was set at the start.
    pub settings: Settings,
    /// The configuration in force.
    pub table: Arc<ArcSwap<RouteTable>>,
    /// The pods that bindings select, as far as the operator has told.
    pub members: Arc<ArcSwap<Members>>,
    /// At which addresses nobody is.
    pub presences: Presences,
    /// Says when `table`, `members` or whom to trust has changed.
    pub changes: Changes,
    /// What handshakes are made of; nothing until there are a certificate and a bundle.
    pub tls: TlsStore,
    /// What is measured.
    pub metrics: Arc<Metrics>,
    /// Where the proxy is in its life.
    pub lifecycle: Lifecycle,
    /// Where the pods of destinations are.
    pub endpoints: Endpoints,
    /// What stands behind addresses that the configuration does not name.
    pub addresses: Addresses,
    /// What workers would like to be told of.
    pub wanted: Wanted,
    /// What strangers may cost.
    pub overload: Overload,
    /// Ports of the application that speak HTTP though nobody declared them.
    pub http_ports: HttpPorts,
}

impl Shared {
    /// What a proxy begins with, before it has read or heard anything.
    #[must_use]
    pub fn new(settings: Settings, metrics: Metrics) -> Self {
        let endpoints = Endpoints::in_zone(settings.zone.as_deref());
        Self {
            overload: Overload::new(settings.capacity),
            http_ports: HttpPorts::probed(settings.probes.http_ports()),
            settings,
            table: Arc::new(ArcSwap::from_pointee(RouteTable::default())),
            members: Arc::default(),
            presences: Presences::default(),
            changes: Changes::default(),
            tls: TlsStore::default(),
            metrics: Arc::new(metrics),
            lifecycle: Lifecycle::default(),
            endpoints,
            addresses: Addresses::default(),
            wanted: Wanted::default(),
        }
    }

    /// Whether somebody who proved who they are would be believed now.
    pub fn trusts(&self, peer: &Peer) -> bool {
        // Without a context there is nothing that would take anything back.
        self.tls
            .load()
            .as_ref()
            .is_none_or(|context| context.trusts(peer))
    }

    /// Completes when nobody who is trusted vouches for this peer any more.
    pub async fn distrusts(&self, peer: &Peer) {
        let mut changes = self.changes.watch();
        while self.trusts(peer) {
            if changes.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// State of one worker.
pub struct Worker {
    /// What the threads share.
    pub shared: Arc<Shared>,
    /// Connections to Services.
    pub outbound: Pool,
    /// Connections to endpoints of Services.
    pub endpoint_pool: Pool,
    /// Connections to the application.
    pub inbound: Pool,
    /// Servers that speak first.
    pub server_first: RefCell<Remembered>,
    /// Clients whose bytes were answered in HTTP, with the port that they called.
    pub misread: RefCell<Remembered>,
    /// How connections from clients are served.
    pub servers: Servers,
    /// Handshakes of clients that are under way.
    pub handshakes: Handshakes,
    /// Lines about refused calls.
    pub reports: Reports,
    /// What is measured about what this pod is sent by who proves no identity.
    pub inbound_telemetry: Rc<Telemetry>,
    /// What is measured about destinations that nothing is known of.
    pub unknown_telemetry: Rc<Telemetry>,
    callers: RefCell<HashMap<SpiffeId, Rc<Telemetry>>>,
    members: RefCell<Cache<Arc<ArcSwap<Members>>, Arc<Members>>>,
    cache: RefCell<Cache<Arc<ArcSwap<RouteTable>>, Arc<RouteTable>>>,
    state: RefCell<Rc<TableState>>,
    telemetry: RefCell<HashMap<DestinationName, Rc<Telemetry>>>,
    /// What was asked about addresses.
    pub lookups: Lookups,
    started: Instant,
    addresses: RefCell<Cache<Arc<ArcSwap<addresses::Known>>, Arc<addresses::Known>>>,
    endpoints: RefCell<Cache<Arc<ArcSwap<Known>>, Arc<Known>>>,
    balanced: RefCell<HashMap<DestinationPortName, Rc<Balanced>>>,
}

/// Listening sockets of one worker.
#[derive(Debug)]
pub struct Sockets {
    /// For connections that leave the pod.
    pub outbound: Bound,
    /// For connections that enter it.
    pub inbound: Bound,
}

impl Worker {
    fn new(shared: Arc<Shared>) -> Rc<Self> {
        let limits = shared.settings.limits;
        let table = shared.table.load_full();
        Rc::new(Self {
            outbound: Pool::new(Kind::Services, &shared),
            endpoint_pool: Pool::new(Kind::Endpoints, &shared),
            inbound: Pool::new(Kind::Application, &shared),
            server_first: RefCell::new(Remembered::new(limits.server_first_memory)),
            misread: RefCell::new(Remembered::new(limits.server_first_memory)),
            servers: Servers::new(),
            handshakes: Handshakes::new(limits),
            reports: Reports::default(),
            inbound_telemetry: Telemetry::inbound(&shared.metrics, None),
            unknown_telemetry: Telemetry::outbound(&shared.metrics, None),
            callers: RefCell::default(),
            members: RefCell::new(Cache::new(Arc::clone(&shared.members))),
            cache: RefCell::new(Cache::new(Arc::clone(&shared.table))),
            state: RefCell::new(Rc::new(TableState::new(table))),
            telemetry: RefCell::default(),
            lookups: Lookups::default(),
            started: Instant::now(),
            addresses: RefCell::new(Cache::new(Arc::clone(shared.addresses.shared()))),
            endpoints: RefCell::new(Cache::new(Arc::clone(shared.endpoints.shared()))),
            balanced: RefCell::default(),
            shared,
        })
    }

    /// What is kept for the configuration in force.
    pub fn state(&self) -> Rc<TableState> {
        let mut cache = self.cache.borrow_mut();
        let table = cache.load();
        let mut state = self.state.borrow_mut();
        if !Arc::ptr_eq(table, &state.table) {
            *state = Rc::new(TableState::new(Arc::clone(table)));
        }
        Rc::clone(&state)
    }

    /// The pods that bindings select.
    pub fn members(&self) -> Arc<Members> {
        Arc::clone(self.members.borrow_mut().load())
    }

    /// Time since this worker began.
    pub fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Looks at what is known of endpoints.
    pub fn endpoints<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(self.endpoints.borrow_mut().load())
    }

    /// Looks at what is known to stand behind an address.
    pub fn behind<T>(&self, address: SocketAddr, look: impl FnOnce(Option<&Behind>) -> T) -> T {
        look(self.addresses.borrow_mut().load().get(&address))
    }

    /// What is kept of a port of a destination.
    fn balanced(&self, backend: &Backend) -> Rc<Balanced> {
        let of = DestinationPortName {
            destination: backend.destination.clone(),
            port: backend.port,
        };
        let mut all = self.balanced.borrow_mut();
        let balanced = all
            .entry(of)
            .or_insert_with_key(|of| Rc::new(Balanced::new(of.clone())));
        Rc::clone(balanced)
    }

    /// Says what is in use, and lets go of what is neither that nor in the configuration, for ever.
    async fn say_uses_forever(&self) {
        let mut interval = tokio::time::interval(SAY_USES);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let mut used = self.lookups.take_uses();
            self.balanced.borrow_mut().retain(|_, balanced| {
                let resource = balanced.take_use();
                let keep = resource.is_some() || Rc::strong_count(balanced) > 1;
                used.extend(resource);
                keep
            });
            if !used.is_empty() {
                self.shared.wanted.say(used);
            }
        }
    }

    /// What is measured about what this pod is sent by a caller that proved who it is. Kept for so many, and for the
    /// others anew for each of their connections.
    pub fn telemetry_of_caller(&self, caller: &SpiffeId, own: &SpiffeId) -> Rc<Telemetry> {
        let mut known = self.callers.borrow_mut();
        if let Some(telemetry) = known.get(caller) {
            return Rc::clone(telemetry);
        }
        let telemetry = Telemetry::inbound(&self.shared.metrics, Some((caller, own)));
        if known.len() < MOST_CALLERS {
            known.insert(caller.clone(), Rc::clone(&telemetry));
        }
        telemetry
    }

    fn telemetry_of(&self, destination: &DestinationName) -> Rc<Telemetry> {
        let mut known = self.telemetry.borrow_mut();
        let telemetry = known
            .entry(destination.clone())
            .or_insert_with(|| Telemetry::outbound(&self.shared.metrics, Some(destination)));
        Rc::clone(telemetry)
    }
}

/// Runs a worker until everything it carried has ended after stopping began. Blocks the thread.
///
/// # Errors
/// When the runtime or its sockets cannot be set up.
pub fn run(shared: Arc<Shared>, sockets: Sockets) -> io::Result<()> {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let lifecycle = shared.lifecycle.clone();
        let worker = Worker::new(shared);
        for (direction, bound) in [
            (Direction::Outbound, sockets.outbound),
            (Direction::Inbound, sockets.inbound),
        ] {
            for listener in bound.listeners()? {
                tokio::task::spawn_local(accept_all(Rc::clone(&worker), direction, listener));
            }
        }
        tokio::task::spawn_local({
            let worker = Rc::clone(&worker);
            async move {
                tokio::join!(
                    worker.outbound.reap_forever(),
                    worker.outbound.distrust_forever(),
                    worker.endpoint_pool.reap_forever(),
                    worker.endpoint_pool.distrust_forever(),
                    worker.say_uses_forever(),
                    worker.inbound.reap_forever(),
                );
            }
        });
        lifecycle.all_connections_closed().await;
        Ok(())
    })
}

async fn accept_all(worker: Rc<Worker>, direction: Direction, listener: TcpListener) {
    accept_forever(listener, move |stream, client| {
        tokio::task::spawn_local(connection::accept(Rc::clone(&worker), direction, stream, client));
    })
    .await;
}

/// As many workers as the CPU limit of this container allows to run at once, one at least and two at most.
pub fn count_by_cpu_limit() -> usize {
    let available = std::thread::available_parallelism().map_or(1, usize::from);
    let limit = fs::read_to_string("/sys/fs/cgroup/cpu.max")
        .ok()
        .and_then(|text| cpus_v2(&text))
        .or_else(|| {
            let read = |file| fs::read_to_string(format!("/sys/fs/cgroup/cpu/{file}")).ok();
            cpus_v1(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?)
        });
    limit.unwrap_or(available).min(available).clamp(1, MOST_WORKERS)
}

/// Whole CPUs in a `cpu.max` of cgroup v2, rounded up; `None` without a limit.
fn cpus_v2(text: &str) -> Option<usize> {
    let (quota, period) = text.trim().split_once(' ')?;
    whole_cpus(quota.parse().ok()?, period.parse().ok()?)
}

/// The same of cgroup v1's two files.
fn cpus_v1(quota: &str, period: &str) -> Option<usize> {
    whole_cpus(quota.trim().parse().ok()?, period.trim().parse().ok()?)
}

fn whole_cpus(quota: i64, period: i64) -> Option<usize> {
    let quota = u64::try_from(quota).ok().filter(|quota| *quota > 0)?;
    let period = u64::try_from(period).ok().filter(|period| *period > 0)?;
    usize::try_from(quota.div_ceil(period)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_limit_is_read_from_either_kind_of_cgroup() {
        assert_eq!(cpus_v2("150000 100000\n"), Some(2));
        assert_eq!(cpus_v2("10000 100000\n"), Some(1));
        assert_eq!(cpus_v2("max 100000\n"), None);
        assert_eq!(cpus_v1("400000\n", "100000\n"), Some(4));
        assert_eq!(cpus_v1("-1\n", "100000\n"), None);
    }
}
