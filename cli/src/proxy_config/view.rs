//! Tables of what a proxy holds.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;
use smilax_core::endpoints::{DestinationPortName, Endpoint, EndpointState};
use smilax_core::{ProxyConfig, config};

use crate::output::{columns, span};
use crate::plan::facts;
use crate::world::text;

/// Endpoints of one port, as a proxy tells them.
#[derive(Debug, Deserialize)]
pub(crate) struct Port {
    #[serde(flatten)]
    of: DestinationPortName,
    #[serde(default)]
    endpoints: Vec<Endpoint>,
}

/// Where requests go.
pub(crate) fn routes(config: &ProxyConfig) -> String {
    let mut rows = Vec::new();
    for destination in &config.destinations {
        for port in &destination.ports {
            for route in &port.routes {
                rows.push([
                    destination.name.to_string(),
                    port.port.to_string(),
                    route.source.to_string(),
                    route.source.generation.to_string(),
                    match route.matches.as_slice() {
                        [] => "all".to_owned(),
                        matches => facts::requests(matches),
                    },
                    facts::backends(&route.backends),
                ]);
            }
        }
    }
    or_nothing(
        [
            "DESTINATION",
            "PORT",
            "OBJECT",
            "GENERATION",
            "REQUESTS",
            "BACKENDS",
        ],
        &rows,
        "No route: whatever is called is sent to what was called.",
    )
}

/// What is called with policy.
pub(crate) fn destinations(config: &ProxyConfig) -> String {
    let mut rows = Vec::new();
    for destination in &config.destinations {
        for port in &destination.ports {
            let addresses: Vec<String> = destination.addresses.iter().map(ToString::to_string).collect();
            rows.push([
                destination.name.to_string(),
                port.port.to_string(),
                facts::protocol(port.protocol).to_owned(),
                if addresses.is_empty() {
                    "headless".to_owned()
                } else {
                    addresses.join(",")
                },
                port.routes.len().to_string(),
                facts::security(port.security, destination),
            ]);
        }
    }
    or_nothing(
        [
            "DESTINATION",
            "PORT",
            "PROTOCOL",
            "ADDRESSES",
            "ROUTES",
            "SECURITY",
        ],
        &rows,
        "No destination: whatever is called passes untouched.",
    )
}

/// Who may call.
pub(crate) fn access(config: &ProxyConfig) -> String {
    let only = ProxyConfig {
        inbound: config.inbound.clone(),
        ..ProxyConfig::empty(config.workload.clone())
    };
    let rows: Vec<[String; 3]> = facts::of(&only)
        .into_iter()
        .filter(|(place, _)| place.subject != facts::MESH)
        .map(|(place, value)| [place.subject, place.aspect, value])
        .collect();
    or_nothing(["WHAT", "BY", "RULE"], &rows, "No rule: everybody may call.")
}

/// Pods that are sent to.
pub(crate) fn endpoints(ports: &[Port]) -> String {
    let mut rows = Vec::new();
    for port in ports {
        let row = |address: String, state: &str, workload: String, zone: String| {
            [
                port.of.destination.to_string(),
                port.of.port.to_string(),
                address,
                state.to_owned(),
                workload,
                zone,
            ]
        };
        if port.endpoints.is_empty() {
            rows.push(row("none".to_owned(), "-", "-".to_owned(), "-".to_owned()));
        }
        for one in &port.endpoints {
            rows.push(row(
                one.address.to_string(),
                match one.state {
                    EndpointState::Ready => "Ready",
                    EndpointState::Draining => "Draining",
                },
                one.workload.as_ref().map_or("plaintext".to_owned(), |workload| {
                    format!("mutual TLS with {workload}")
                }),
                one.zone.as_deref().unwrap_or("-").to_owned(),
            ));
        }
    }
    or_nothing(
        ["DESTINATION", "PORT", "ADDRESS", "STATE", "SECURITY", "ZONE"],
        &rows,
        "No endpoint: nothing was called of late, or the operator is away. Requests go to the addresses of Services.",
    )
}

