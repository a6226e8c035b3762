//! What there is to try.

use smilax_e2e::Fault;
use smilax_e2e::load::Speech;

/// Milliseconds that the application takes for a request.
pub const APPLICATION_MS: u64 = 20;
/// The slow pod takes ten times as long.
pub const SLOWED_MS: u64 = 9 * APPLICATION_MS;

/// The pods that are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum App {
    /// Two pods, one on each node.
    Pair,
    /// Three pods that drain: preStop sleeps, then requests in flight are finished and connections closed.
    Draining,
    /// Three pods that exit at once on SIGTERM.
    Exiting,
}

impl App {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pair, Self::Draining, Self::Exiting];

    /// Name of its Service and Deployment.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Draining => "draining",
            Self::Exiting => "exiting",
        }
    }

    /// Number of its pods.
    pub fn replicas(self) -> u32 {
        match self {
            Self::Pair => 2,
            Self::Draining | Self::Exiting => 3,
        }
    }
}

/// What the operators of the mesh do meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operators {
    /// Their work.
    Running,
    /// Nothing, since their processes are stopped (SIGSTOP) for 15 s.
    Stopped,
    /// Nothing, since they are scaled to zero.
    Killed,
}

/// What happens under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A rolling restart.
    Restart(App, Operators),
    /// Two of three pods are deleted at once.
    Deletion(App, Operators),
    /// One of the pair has a fault for 10 s.
    Fault(Fault, Speech),
    /// The application of one of the pair is killed; its sidecar stays, and its container restarts.
    Kill,
    /// The node of one of the pair loses power for 15 s.
    PowerOff,
}

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// Its name.
    pub id: &'static str,
    /// What happens, for people.
    pub what: &'static str,
    /// What happens.
    pub event: Event,
}

impl Event {
    /// The pods that are called.
    pub fn app(self) -> App {
        match self {
            Self::Restart(app, _) | Self::Deletion(app, _) => app,
            Self::Fault(..) | Self::Kill | Self::PowerOff => App::Pair,
        }
    }

    /// What is spoken.
    pub fn speech(self) -> Speech {
        match self {
            Self::Fault(_, speech) => speech,
            Self::Restart(..) | Self::Deletion(..) | Self::Kill | Self::PowerOff => Speech::Http1,
        }
    }

    /// What the operators do meanwhile.
    pub fn operators(self) -> Operators {
        match self {
            Self::Restart(_, operators) | Self::Deletion(_, operators) => operators,
            Self::Fault(..) | Self::Kill | Self::PowerOff => Operators::Running,
        }
    }

    /// Milliseconds after which a request hangs: 2 s longer than the slowest application takes.
    pub fn hung_after_ms(self) -> u64 {
        let fault = match self {
            Self::Fault(Fault::Delay(millis), _) => millis,
            _ => 0,
        };
        2000 + APPLICATION_MS + fault
    }
}

/// All of them, what disturbs the cluster most at the end.
pub const ALL: [Scenario; 13] = [
    Scenario {
        id: "fail-fast",
        what: "one of two pods answers 500 at once for 10 s, the other 200 after 20 ms",
        event: Event::Fault(Fault::Abort, Speech::Http1),
    },
    Scenario {
        id: "fail-fast-grpc",
        what: "the same with gRPC and UNAVAILABLE",
        event: Event::Fault(Fault::Abort, Speech::Grpc),
    },
    Scenario {
        id: "slow",
        what: "one of two pods takes 200 ms instead of 20 ms for 10 s",
        event: Event::Fault(Fault::Delay(SLOWED_MS), Speech::Http1),
    },
    Scenario {
        id: "hang",
        what: "one of two pods accepts requests and answers none for 10 s",
        event: Event::Fault(Fault::Hang, Speech::Http1),
    },
    Scenario {
        id: "kill-app",
        what: "SIGKILL to the application of one of two pods; its sidecar stays, its container restarts",
        event: Event::Kill,
    },
    Scenario {
        id: "rollout-drain",
        what: "rolling restart of 3 pods that drain",
        event: Event::Restart(App::Draining, Operators::Running),
    },
    Scenario {
        id: "rollout-drain-stopped",
        what: "the same, operators stopped (SIGSTOP) for the first 15 s",
        event: Event::Restart(App::Draining, Operators::Stopped),
    },
    Scenario {
        id: "rollout-drain-killed",
        what: "the same, operators scaled to zero for the first 15 s",
        event: Event::Restart(App::Draining, Operators::Killed),
    },
    Scenario {
        id: "rollout-exit",
        what: "rolling restart of 3 pods that exit at once on SIGTERM",
        event: Event::Restart(App::Exiting, Operators::Running),
    },
    Scenario {
        id: "rollout-exit-stopped",
        what: "the same, operators stopped (SIGSTOP) for the first 15 s",
        event: Event::Restart(App::Exiting, Operators::Stopped),
    },
    Scenario {
        id: "rollout-exit-killed",
        what: "the same, operators scaled to zero for the first 15 s",
        event: Event::Restart(App::Exiting, Operators::Killed),
    },
    Scenario {
        id: "deletion-stopped",
        what: "two of 3 pods that exit at once are deleted, operators stopped (SIGSTOP) for 15 s",
        event: Event::Deletion(App::Exiting, Operators::Stopped),
    },
    Scenario {
        id: "node-power",
        what: "the node of one of two pods loses power for 15 s: processes frozen, link down",
        event: Event::PowerOff,
    },
];
