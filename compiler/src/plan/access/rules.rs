//! Rules to ports and requests. Rules of one kind add up, and those of different kinds restrict each other: a TCPRoute
//! beside an HTTPRouteGroup allows the group's requests on the route's ports (the sample of SMI TrafficTarget v1alpha4).

use std::collections::BTreeSet;

use smilax_core::config::{ContainerPort, HttpMatch, PortMatch};

use crate::diagnostic::Reason;
use crate::model::{Addressing, DestinationPort, RoutePorts, Rule, Rules, Target};
use crate::plan::Names;
use crate::plan::groups::Groups;

/// What sources may call.
pub(super) struct Allowed {
    /// Sets of ports, in all of which the port must be.
    pub(super) ports: Vec<Vec<PortMatch>>,
    /// Requests; `None` is whatever is spoken.
    pub(super) http: Option<Vec<HttpMatch>>,
}

/// What a target allows; `None` is nothing.
pub(super) fn allowed(
    names: Names<'_>,
    groups: &Groups,
    target: &Target,
    report: &mut impl FnMut(Reason, String),
) -> Option<Allowed> {
    let (mut ports, http) = match &target.rules {
        Rules::Nothing => {
            report(
                Reason::Invalid,
                "spec.rules: it names no route, so nothing may be called; name an HTTPRouteGroup or a TCPRoute".to_owned(),
            );
            return None;
        }
        Rules::Everything => (Vec::new(), None),
        Rules::Listed(rules) => listed(names, groups, rules, report)?,
    };
    match &target.destination_port {
        DestinationPort::Any => {}
        DestinationPort::Only(port) => ports.push(reached(names, [*port].into_iter())),
        DestinationPort::Unreadable(written) => {
            report(
                Reason::Invalid,
                format!(
                    "spec.destination.port: {written} is not a port, so nothing may be called; write 1 to 65535, or leave it out"
                ),
            );
            return None;
        }
    }
    Some(Allowed { ports, http })
}

type PortsAndRequests = (Vec<Vec<PortMatch>>, Option<Vec<HttpMatch>>);

fn listed(
    names: Names<'_>,
    groups: &Groups,
    rules: &[Rule],
    report: &mut impl FnMut(Reason, String),
) -> Option<PortsAndRequests> {
    let mut tcp: Option<TcpPorts> = None;
    let mut http: Option<Vec<HttpMatch>> = None;
    let mut understood = true;
    for (index, rule) in rules.iter().enumerate() {
        let field = format!("spec.rules[{index}]");
        match rule.kind.as_str() {
            "HTTPRouteGroup" => {
                let found = group(names, groups, rule, &field, report);
                let all = http.get_or_insert_default();
                for one in found {
                    if !all.contains(&one) {
                        all.push(one);
                    }
                }
            }
            "TCPRoute" => {
                let route = names.contents.tcp_routes.get(rule.name.as_str());
                match route.map(|route| &route.ports) {
                    None => report(Reason::RouteNotFound, missing(&field, rule, names.namespace)),
                    Some(RoutePorts::Listed(ports)) if !ports.iter().any(|port| number(*port).is_some()) => {
                        report(Reason::MatchNotFound, unusable(&field, rule, "port"));
                    }
                    Some(_) => {}
                }
                tcp.get_or_insert_default().add(route.map(|route| &route.ports));
            }
            "UDPRoute" => {
                if !names.contents.udp_routes.contains_key(rule.name.as_str()) {
                    report(Reason::RouteNotFound, missing(&field, rule, names.namespace));
                }
            }
            kind => {
                report(
                    Reason::InvalidKind,
                    format!(
                        "{field}.kind: {kind:?} is not a route, so nothing may be called; write HTTPRouteGroup, TCPRoute or UDPRoute"
                    ),
                );
                // It may have been meant to restrict the others.
                understood = false;
            }
        }
    }
    if !understood {
        return None;
    }
    if tcp.is_none() && http.is_none() {
        // TCP and UDP are apart, so no TCP port is allowed.
        report(
            Reason::Unsupported,
            "spec.rules: it names UDPRoutes only, which proxies do not carry, so nothing may be called by it; name an \
             HTTPRouteGroup or a TCPRoute"
                .to_owned(),
        );
        return None;
    }
    let ports = match tcp {
        None | Some(TcpPorts::All) => Vec::new(),
        Some(TcpPorts::These(ports)) => vec![reached(names, ports.into_iter())],
    };
    Some((ports, http))
}

