//! Tables of what a proxy holds.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;
use smilax_core::endpoints::{DestinationPortName, Endpoint, EndpointState};
use smilax_core::{ProxyConfig, config};

use super::learned::Destinations;
use crate::output::{View, Width, columns, counted};
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
pub(crate) fn routes(destinations: &Destinations) -> String {
    let mut rows = Vec::new();
    for (destination, from) in destinations.all() {
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
                    from.to_string(),
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
            "FROM",
        ],
        &rows,
        "No route: every request goes to the Service that it was sent to.",
    )
}

/// What is called with policy.
pub(crate) fn destinations(destinations: &Destinations) -> String {
    let mut rows = Vec::new();
    for (destination, from) in destinations.all() {
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
                from.to_string(),
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
            "FROM",
        ],
        &rows,
        "No destination: every connection passes untouched.",
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
        "No endpoint: nothing was called recently, or the operator does not answer. Requests go to the addresses of Services.",
    )
}

/// Its own certificate, and whom it trusts.
pub(crate) fn certificates(told: &Value, view: View) -> String {
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
        line("expires:", view.expiry(own["notAfter"].as_u64()));
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
pub(crate) fn summary(all: &Value, view: View) -> String {
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        let _ = writeln!(out, "{name:22}{value}");
    };
    let ago = |at: &Value| match (at.as_u64(), view.width) {
        (at @ Some(_), Width::Usual) => format!("{} ago", view.since(at)),
        (at, _) => view.since(at),
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
            line("routes:", count_routes(&config.destinations).to_string());
            let rules: usize = config.inbound.iter().map(|policy| policy.targets.len()).sum();
            line("access rules:", rules.to_string());
        }
        Err(_) => line("configuration:", or_error(&all["config"])),
    }
    let learned = Destinations::learned(&all["addresses"]);
    if !learned.is_empty() {
        let routes = count_routes(learned.all().map(|(destination, _)| destination));
        line(
            "learned by lookup:",
            format!(
                "{}, {}",
                counted(learned.len(), "destination"),
                counted(routes, "route")
            ),
        );
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
    line("certificate expires:", view.expiry(own["notAfter"].as_u64()));
    let connected = match all["certificates"]["operatorConnected"].as_bool() {
        Some(true) => "connected",
        Some(false) => "not connected",
        None => "-",
    };
    line("operator:", connected.to_owned());
    out
}

fn count_routes<'a>(destinations: impl IntoIterator<Item = &'a config::Destination>) -> usize {
    let ports = destinations.into_iter().flat_map(|one| &one.ports);
    ports.map(|port| port.routes.len()).sum()
}

fn or_error(value: &Value) -> String {
    text(value, "/error").to_owned()
}

fn or_nothing<const N: usize>(headings: [&str; N], rows: &[[String; N]], nothing: &str) -> String {
    if rows.is_empty() {
        return format!("{nothing}\n");
    }
    columns(headings, rows)
}
