//! A configuration as single statements that a person can compare.

use std::collections::BTreeMap;

use smilax_core::ProxyConfig;
use smilax_core::config::{
    AccessTarget, ContainerPort, Destination, DestinationPort, HttpMatch, InboundPolicy, OwnSettings,
    PortMatch, Protocol, RouteConfig, Security, SourceMatch, WeightedBackend,
};

/// Statements by what they are about.
pub(crate) type Facts = BTreeMap<Place, String>;

/// Subject of what holds for the mesh as a whole.
pub(crate) const MESH: &str = "mesh";

/// What a statement is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) subject: String,
    pub(crate) aspect: String,
}

/// Everything that a configuration says. Revision and generations are left out: they change with every write.
pub(crate) fn of(config: &ProxyConfig) -> Facts {
    let mut facts = Facts::new();
    let mut mesh = |aspect: &str, value: String| add(&mut facts, MESH, aspect, value);
    mesh("cluster domain", config.cluster_domain.clone());
    mesh("trust domain", config.trust_domain.to_string());
    if let Some(operator) = &config.operator {
        mesh(
            "operator",
            format!("{} at {}", operator.workload, joined(&operator.addresses)),
        );
    }
    for destination in &config.destinations {
        for port in &destination.ports {
            outbound(&mut facts, destination, port);
        }
    }
    for policy in &config.inbound {
        inbound(&mut facts, policy);
    }
    facts
}

fn outbound(facts: &mut Facts, destination: &Destination, port: &DestinationPort) {
    let subject = format!("destination {} port {}", destination.name, port.port);
    let addresses = match destination.addresses.as_slice() {
        [] => "headless".to_owned(),
        addresses if addresses.iter().any(std::net::IpAddr::is_unspecified) => {
            "assigned when it is applied".to_owned()
        }
        addresses => joined(addresses),
    };
    add(facts, &subject, "addresses", addresses);
    add(facts, &subject, "protocol", protocol(port.protocol).to_owned());
    add(facts, &subject, "security", security(port.security, destination));
    for route in &port.routes {
        add(facts, &subject, &route.source.to_string(), self::route(route));
    }
    let order: Vec<String> = port.routes.iter().map(|route| route.source.to_string()).collect();
    if order.iter().any(|one| *one != order[0]) {
        add(facts, &subject, "order of routes", order.join(", "));
    }
}

fn inbound(facts: &mut Facts, policy: &InboundPolicy) {
    let subject = if policy.pod_selector.is_empty() {
        "calls to its pods".to_owned()
    } else {
        format!("calls to its pods with {}", labels(&policy.pod_selector))
    };
    let mut say = |aspect: &str, value: String| add(facts, &subject, aspect, value);
    if let Some(mode) = policy.access {
        say("access mode", mode.to_string());
    }
    if let Some(mode) = policy.tls {
        say("TLS mode", mode.to_string());
    }
    for (port, mode) in &policy.tls_ports {
        say(&format!("TLS mode of port {port}"), mode.to_string());
    }
    if policy.own_settings == OwnSettings::Decide {
        say("pods' own settings", "may relax it".to_owned());
    }
    for source in &policy.unauthenticated_sources {
        let ports = match source.ports.as_slice() {
            [] => "any port".to_owned(),
            ports => format!("port {}", joined(ports)),
        };
        say(
            "without an identity",
            format!("{} to {ports}", joined(&source.cidrs)),
        );
    }
    for target in &policy.targets {
        say(&target.source.to_string(), access(target));
    }
}

/// Several statements about one thing are told apart by their number.
fn add(facts: &mut Facts, subject: &str, aspect: &str, value: String) {
    let mut place = Place {
        subject: subject.to_owned(),
        aspect: aspect.to_owned(),
    };
    let mut number = 1;
    while facts.contains_key(&place) {
        number += 1;
        place.aspect = format!("{aspect} ({number})");
    }
    facts.insert(place, value);
}

/// What a route does.
pub(crate) fn route(route: &RouteConfig) -> String {
    let to = backends(&route.backends);
    match route.matches.as_slice() {
        [] => to,
        matches => format!("{} to {to}", requests(matches)),
    }
}

/// Where a route leads.
pub(crate) fn backends(backends: &[WeightedBackend]) -> String {
    let all: Vec<String> = backends
        .iter()
        .map(|backend| format!("{} {}", backend.destination, backend.weight))
        .collect();
    all.join(", ")
}

/// What a target allows.
pub(crate) fn access(target: &AccessTarget) -> String {
    let sources: Vec<String> = target.sources.iter().map(source).collect();
    let sources = if sources.is_empty() {
        "nobody".to_owned()
    } else {
        sources.join(", ")
    };
    let what = match target.http.as_deref() {
        None => "anything".to_owned(),
        Some([]) => "nothing".to_owned(),
        Some(matches) => requests(matches),
    };
    let ports: Vec<String> = target
        .ports
        .iter()
        .map(|set| {
            let ports: Vec<String> = set.iter().map(port).collect();
            if ports.is_empty() {
                " to no port".to_owned()
            } else {
                format!(" to port {}", ports.join(" or "))
            }
        })
        .collect();
    format!("{sources} may send {what}{}", ports.concat())
}

fn source(source: &SourceMatch) -> String {
    match source {
        SourceMatch::Account(workload) => workload.to_string(),
        SourceMatch::Spiffe(id) => id.to_string(),
        SourceMatch::Binding(name) => format!("pods of IdentityBinding {name}"),
    }
}

fn port(port: &PortMatch) -> String {
    let name = match &port.port {
        ContainerPort::Number(number) => number.to_string(),
        ContainerPort::Name(name) => name.clone(),
    };
    if port.pod_selector.is_empty() {
        name
    } else {
        format!("{name} of pods with {}", labels(&port.pod_selector))
    }
}

/// Requests that any of these matches.
pub(crate) fn requests(matches: &[HttpMatch]) -> String {
    let all: Vec<String> = matches.iter().map(request).collect();
    all.join(" or ")
}

fn request(one: &HttpMatch) -> String {
    let mut words = vec![match one.methods.as_slice() {
        [] => "any method".to_owned(),
        methods => methods.join("|"),
    }];
    words.extend(one.path.clone());
    words.extend(
        one.headers
            .iter()
            .map(|header| format!("[{}: {}]", header.name, header.value)),
    );
    words.join(" ")
}

/// What is spoken on a port.
pub(crate) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http => "http",
        Protocol::Tcp => "tcp",
        Protocol::Detect => "detected",
    }
}

/// How connections are secured, and to whom.
pub(crate) fn security(security: Security, destination: &Destination) -> String {
    match security {
        Security::Plaintext => "plaintext".to_owned(),
        Security::MutualTls => format!("mutual TLS with {}", joined(&destination.accounts)),
    }
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    let all: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    all.join(",")
}

fn joined<T: ToString>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(ToString::to_string).collect();
    all.join(", ")
}