/// Union of the ports of several routes.
enum TcpPorts {
    All,
    These(BTreeSet<u16>),
}

impl Default for TcpPorts {
    fn default() -> Self {
        Self::These(BTreeSet::new())
    }
}

impl TcpPorts {
    /// Adds the ports of a route; one that does not exist adds none.
    fn add(&mut self, ports: Option<&RoutePorts>) {
        match (ports, &mut *self) {
            (None, _) | (_, Self::All) => {}
            (Some(RoutePorts::All), _) => *self = Self::All,
            (Some(RoutePorts::Listed(more)), Self::These(known)) => {
                known.extend(more.iter().copied().filter_map(number));
            }
        }
    }
}

/// A port as written, when there is such a port.
pub(super) fn number(port: i64) -> Option<u16> {
    u16::try_from(port).ok().filter(|&port| port > 0)
}

/// Ports of pods that these numbers mean: the port itself, and where a Service that selects the pod leads from it.
fn reached(names: Names<'_>, ports: impl Iterator<Item = u16>) -> Vec<PortMatch> {
    let mut found: Vec<PortMatch> = Vec::new();
    for port in ports {
        found.push(PortMatch {
            pod_selector: std::collections::BTreeMap::new(),
            port: ContainerPort::Number(port),
        });
        for service in names.contents.services.values() {
            let selects =
                !service.selector.is_empty() && !matches!(service.addressing, Addressing::External(_));
            let Some(target) = service.target_ports.get(&port).filter(|_| selects) else {
                continue;
            };
            let one = PortMatch {
                pod_selector: service.selector.clone(),
                port: target.clone(),
            };
            if *target != ContainerPort::Number(port) && !found.contains(&one) {
                found.push(one);
            }
        }
    }
    found
}

fn group(
    names: Names<'_>,
    groups: &Groups,
    rule: &Rule,
    field: &str,
    report: &mut impl FnMut(Reason, String),
) -> Vec<HttpMatch> {
    let Some(group) = names.contents.groups.get(rule.name.as_str()) else {
        report(Reason::RouteGroupNotFound, missing(field, rule, names.namespace));
        return Vec::new();
    };
    for (index, name) in rule.matches.iter().enumerate() {
        if !group.matches.iter().any(|one| one.name == *name) {
            report(
                Reason::MatchNotFound,
                format!(
                    "{field}.matches[{index}]: HTTPRouteGroup {} has no match {name:?}; it allows nothing",
                    rule.name
                ),
            );
        }
    }
    let is_meant = |name: &String| rule.matches.is_empty() || rule.matches.contains(name);
    let usable = groups.usable(&rule.name).iter().filter(|one| is_meant(&one.name));
    let usable: Vec<HttpMatch> = usable.cloned().collect();
    let names_nothing = !rule.matches.is_empty() && !group.matches.iter().any(|one| is_meant(&one.name));
    if usable.is_empty() && !names_nothing {
        report(Reason::MatchNotFound, unusable(field, rule, "match"));
    }
    usable
}

fn unusable(field: &str, rule: &Rule, what: &str) -> String {
    format!(
        "{field}: {} {} has no {what} that can be used here, so it allows nothing; its status says why",
        rule.kind, rule.name
    )
}

fn missing(field: &str, rule: &Rule, namespace: &str) -> String {
    format!(
        "{field}: {} {} does not exist in namespace {namespace}; it allows nothing until it does",
        rule.kind, rule.name
    )
}