/// Its own certificate, and whom it trusts.
pub(crate) fn certificates(told: &Value, now: u64) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:22}{value}");
    };
    let or = |value: &str| {
        if value.is_empty() {
            "-".to_owned()
        } else {
            value.to_owned()
        }
    };
    let own = &told["certificate"];
    if own.is_null() {
        line("certificate:", "none yet".to_owned());
    } else {
        line("identity:", or(text(own, "/identity")));
        line("pod:", or(text(own, "/podUid")));
        line("expires:", expiry(own["notAfter"].as_u64(), now));
        line("signed by key:", or(text(own, "/issuer")));
    }
    let bundle = &told["bundle"];
    if bundle.is_null() {
        line("trusts:", "nobody yet".to_owned());
    } else {
        line("trust domain:", or(text(bundle, "/trustDomain")));
        line("bundle:", bundle["generation"].to_string());
        for root in bundle["roots"].as_array().into_iter().flatten() {
            line("trusts key:", or(root.as_str().unwrap_or_default()));
        }
        if let Some(refused) = bundle["refused"].as_str() {
            line("refused bundle:", refused.to_owned());
        }
    }
    let connected = match told["operatorConnected"].as_bool() {
        Some(true) => "connected",
        Some(false) => "not connected",
        None => "-",
    };
    line("operator:", connected.to_owned());
    out
}

/// The most important of everything.
pub(crate) fn summary(all: &Value, now: u64) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:22}{value}");
    };
    let ago = |at: &Value| {
        at.as_u64().map_or("-".to_owned(), |at| {
            format!("{} ago", span(now.saturating_sub(at)))
        })
    };
    let status = &all["status"];
    match status["revision"].as_str() {
        Some(revision) => line(
            "revision:",
            format!("{revision}, applied {}", ago(&status["appliedAt"])),
        ),
        None => line("revision:", "none in force".to_owned()),
    }
    let refused = &status["rejection"];
    if !refused.is_null() {
        line(
            "refuses the newest:",
            format!("{}, {}", text(refused, "/message"), ago(&refused["at"])),
        );
    }
    match serde_json::from_value::<ProxyConfig>(all["config"].clone()) {
        Ok(config) => {
            line("account:", config.workload.to_string());
            line("destinations:", config.destinations.len().to_string());
            line("routes:", count_routes(&config).to_string());
            let rules: usize = config.inbound.iter().map(|policy| policy.targets.len()).sum();
            line("access rules:", rules.to_string());
        }
        Err(_) => line("configuration:", or_error(&all["config"])),
    }
    match serde_json::from_value::<Vec<Port>>(all["endpoints"].clone()) {
        Ok(ports) => {
            let endpoints: usize = ports.iter().map(|port| port.endpoints.len()).sum();
            line(
                "endpoints:",
                format!("{endpoints}, of ports in use: {}", ports.len()),
            );
        }
        Err(_) => line("endpoints:", or_error(&all["endpoints"])),
    }
    let own = &all["certificates"]["certificate"];
    line("certificate expires:", expiry(own["notAfter"].as_u64(), now));
    let connected = match all["certificates"]["operatorConnected"].as_bool() {
        Some(true) => "connected",
        Some(false) => "not connected",
        None => "-",
    };
    line("operator:", connected.to_owned());
    out
}

fn count_routes(config: &ProxyConfig) -> usize {
    let ports = config.destinations.iter().flat_map(|one| &one.ports);
    ports
        .map(|port: &config::DestinationPort| port.routes.len())
        .sum()
}

fn or_error(value: &Value) -> String {
    text(value, "/error").to_owned()
}

fn expiry(at: Option<u64>, now: u64) -> String {
    match at {
        None => "-".to_owned(),
        Some(at) if at <= now => format!("expired {} ago", span(now - at)),
        Some(at) => format!("in {}", span(at - now)),
    }
}

fn or_nothing<const N: usize>(headings: [&str; N], rows: &[[String; N]], nothing: &str) -> String {
    if rows.is_empty() {
        return format!("{nothing}\n");
    }
    columns(headings, rows)
}
