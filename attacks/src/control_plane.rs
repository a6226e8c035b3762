//! The operator under attack, with a real API server.

mod calls;
mod changes;
mod objects;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::Pid;
use smilax_chaos::process::Process;
use smilax_chaos::world::{Programs, World};

use crate::bars::Bars;
use crate::catalogue::Siege;
use crate::figures::{Fate, Figures, Service, Tally, round};
use crate::measure::{forget_peak, processor_seconds, resident, scaled};
use crate::stage::{Cgroup, Family, Host, Limits, Stage, read_from};

/// The chart's limits of an operator.
const LIMITS: Limits = Limits {
    memory: Some(256 * 1024 * 1024),
    processors: Some(1),
};
/// How long the victim is measured without the attack, each time.
const WITHOUT: Duration = Duration::from_secs(3);
/// How long it is measured with an attack, from its beginning on.
const WITH: Duration = Duration::from_secs(5);
/// How long connections are held.
const ATTACK: Duration = Duration::from_secs(6);
/// When memory is read after the attack.
const AFTER: Duration = Duration::from_secs(10);
/// What a call and a change of policy may take at the 99th percentile, in milliseconds.
const CALL_MS: f64 = 1000.0;
/// What the policy of a ConfigMap may take until it is again what the operator decided, in milliseconds.
const HEALS_MS: f64 = 10_000.0;
/// What the dearest object may cost the operator, in milliseconds of processor time.
const OBJECT_MS: f64 = 50.0;

/// A port of the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// Webhooks, which the API server calls.
    Webhooks,
    /// Certificates and streams, which proxies call.
    Workloads,
    /// Health and metrics, which kubelet calls.
    Health,
}

/// What is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Experiment {
    /// Connections to a port. The victim is who calls it, over a new connection for each call.
    Flood(Port, Siege),
    /// The dearest groups that admission lets through. The victim changes a split of another namespace.
    RegexBombs,
    /// Objects too large together for one configuration. The victim changes a split of the namespace that they name.
    SharedBudget,
    /// An edited policy. The victim waits until it is as it was.
    ForgedPolicy,
    /// An old backup. The victim waits until it is as it was.
    ReplayedPolicy,
}

impl Port {
    fn number(self) -> u16 {
        match self {
            Self::Webhooks => 8443,
            Self::Workloads => 8444,
            Self::Health => 8080,
        }
    }
}

impl Experiment {
    /// What must hold.
    pub fn bars(self) -> Bars {
        match self {
            Self::Flood(..) | Self::SharedBudget => Bars::operator(CALL_MS),
            Self::RegexBombs => Bars::operator(CALL_MS).per_object(OBJECT_MS),
            Self::ForgedPolicy | Self::ReplayedPolicy => Bars::operator(HEALS_MS),
        }
    }

    /// Whether addresses of this family play a part in it.
    pub fn is_tried_over(self, family: Family) -> bool {
        matches!(self, Self::Flood(..)) || family == Family::V4
    }
}

/// An operator and its API server.
pub struct ControlPlane {
    world: World,
    operator: Process,
    pid: Pid,
    // Removed after the process in it.
    _cgroup: Cgroup,
}

impl ControlPlane {
    /// Starts it, with a namespace of the victim, `shop`, and one of the attacker, `tenant`.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(stage: &Stage, programs: Programs) -> anyhow::Result<Self> {
        let folder = stage.folder.join("control-plane");
        let mut world = World::start(programs, &folder).await?;
        let cgroup = stage.cgroup("operator", LIMITS)?;
        let operator = world.operator_past_the_proxy()?;
        let pid = operator.pid().context("no operator")?;
        cgroup.take_in(pid)?;
        objects::make(&world.api).await?;
        Ok(Self {
            world,
            operator,
            pid,
            _cgroup: cgroup,
        })
    }

    /// Measures an attack.
    ///
    /// # Errors
    /// When the system does not do its part.
    pub async fn perform(
        &mut self,
        stage: &Stage,
        experiment: Experiment,
        family: Family,
    ) -> anyhow::Result<Figures> {
        self.victim(experiment, family, Duration::from_secs(1)).await?;
        forget_peak(self.pid)?;
        let mut figures = Figures::default();
        figures.rss.before = resident(self.pid)?.now;
        let idle = processor_seconds(&self.operator)?;
        let from = Instant::now();
        figures.without[0] = self.victim(experiment, family, WITHOUT).await?;
        let (quiet, took) = (processor_seconds(&self.operator)?, from.elapsed());
        let from = Instant::now();
        let (attacker, with) = self.attack(stage, experiment, family).await?;
        (figures.attacker, figures.with) = (attacker, with);
        let (lasted, over) = (from.elapsed(), Instant::now());
        if !self.operator.lives() {
            figures.fate = Fate::Ended;
            return Ok(figures);
        }
        figures.cpu_without_s = scaled(quiet - idle, took, lasted);
        figures.cpu_s = round(processor_seconds(&self.operator)? - quiet);
        figures.without[1] = self.victim(experiment, family, WITHOUT).await?;
        tokio::time::sleep(AFTER.saturating_sub(over.elapsed())).await;
        let rss = resident(self.pid)?;
        (figures.rss.peak, figures.rss.after) = (rss.peak, rss.now);
        objects::clear(&self.world.api).await?;
        Ok(figures)
    }

    /// The victim's calls or changes without an attack.
    async fn victim(
        &self,
        experiment: Experiment,
        family: Family,
        lasts: Duration,
    ) -> anyhow::Result<Service> {
        match experiment {
            Experiment::Flood(port, _) => calls::run(port, address(port, family), lasts).await,
            Experiment::RegexBombs | Experiment::SharedBudget => {
                changes::run(&self.world.api, tokio::time::sleep(lasts)).await
            }
            // There is nothing to heal.
            Experiment::ForgedPolicy | Experiment::ReplayedPolicy => Ok(Service::default()),
        }
    }

    async fn attack(
        &self,
        stage: &Stage,
        experiment: Experiment,
        family: Family,
    ) -> anyhow::Result<(Tally, Service)> {
        let api = &self.world.api;
        let wrote = |objects| Tally {
            objects,
            ..Tally::default()
        };
        match experiment {
            Experiment::Flood(port, siege) => {
                let mut command = stage.attacker(Host::Attacker);
                let sources = Host::Attacker.addresses(family);
                siege.arguments(&mut command, &sources, address(port, family), ATTACK);
                let calls = calls::run(port, address(port, family), WITH);
                let (attacker, calls) = tokio::join!(read_from(command), calls);
                Ok((attacker?, calls?))
            }
            Experiment::RegexBombs => {
                let (written, service) = changes::during(api, objects::bombs(api)).await?;
                Ok((wrote(written), service))
            }
            Experiment::SharedBudget => {
                let (written, service) = changes::during(api, objects::too_large(api)).await?;
                Ok((wrote(written), service))
            }
            Experiment::ForgedPolicy => {
                let service = changes::forge(api).await?;
                Ok((wrote(service.requests), service))
            }
            Experiment::ReplayedPolicy => {
                let service = changes::replay(api).await?;
                Ok((wrote(service.requests), service))
            }
        }
    }
}

fn address(port: Port, family: Family) -> SocketAddr {
    SocketAddr::new(family.node(), port.number())
}
