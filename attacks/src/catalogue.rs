//! What there is to try.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use clap::ValueEnum as _;

use crate::attacker::Method;
use crate::bars::Bars;
use crate::control_plane::Experiment;

/// An attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attack {
    /// Its name.
    pub id: &'static str,
    /// Items of docs/attacks.md that it belongs to.
    pub items: &'static str,
    /// What the attacker does, for people.
    pub what: &'static str,
    /// What is attacked, and how.
    pub aim: Aim,
}

/// What is attacked, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// A sidecar.
    Sidecar(Surface, Siege),
    /// The operator.
    Operator(Experiment),
}

/// What of a sidecar is attacked; the victim uses the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// The application's port for HTTP.
    Http,
    /// The application's port for bytes; the victim uses HTTP.
    Bytes,
    /// The port of probes.
    Probes,
    /// The port of metrics and readiness.
    Metrics,
    /// Connections from the application.
    Outbound,
}

/// What an attacker does, and over how many connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Siege {
    /// What it does.
    pub method: Method,
    /// Over how many connections at once.
    pub connections: usize,
}

impl Siege {
    /// Arguments of this program that make it attack.
    pub fn arguments(self, command: &mut Command, sources: &[IpAddr], target: SocketAddr, lasts: Duration) {
        let sources: Vec<_> = sources.iter().map(ToString::to_string).collect();
        let method = self.method.to_possible_value();
        let method = method.as_ref().map_or("", |value| value.get_name());
        command
            .arg("attacker")
            .arg(format!("--method={method}"))
            .arg(format!("--target={target}"))
            .arg(format!("--sources={}", sources.join(",")))
            .arg(format!("--connections={}", self.connections))
            .arg(format!("--seconds={}", lasts.as_secs()));
    }
}

impl Aim {
    /// What must hold.
    pub fn bars(self) -> Bars {
        match self {
            Self::Sidecar(..) => Bars::SIDECAR,
            Self::Operator(experiment) => experiment.bars(),
        }
    }
}

const fn sidecar(
    id: &'static str,
    items: &'static str,
    what: &'static str,
    surface: Surface,
    method: Method,
    connections: usize,
) -> Attack {
    let siege = Siege { method, connections };
    Attack {
        id,
        items,
        what,
        aim: Aim::Sidecar(surface, siege),
    }
}

const fn operator(
    id: &'static str,
    items: &'static str,
    what: &'static str,
    experiment: Experiment,
) -> Attack {
    Attack {
        id,
        items,
        what,
        aim: Aim::Operator(experiment),
    }
}

