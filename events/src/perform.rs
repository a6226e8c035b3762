//! Brings an event about while a load runs.

use std::time::{Duration, Instant};

use serde_json::Value;
use smilax_e2e::api::now_ms;
use smilax_e2e::client::Background;
use smilax_e2e::disrupt::{Cluster, OperatorAway, OperatorStopped};
use smilax_e2e::namespace::must;
use smilax_e2e::wait::pause;
use smilax_e2e::{Client, Ending, Fault, Following, Mesh, Progress, wait_until};

use crate::figures::{Affected, Attribution, Figures, Moments};
use crate::pods::{self, Pods};
use crate::scenario::{APPLICATION_MS, App, Event, Operators};

/// Keep-alive connections of the client at the start.
const CONNECTIONS: u32 = 32;
/// Milliseconds after which the client gives up.
const TIMEOUT_MS: u64 = 5000;
/// Requests before the event.
const BEFORE: Duration = Duration::from_secs(3);
/// A fault lasts so long.
const FAULT: Duration = Duration::from_secs(10);
/// A node has no power for so long; kubelet's is missed after 40 s.
const WITHOUT_POWER: Duration = Duration::from_secs(15);
/// Operators are stopped for so long.
const AWAY: Duration = Duration::from_secs(15);
/// Requests after the cause is gone: a pod must be back after 10 s.
const HEALED: Duration = Duration::from_secs(11);
/// Requests after a rollout.
const AFTER: Duration = Duration::from_secs(2);

/// The cluster, and the mesh in it.
#[derive(Debug)]
pub struct World {
    /// The mesh.
    pub mesh: Mesh,
    /// The tool that made the cluster.
    pub cluster: Cluster,
}

/// What an event was.
struct Happened {
    moments: Moments,
    affected: Option<Affected>,
    in_flight: u64,
}

impl World {
    /// Brings an event about while so many requests a second are sent, and says what became of them.
    pub fn perform(&self, event: Event, rate: u32, pods: &Pods) -> Figures {
        pods.restore(event.app());
        let load = pods
            .load(event.app(), event.speech())
            .rate(rate)
            .connections(CONNECTIONS)
            .timeout_ms(TIMEOUT_MS)
            .open_loop(event.hung_after_ms());
        let background = pods.client.start(load);
        let happened = self.happen(event, rate, pods, &background);
        let report = background.stop();
        Figures::of(
            &report,
            happened.moments,
            happened.affected.as_ref(),
            happened.in_flight,
        )
    }

    fn happen(&self, event: Event, rate: u32, pods: &Pods, background: &Background) -> Happened {
        background.goes_on(1);
        pause(BEFORE);
        match event {
            Event::Restart(app, operators) => self.restart(app, operators, pods),
            Event::Deletion(app, operators) => self.delete(app, operators, pods),
            Event::Fault(fault, _) => inject(fault, pods),
            Event::Kill => self.kill(rate, pods),
            Event::PowerOff => self.power_off(pods),
        }
    }

    fn restart(&self, app: App, operators: Operators, pods: &Pods) -> Happened {
        let dying = Dying::of(app, &pods.of(app), pods);
        let began_ms = now_ms();
        self.meanwhile(operators, || {
            pods::restart(&pods.namespace, app);
            || pods.namespace.ready(&[&pods::deployment(app)])
        });
        pods.gone(app);
        pause(AFTER);
        dying.happened(began_ms)
    }

    fn delete(&self, app: App, operators: Operators, pods: &Pods) -> Happened {
        let mut deleted = pods.of(app);
        deleted.truncate(2);
        let dying = Dying::of(app, &deleted, pods);
        let began_ms = now_ms();
        self.meanwhile(operators, || {
            let mut arguments = vec!["delete", "pods", "--wait=false"];
            arguments.extend(deleted.iter().map(pods::name));
            must(pods.namespace.kubectl().run(&arguments));
            || pods.namespace.ready(&[&pods::deployment(app)])
        });
        pods.gone(app);
        pause(AFTER);
        dying.happened(began_ms)
    }

