//! Plays a plan, and then lets everything come to rest.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use smilax_sim::judge::SETTLED;
use smilax_sim::plan::{CALM, Content, Event, Host, PODS, Plan, REPLICAS, SERVICES};
use smilax_sim::record::Record;
use turmoil::Sim;

use crate::network::address;
use crate::policy::account;
use crate::world::{USUAL_LAG, World};
use crate::{missing, proxy, reader, replica};

/// How exactly time is told between hosts.
const TICK: Duration = Duration::from_millis(20);
/// How often it is looked whether everything is as it should be.
const LOOK: Duration = Duration::from_millis(200);
/// How long nothing happens.
const IDLE: Duration = Duration::from_secs(20);
/// Proxies come back within this time when a replica goes.
const COME_BACK: Duration = Duration::from_secs(45);
/// Whatever was still to be told is told within this time.
const TOLD: Duration = Duration::from_secs(3);
/// Segments that may be under way on one connection, in one direction.
const SEGMENTS: usize = 64;
/// How often a link breaks with a message, where it does, and how soon it is mended.
const BREAKS: f64 = 0.01;
const MENDS: f64 = 0.2;
/// Any day.
const EPOCH: Duration = Duration::from_secs(1_750_000_000);

/// A simulation under way.
pub(crate) struct Run<'a> {
    pub(crate) sim: Sim<'a>,
    pub(crate) world: Arc<World>,
}

/// Plays a plan to its end.
pub(crate) fn play(plan: &Plan) -> Record {
    let mut run = Run::begin(plan);
    run.through(&plan.events, CALM);
    run.calm();
    run.settle();
    run.idle();
    run.come_back();
    run.world.with(|inner| inner.record.clone())
}