/// All of them.
pub const ALL: [Attack; 27] = [
    sidecar(
        "idle",
        "S6 E12",
        "14,000 connections of HTTP/1 that stay open after one request each",
        Surface::Http,
        Method::Idle,
        14_000,
    ),
    sidecar(
        "no-read",
        "S6 A22",
        "900 clients of HTTP/1 that ask for 1 MiB and read nothing",
        Surface::Http,
        Method::NoRead,
        900,
    ),
    sidecar(
        "zero-window",
        "S6 B8",
        "6 connections of a mesh member with 1,000 streams each that ask for 1 MiB and have no window",
        Surface::Http,
        Method::ZeroWindow,
        6,
    ),
    sidecar(
        "slow-headers",
        "S6 A21",
        "2,000 connections that send a header a byte a second",
        Surface::Http,
        Method::SlowHeaders,
        2_000,
    ),
    sidecar(
        "slow-bodies",
        "S6 A22",
        "900 uploads that trickle to an application that reads nothing",
        Surface::Http,
        Method::SlowBodies,
        900,
    ),
    sidecar(
        "large-headers",
        "D16 B6",
        "64 connections that send requests with 1,000 headers of 60 KiB",
        Surface::Http,
        Method::LargeHeaders,
        64,
    ),
    sidecar(
        "chunk-flood",
        "A5",
        "64 uploads in chunks of one byte",
        Surface::Http,
        Method::ChunkFlood,
        64,
    ),
    sidecar(
        "rapid-reset",
        "B1",
        "8 connections of HTTP/2 whose requests are reset at once",
        Surface::Http,
        Method::RapidReset,
        8,
    ),
    sidecar(
        "continuation-flood",
        "B2",
        "8 connections of HTTP/2 with CONTINUATION frames without end",
        Surface::Http,
        Method::ContinuationFlood,
        8,
    ),
    sidecar(
        "settings-flood",
        "B4",
        "64 connections of HTTP/2 that send SETTINGS and read nothing",
        Surface::Http,
        Method::SettingsFlood,
        64,
    ),
    sidecar(
        "tls-half-open",
        "C10",
        "2,000 connections that send a part of a TLS hello",
        Surface::Http,
        Method::TlsHalfOpen,
        2_000,
    ),
    sidecar(
        "tls-handshakes",
        "C10",
        "full TLS handshakes of a mesh member, 32 at once, as many as can be",
        Surface::Http,
        Method::TlsHandshakes,
        32,
    ),
    sidecar(
        "connect-close",
        "E12",
        "64 connections opened and reset at once, again and again",
        Surface::Http,
        Method::ConnectClose,
        64,
    ),
    sidecar(
        "websocket-no-read",
        "S6",
        "900 WebSocket clients that do not read",
        Surface::Http,
        Method::WebSocketNoRead,
        900,
    ),
    sidecar(
        "tcp-no-read",
        "S6",
        "900 TCP clients that do not read",
        Surface::Bytes,
        Method::TcpNoRead,
        900,
    ),
    sidecar(
        "probe-exhaustion",
        "S4",
        "200 silent connections to the port of probes, opened again when they are closed",
        Surface::Probes,
        Method::Silent,
        200,
    ),
    sidecar(
        "readiness-exhaustion",
        "S4",
        "200 silent connections to the port of metrics and readiness, opened again when they are closed",
        Surface::Metrics,
        Method::Silent,
        200,
    ),
    sidecar(
        "outbound-idle",
        "E12",
        "10,000 connections of the application that stay open after one request each",
        Surface::Outbound,
        Method::Idle,
        10_000,
    ),
    operator(
        "webhook-idle",
        "S5",
        "400 silent connections to the port of webhooks, opened again when they are closed",
        Experiment::Flood(
            crate::control_plane::Port::Webhooks,
            Siege {
                method: Method::Silent,
                connections: 400,
            },
        ),
    ),
    operator(
        "webhook-half-open",
        "S5",
        "400 TLS handshakes on the port of webhooks that do not go on",
        Experiment::Flood(
            crate::control_plane::Port::Webhooks,
            Siege {
                method: Method::TlsHalfOpen,
                connections: 400,
            },
        ),
    ),
    operator(
        "webhook-slow-bodies",
        "S5",
        "400 reviews that trickle",
        Experiment::Flood(
            crate::control_plane::Port::Webhooks,
            Siege {
                method: Method::SlowReviews,
                connections: 400,
            },
        ),
    ),
    operator(
        "workload-flood",
        "S5",
        "full TLS handshakes on the port of workloads, 64 at once, as many as can be",
        Experiment::Flood(
            crate::control_plane::Port::Workloads,
            Siege {
                method: Method::TlsHandshakes,
                connections: 64,
            },
        ),
    ),
    operator(
        "health-exhaustion",
        "S4",
        "200 silent connections to the port of health, opened again when they are closed",
        Experiment::Flood(
            crate::control_plane::Port::Health,
            Siege {
                method: Method::Silent,
                connections: 200,
            },
        ),
    ),
    operator(
        "regex-bombs",
        "S1",
        "1,000 of the dearest HTTPRouteGroups that admission lets through, in one namespace",
        Experiment::RegexBombs,
    ),
    operator(
        "shared-budget",
        "S2",
        "groups and targets that name another namespace's account, too large together for one configuration",
        Experiment::SharedBudget,
    ),
    operator(
        "forged-policy",
        "S3",
        "the policy of an account is edited in its ConfigMap, with a revision from the future",
        Experiment::ForgedPolicy,
    ),
    operator(
        "replayed-policy",
        "S3",
        "the ConfigMap of an account is put back to what it was before the last change",
        Experiment::ReplayedPolicy,
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_attack_has_a_name_of_its_own() {
        let ids: BTreeSet<_> = ALL.iter().map(|one| one.id).collect();
        assert_eq!(ids.len(), ALL.len());
    }
}