    /// Does something while the operators are in this state for a time, and waits for its end, which may need them.
    fn meanwhile<W: FnOnce()>(&self, operators: Operators, begin: impl FnOnce() -> W) {
        let from = Instant::now();
        let pass = || pause(AWAY.saturating_sub(from.elapsed()));
        match operators {
            Operators::Running => begin()(),
            Operators::Stopped => {
                let stopped = OperatorStopped::begin(&self.mesh, &self.cluster);
                let wait = begin();
                pass();
                drop(stopped);
                wait();
            }
            Operators::Killed => {
                let away = OperatorAway::begin(&self.mesh);
                let wait = begin();
                pass();
                away.end();
                wait();
            }
        }
        self.mesh.available();
    }

    fn kill(&self, rate: u32, pods: &Pods) -> Happened {
        let mut pair = pods.of(App::Pair);
        // A container that died before waits longer for its restart.
        pair.sort_by_key(pods::restarts);
        let victim = &pair[0];
        let before = pods::restarts(victim);
        let began_ms = now_ms();
        self.cluster.kill(victim, "app");
        wait_until("the application runs again", || {
            let pods = pods.of(App::Pair);
            let now = pods
                .iter()
                .find(|pod| pods::name(pod) == pods::name(victim))
                .and_then(pods::restarts);
            Progress::when(now > before, (), || format!("{now:?} restarts"))
        });
        let healed_ms = now_ms();
        pause(HEALED);
        // It cannot say what it held: by Little's law half of the rate times the latency, and as much again by chance.
        let in_flight = u64::from(rate) * APPLICATION_MS / 1000;
        Happened {
            moments: Moments {
                began_ms,
                healed_ms: Some(healed_ms),
            },
            affected: Some(of_pair(victim, Attribution::Answers)),
            in_flight,
        }
    }

    fn power_off(&self, pods: &Pods) -> Happened {
        let pair = pods.of(App::Pair);
        let victim = pair.iter().find(|pod| pods::is_apart_from_client(pod));
        assert!(victim.is_some(), "all pods are on the client's node: {pair:?}");
        let victim = victim.unwrap_or(&Value::Null);
        let began_ms = now_ms();
        let off = self.cluster.power_off(pods::node(victim));
        pause(WITHOUT_POWER);
        drop(off);
        let healed_ms = now_ms();
        pause(HEALED);
        Happened {
            moments: Moments {
                began_ms,
                healed_ms: Some(healed_ms),
            },
            affected: Some(of_pair(victim, Attribution::AnswersAndSilence)),
            in_flight: 0,
        }
    }
}

fn inject(fault: Fault, pods: &Pods) -> Happened {
    let pair = pods.of(App::Pair);
    let victim = &pair[0];
    let server = Client::in_pod(&pods.namespace, pods::name(victim), "default");
    let began_ms = server.inject(fault);
    pause(FAULT);
    let healed_ms = server.inject(Fault::None);
    pause(HEALED);
    let attribution = match fault {
        Fault::Hang => Attribution::AnswersAndSilence,
        Fault::None | Fault::Abort | Fault::Delay(_) => Attribution::Answers,
    };
    Happened {
        moments: Moments {
            began_ms,
            healed_ms: Some(healed_ms),
        },
        affected: Some(of_pair(victim, attribution)),
        in_flight: 0,
    }
}

fn of_pair(pod: &Value, attribution: Attribution) -> Affected {
    Affected {
        pods: vec![pods::name(pod).to_owned()],
        of: App::Pair.replicas(),
        attribution,
    }
}

/// Pods that are about to end, and that say what they held.
struct Dying(Vec<Following>);

impl Dying {
    fn of(app: App, dying: &[Value], pods: &Pods) -> Self {
        let follow = |pod: &Value| Following::begin(pods.namespace.kubectl(), pods::name(pod));
        // Those that drain hold nothing in the end.
        let exiting = dying.iter().filter(|_| app == App::Exiting);
        Self(exiting.map(follow).collect())
    }

    fn happened(self, began_ms: u64) -> Happened {
        let endings = self.0.into_iter().map(|log| {
            let lines = log.end();
            let ending = lines
                .iter()
                .find_map(|line| serde_json::from_str::<Ending>(line).ok());
            assert!(ending.is_some(), "a pod did not say what it held: {lines:?}");
            ending.map_or(0, |ending| ending.in_flight)
        });
        Happened {
            moments: Moments {
                began_ms,
                healed_ms: None,
            },
            affected: None,
            in_flight: endings.sum(),
        }
    }
}