impl Run<'_> {
    pub(crate) fn begin(plan: &Plan) -> Self {
        // What is random in the code itself.
        fastrand::seed(plan.seed);
        let mut sim = turmoil::Builder::new()
            .rng_seed(plan.seed)
            .enable_random_order()
            .epoch(UNIX_EPOCH + EPOCH)
            .tick_duration(TICK)
            .simulation_duration(Duration::from_hours(1))
            .min_message_latency(plan.latency.least)
            .max_message_latency(plan.latency.most)
            .repair_rate(MENDS)
            .tcp_capacity(SEGMENTS)
            .build();
        let world = World::new();
        for number in 0..REPLICAS {
            let world = Arc::clone(&world);
            sim.host(address(Host::Replica(number)), move || {
                replica::run(Arc::clone(&world), number)
            });
        }
        for number in 0..PODS {
            let world = Arc::clone(&world);
            sim.host(address(Host::Pod(number)), move || {
                proxy::run(Arc::clone(&world), number)
            });
        }
        let reading = Arc::clone(&world);
        sim.host(address(Host::Reader), move || reader::run(Arc::clone(&reading)));
        Self { sim, world }
    }

    /// Plays events until a time.
    pub(crate) fn through(&mut self, events: &[(Duration, Event)], end: Duration) {
        for (at, event) in events {
            self.until(*at);
            self.happen(*event);
        }
        self.until(end);
    }

    fn until(&mut self, at: Duration) {
        while self.sim.elapsed() < at {
            self.sim.step().unwrap();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.until(self.sim.elapsed() + time);
    }

    /// Something happens.
    pub(crate) fn happen(&mut self, event: Event) {
        let (sim, world) = (&mut self.sim, &self.world);
        let now = sim.elapsed();
        match event {
            Event::Policy(number, content) => world.write(now, &account(number), content),
            Event::Endpoints(service, pods) => world.set_endpoints(now, service, pods),
            Event::Use(pod, service) => {
                world.with(|inner| inner.pods[pod].uses.insert(service));
                proxy::say_uses(world, pod);
            }
            Event::Mount(pod, ago) => {
                world.mount(pod, ago);
                proxy::look_again(world, now, pod);
            }
            Event::Announce => world.announce(now),
            Event::Replace(pod) => {
                sim.crash(address(Host::Pod(pod)));
                world.replace(now, pod);
                sim.bounce(address(Host::Pod(pod)));
            }
            Event::RestartProxy(pod) => {
                sim.crash(address(Host::Pod(pod)));
                world.with(|inner| inner.pods[pod].control = None);
                sim.bounce(address(Host::Pod(pod)));
            }
            Event::Kill(replica) => self.kill(replica),
            Event::Start(replica) => self.start(replica),
            Event::Lead(replica) => world.lead(replica),
            Event::Lag(replica, lag) => world.with(|inner| inner.lags[replica] = lag),
            Event::Cut(one, other) => sim.partition(address(one), address(other)),
            Event::CutOneWay(from, to) => sim.partition_oneway(address(from), address(to)),
            Event::Hold(one, other) => sim.hold(address(one), address(other)),
            Event::Mend(one, other) | Event::Release(one, other) => {
                sim.release(address(one), address(other));
            }
            Event::Flaky => sim.set_fail_rate(BREAKS),
            Event::Steady => sim.set_fail_rate(0.0),
            Event::Stick => drop(world.reading.send_replace(false)),
            Event::Unstick => drop(world.reading.send_replace(true)),
        }
    }

    /// The other one leads when a leader is killed.
    fn kill(&mut self, replica: usize) {
        self.sim.crash(address(Host::Replica(replica)));
        self.world.with(|inner| inner.running[replica] = None);
        let others = self.world.replicas();
        if let (true, Some(&other)) = (self.world.leader() == replica, others.first()) {
            self.world.lead(other);
        }
    }

    fn start(&mut self, replica: usize) {
        if !self.sim.is_host_running(address(Host::Replica(replica))) {
            self.sim.bounce(address(Host::Replica(replica)));
        }
    }

    /// Whatever still breaks is mended, and the last word is said of everything.
    fn calm(&mut self) {
        self.happen(Event::Steady);
        let hosts = (0..PODS).map(Host::Pod).chain([Host::Reader]);
        let pairs = hosts.flat_map(|host| (0..REPLICAS).map(move |one| (Host::Replica(one), host)));
        for (one, other) in pairs.chain([(Host::Replica(0), Host::Replica(1))]) {
            self.happen(Event::Mend(one, other));
        }
        for replica in 0..REPLICAS {
            self.happen(Event::Start(replica));
            self.happen(Event::Lag(replica, USUAL_LAG));
        }
        self.happen(Event::Unstick);
        for number in [0, 1] {
            self.happen(Event::Policy(number, Content::Short));
        }
        for service in 0..SERVICES {
            self.happen(Event::Endpoints(service, 0b101));
        }
    }

    /// Waits until everything is as it should be.
    fn settle(&mut self) {
        let began = self.sim.elapsed();
        let mut missing = missing::of(&self.world);
        while !missing.is_empty() && self.sim.elapsed().saturating_sub(began) <= SETTLED {
            self.pass(LOOK);
            missing = missing::of(&self.world);
        }
        let settled = missing
            .is_empty()
            .then(|| self.sim.elapsed().saturating_sub(began));
        self.world.with(|inner| {
            inner.record.end.settled = settled;
            inner.record.end.missing = missing;
        });
    }

    /// Counts what is sent while nothing changes.
    fn idle(&mut self) {
        // What was sent to connections that nobody reads any more.
        self.pass(TOLD);
        let before = self.sent();
        self.pass(IDLE);
        let after = self.sent();
        let idle = after.into_iter().map(|(kind, count)| {
            let before = before.get(&kind).copied().unwrap_or_default();
            (kind, count - before)
        });
        let idle = idle.collect();
        self.world.with(|inner| inner.record.end.idle = idle);
    }

    /// Counts policies that are sent to proxies that come back with them, to one replica and then to the other.
    fn come_back(&mut self) {
        let mut resent = 0;
        for replica in 0..REPLICAS {
            let before = self.policies();
            let lost = self.policies_of(replica);
            self.kill(replica);
            self.wait_for_all();
            self.start(replica);
            self.pass(TOLD);
            resent += self.policies() - (before - lost);
        }
        self.world.with(|inner| inner.record.end.resent = resent);
    }

    fn wait_for_all(&mut self) {
        let began = self.sim.elapsed();
        loop {
            self.pass(LOOK);
            let apart = self.world.with(|inner| {
                let running = inner.running.iter().flatten();
                PODS + 1
                    - running
                        .map(|replica| replica.fleet.connected().0.len())
                        .sum::<usize>()
            });
            if apart == 0 {
                return;
            }
            assert!(
                self.sim.elapsed().saturating_sub(began) < COME_BACK,
                "{apart} do not come back"
            );
        }
    }

    /// Messages that were sent by the replicas that run, by kind.
    fn sent(&self) -> BTreeMap<String, u64> {
        let mut sent = BTreeMap::new();
        for replica in 0..REPLICAS {
            for (kind, count) in self.sent_by(replica) {
                *sent.entry(kind).or_default() += count;
            }
        }
        sent
    }

    fn policies(&self) -> u64 {
        (0..REPLICAS).map(|replica| self.policies_of(replica)).sum()
    }

    fn policies_of(&self, replica: usize) -> u64 {
        self.sent_by(replica).get("policy").copied().unwrap_or_default()
    }

    fn sent_by(&self, replica: usize) -> BTreeMap<String, u64> {
        let registry = self
            .world
            .with(|inner| inner.running[replica].as_ref().map(|one| one.registry.clone()));
        let families = registry.map(|registry| registry.gather()).unwrap_or_default();
        let pushes = families
            .iter()
            .filter(|family| family.name() == "smilax_operator_pushes_total");
        let counts = pushes
            .flat_map(prometheus::proto::MetricFamily::get_metric)
            .map(|metric| {
                let kind = metric.get_label()[0].value().to_owned();
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "it counts"
                )]
                let count = metric.get_counter().get_value() as u64;
                (kind, count)
            });
        counts.collect()
    }
}
